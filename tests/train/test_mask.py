"""The loss mask says exactly which tokens are learned, and nothing else passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InputError, NoWork, PairsmithError
from tests.train.tiny import row
from train.dataset import Row, messages_of
from train.mask import IGNORED, assert_completion_only, expected_completion, plain_preview

ROW = row("pair-1", "a fox", "a fox in the snow --ar 3:2")


def tokenised(tokenizer: Any, given: Row) -> tuple[list[int], list[int]]:
    """Ids and labels as TRL makes them: loss from the end of the rendered prompt on."""
    prompt = tokenizer.apply_chat_template(given["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(messages_of(given), return_dict=True)["input_ids"]
    assert whole[: len(prompt)] == prompt
    return whole, [IGNORED] * len(prompt) + whole[len(prompt) :]


def test_what_is_learned_is_the_completion_its_end_token_and_the_newline(tokenizer: Any) -> None:
    """For SmolLM2 the template writes a newline after the end token, and both are learned."""
    ids, labels = tokenised(tokenizer, ROW)
    assert expected_completion(tokenizer, ROW) == "a fox in the snow --ar 3:2<|im_end|>\n"
    assert assert_completion_only(tokenizer, ROW, ids, labels) == sum(label != IGNORED for label in labels)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(input=st.text(max_size=40), output=st.text(min_size=1, max_size=80).filter(str.strip))
def test_any_text_survives_the_round_trip(tokenizer: Any, input: str, output: str) -> None:
    """Whatever characters the two sides hold, the learned tokens decode to the completion and its end, or the row is
    refused because the tokenizer has no token for one of them (SmolLM2's lacks some control characters)."""
    made = row("pair", input, output)
    ids, labels = tokenised(tokenizer, made)
    if tokenizer.decode(tokenizer(output)["input_ids"]) != output:
        with pytest.raises(InputError, match="no token for"):
            assert_completion_only(tokenizer, made, ids, labels)
        return
    learned = assert_completion_only(tokenizer, made, ids, labels)
    assert tokenizer.decode(ids[-learned:]).startswith(output)


@pytest.mark.parametrize("shift", [-1, 1], ids=["a prompt token is learned", "a completion token is not learned"])
def test_a_mask_that_begins_one_token_off_is_refused(tokenizer: Any, shift: int) -> None:
    """An off-by-one at the start of the completion raises and names the row."""
    ids, labels = tokenised(tokenizer, ROW)
    start = labels.index(next(label for label in labels if label != IGNORED)) + shift
    with pytest.raises(PairsmithError, match="pair-1"):
        assert_completion_only(tokenizer, ROW, ids, [IGNORED] * start + ids[start:])


def test_a_mask_without_the_end_token_is_refused(tokenizer: Any) -> None:
    """A model that never learns to stop is worse than an error."""
    ids, labels = tokenised(tokenizer, ROW)
    with pytest.raises(PairsmithError, match="learns"):
        assert_completion_only(tokenizer, ROW, ids, [*labels[:-2], IGNORED, IGNORED])


def test_labels_of_other_tokens_are_refused(tokenizer: Any) -> None:
    """Loss at the right places with wrong targets raises."""
    ids, labels = tokenised(tokenizer, ROW)
    wrong = [label if label == IGNORED else label + 1 for label in labels]
    with pytest.raises(PairsmithError, match="mask"):
        assert_completion_only(tokenizer, ROW, ids, wrong)


def test_a_row_without_loss_is_no_work(tokenizer: Any) -> None:
    """A row in which every token is masked raises NoWork."""
    ids, _ = tokenised(tokenizer, ROW)
    with pytest.raises(NoWork, match="pair-1"):
        assert_completion_only(tokenizer, ROW, ids, [IGNORED] * len(ids))


def test_a_template_that_writes_before_the_answer_is_refused(tokenizer: Any) -> None:
    """A template that puts reasoning marks before the completion would train on what nobody asked for."""
    original = tokenizer.chat_template
    try:
        tokenizer.chat_template = original.replace(
            "message['content']", "('<think></think>' if message['role'] == 'assistant' else '') + message['content']"
        )
        with pytest.raises(PairsmithError, match="chat template"):
            expected_completion(tokenizer, ROW)
    finally:
        tokenizer.chat_template = original


def test_the_preview_tells_learned_from_read(tokenizer: Any) -> None:
    """What is learned stands in brackets, and no text is lost."""
    ids, labels = tokenised(tokenizer, ROW)
    plain = plain_preview(tokenizer, ids, labels)
    assert plain.endswith("[[a fox in the snow --ar 3:2<|im_end|>⏎\n]]")
    whole = tokenizer.apply_chat_template(messages_of(ROW), tokenize=False)
    assert plain.replace("[[", "").replace("]]", "").replace("⏎\n", "\n") == whole
