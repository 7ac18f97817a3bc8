"""Tests that the loss mask covers exactly the tokens to learn."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InputError, NoWork, PairsmithError
from synth.chat_template import Chat
from tests.train.tiny import row
from train.mask import IGNORED, assert_completion_only, expected_completion, plain_preview, tokenise

ROW = row("pair-1", "a fox", "a fox in the snow --ar 3:2")


def test_the_completion_its_end_token_and_the_newline_are_learned(chat: Chat) -> None:
    """SmolLM2's template writes a newline after the end token, and both are learned."""
    ids, labels = tokenise(chat, ROW)
    assert expected_completion(chat, ROW) == "a fox in the snow --ar 3:2<|im_end|>\n"
    assert assert_completion_only(chat, ROW, ids, labels) == sum(label != IGNORED for label in labels)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(input=st.text(max_size=40), output=st.text(min_size=1, max_size=80).filter(str.strip))
def test_any_text_survives_the_round_trip(chat: Chat, input: str, output: str) -> None:
    """Whatever characters input and output contain, the learned tokens decode to the completion and its end, or the row
    is refused because the tokenizer drops a character (SmolLM2's lacks some control characters)."""
    example = row("pair", input, output)
    ids, labels = tokenise(chat, example)
    if chat.tokenizer.decode(chat.tokenizer(output)["input_ids"]) != output:
        with pytest.raises(InputError, match="tokenizer turns"):
            assert_completion_only(chat, example, ids, labels)
        return
    learned = assert_completion_only(chat, example, ids, labels)
    assert chat.tokenizer.decode(ids[-learned:]).startswith(output)


@pytest.mark.parametrize("shift", [-1, 1], ids=["a prompt token is learned", "a completion token is not learned"])
def test_a_mask_that_begins_one_token_off_is_refused(chat: Chat, shift: int) -> None:
    """An off-by-one at the start of the completion raises an error that names the row."""
    ids, labels = tokenise(chat, ROW)
    start = labels.index(next(label for label in labels if label != IGNORED)) + shift
    with pytest.raises(PairsmithError, match="pair-1"):
        assert_completion_only(chat, ROW, ids, [IGNORED] * start + ids[start:])


def test_a_mask_without_the_end_token_is_refused(chat: Chat) -> None:
    """A model that never learns to stop is worse than an error."""
    ids, labels = tokenise(chat, ROW)
    with pytest.raises(PairsmithError, match="learns"):
        assert_completion_only(chat, ROW, ids, [*labels[:-2], IGNORED, IGNORED])


def test_labels_of_other_tokens_are_refused(chat: Chat) -> None:
    """Loss at the right positions with wrong targets raises an error."""
    ids, labels = tokenise(chat, ROW)
    wrong = [label if label == IGNORED else label + 1 for label in labels]
    with pytest.raises(PairsmithError, match="mask"):
        assert_completion_only(chat, ROW, ids, wrong)


def test_a_row_without_loss_is_refused(chat: Chat) -> None:
    """A row whose tokens are all masked raises NoWork."""
    ids, _ = tokenise(chat, ROW)
    with pytest.raises(NoWork, match="pair-1"):
        assert_completion_only(chat, ROW, ids, [IGNORED] * len(ids))


def test_two_begin_of_text_tokens_are_refused(chat: Chat) -> None:
    """A template that writes the token although the tokenizer adds it too is detected."""
    ids, labels = tokenise(chat, ROW)
    bos = chat.tokenizer.bos_token_id
    with pytest.raises(PairsmithError, match="twice"):
        assert_completion_only(chat, ROW, [bos, bos, *ids], [IGNORED, IGNORED, *labels])


def test_the_preview_marks_what_is_learned(chat: Chat) -> None:
    """Learned text is in brackets, and no text is lost."""
    ids, labels = tokenise(chat, ROW)
    plain = plain_preview(chat.tokenizer, ids, labels)
    assert plain.endswith("[[a fox in the snow --ar 3:2<|im_end|>⏎\n]]")
    whole = chat.tokenizer.apply_chat_template([*ROW["prompt"], *ROW["completion"]], tokenize=False)
    assert plain.replace("[[", "").replace("]]", "").replace("⏎\n", "\n") == whole
