"""The loss mask: proof, row by row, that only the completion and its end token are learned, and a view of it.

Labels follow the convention of transformers: -100 where a token carries no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from schemas.errors import InputError, NoWork, PairsmithError
from synth.chat_template import Chat
from train.dataset import TrainingRow

IGNORED = -100


def tokens_of(chat: Chat, row: TrainingRow) -> tuple[list[int], list[int]]:
    """A row as input ids and labels: the prompt as evaluation asks it, then the answer and the end of its turn, which
    alone carry loss."""
    prompt, answer = chat.answer_ids(row["prompt"], row["completion"][0]["content"])
    return [*prompt, *answer], [IGNORED] * len(prompt) + answer


def expected_completion(chat: Chat, row: TrainingRow) -> str:
    """The text the model must learn from `row`: the completion and the end of its turn (for SmolLM2 `<|im_end|>` and a
    newline)."""
    return f"{chat.turn.lead}{row['completion'][0]['content']}{chat.turn.end}"


def assert_completion_only(chat: Chat, row: TrainingRow, input_ids: Sequence[int], labels: Sequence[int]) -> int:
    """Check one tokenised row; returns how many tokens carry loss.

    Raises NoWork if none does, InputError if the tokenizer cannot write the completion, and PairsmithError if the
    learned tokens decode to anything but the completion and its end, if they are not the last tokens of the row, if a
    label is not the token it stands at, if what stands before them is not the prompt of evaluation, or if the row
    begins with two begin-of-text tokens.
    """
    tokenizer = chat.tokenizer
    learned = [token for token, label in zip(input_ids, labels, strict=True) if label != IGNORED]
    if not learned:
        raise NoWork(
            f"no token of row {row['pair_id']} carries loss: {_decode(tokenizer, input_ids)[-160:]!r}.",
            why="Training on it would change nothing.",
            fix="This is a defect of the mask; please report it with the base model's name.",
        )
    if tokenizer.bos_token_id is not None and list(input_ids[:2]) == [tokenizer.bos_token_id] * 2:
        raise PairsmithError(
            f"row {row['pair_id']} begins with {tokenizer.bos_token!r} twice: {_decode(tokenizer, input_ids)[:160]!r}.",
            why="The model has never seen that, and no server asks so.",
            fix="Take one of them out of the base model's chat template.",
        )
    expected, before = expected_completion(chat, row), len(input_ids) - len(learned)
    # Some tokenizers drop a blank at the beginning of what they decode, so the prompt is decoded with it.
    prompt, whole = _decode(tokenizer, input_ids[:before]), _decode(tokenizer, input_ids)
    decoded = whole[len(prompt) :]
    shifted = list(labels[-len(learned) :]) != learned or list(input_ids[:before]) != chat.prompt_ids(row["prompt"])
    if decoded != expected and _decode(tokenizer, chat.plain_ids(f"a{expected}")) != f"a{expected}":
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
