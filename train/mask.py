"""The loss mask: proof, row by row, that only the completion and its end token are learned, and a view of it.

Labels follow the convention of transformers: -100 where a token carries no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from schemas.errors import InputError, NoWork, PairsmithError
from train.dataset import Row, messages_of

IGNORED = -100


def expected_completion(tokenizer: Any, row: Row) -> str:
    """The text the model must learn from `row`: what the chat template adds after the rendered prompt.

    That is the completion followed by the template's end of turn (for SmolLM2 `<|im_end|>` and a newline). Raises
    PairsmithError where the template does not put it so: when the rendered prompt is not a prefix of the rendered
    conversation, when anything but white space stands before the completion, or when the end token does not follow
    it. Templates that write a reasoning block before the answer are therefore refused, not covered.
    """
    render = tokenizer.apply_chat_template
    prompt = render(row["prompt"], tokenize=False, add_generation_prompt=True)
    whole = render(messages_of(row), tokenize=False)
    completion = row["completion"][0]["content"].strip()
    rest: str = whole[len(prompt) :]
    before, answer, after = rest.partition(completion)
    ends = after.strip().startswith(tokenizer.eos_token)
    if not whole.startswith(prompt) or not answer or before.strip() or not ends:
        raise PairsmithError(
            f"the chat template does not render row {row['pair_id']} as prompt, completion, end token"
            f" {tokenizer.eos_token!r}; after the prompt it gives {rest[:80]!r}.",
            why="The model would be trained on another text than it is asked for later.",
            fix="Choose a base model whose template keeps the prompt unchanged when the answer follows.",
        )
    return rest


def assert_completion_only(tokenizer: Any, row: Row, input_ids: Sequence[int], labels: Sequence[int]) -> int:
    """Check one tokenised row; returns how many tokens carry loss.

    Raises NoWork if none does, InputError if the tokenizer cannot write the completion, and PairsmithError if the
    learned tokens decode to anything but the completion and its end, if they are not the last tokens of the row, or if
    a label is not the token it stands at.
    """
    learned = [token for token, label in zip(input_ids, labels, strict=True) if label != IGNORED]
    if not learned:
        raise NoWork(
            f"no token of row {row['pair_id']} carries loss.",
            why="Training on it would change nothing.",
            fix="This is a defect of the mask; please report it with the base model's name.",
        )
    expected = expected_completion(tokenizer, row)
    decoded = _decode(tokenizer, learned)
    shifted = list(labels[-len(learned) :]) != learned
    if (
        decoded != expected
        and _decode(tokenizer, tokenizer(expected, add_special_tokens=False)["input_ids"]) != expected
    ):
        raise InputError(
            f"the base model's tokenizer has no token for some character of row {row['pair_id']}: {expected[:160]!r}.",
            why="The character would be left out in silence.",
            fix="Reject the row, or remove the character (often an invisible control character).",
        )
    if decoded != expected or shifted:
        raise PairsmithError(
            f"the loss mask of row {row['pair_id']} is wrong: it learns {decoded[-160:]!r}"
            f" where {expected[-160:]!r} is meant.",
            why="The model would learn the prompt, or never learn to stop.",
            fix="This is a defect of the mask; please report it with the base model's name.",
        )
    return len(learned)


def _spans(tokenizer: Any, input_ids: Sequence[int], labels: Sequence[int]) -> Iterator[tuple[bool, str]]:
    marked = zip(input_ids, labels, strict=True)
    for learned, tokens in groupby(marked, key=lambda pair: pair[1] != IGNORED):
        yield learned, _decode(tokenizer, [token for token, _ in tokens])


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def plain_preview(tokenizer: Any, input_ids: Sequence[int], labels: Sequence[int]) -> str:
    """A tokenised row as text: what is learned stands between [[ and ]], and line ends are shown as ⏎."""
    spans = _spans(tokenizer, input_ids, labels)
    return "".join(f"[[{text}]]" if learned else text for learned, text in spans).replace("\n", "⏎\n")
