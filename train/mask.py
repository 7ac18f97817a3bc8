"""The loss mask: a check, row by row, that only the completion and its end token are learned, and a preview of it.

Labels follow the convention of transformers: -100 for a token without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from schemas.errors import InputError, NoWork, PairsmithError
from synth.chat_template import Chat
from train.base_models.fertility import difference
from train.dataset import TrainingRow

IGNORED = -100


def tokenise(chat: Chat, row: TrainingRow) -> tuple[list[int], list[int]]:
    """A row as input ids and labels: the prompt as in evaluation, then the answer and its end-of-turn tokens, which
    alone carry loss."""
    prompt, answer = chat.answer_ids(row["prompt"], row["completion"][0]["content"])
    return [*prompt, *answer], [IGNORED] * len(prompt) + answer


def expected_completion(chat: Chat, row: TrainingRow) -> str:
    """The text the model must learn from `row`: the completion and its end of turn (for SmolLM2 `<|im_end|>` and a
    newline)."""
    return f"{chat.turn.lead}{row['completion'][0]['content']}{chat.turn.end}"


def assert_completion_only(chat: Chat, row: TrainingRow, input_ids: Sequence[int], labels: Sequence[int]) -> int:
    """Check one tokenised row, and return how many tokens carry loss.

    Raises NoWork if none does, and InputError if the tokenizer cannot represent the completion. Raises PairsmithError
    if the learned tokens decode to anything but the completion and its end, if they are not the last tokens of the row,
    if a label differs from its token, if the tokens before them are not the prompt used in evaluation, or if the row
    begins with two begin-of-text tokens.
    """
    tokenizer = chat.tokenizer
    learned = [token for token, label in zip(input_ids, labels, strict=True) if label != IGNORED]
    if not learned:
        raise NoWork(
            f"no token of row {row['pair_id']} carries loss: {_decode(tokenizer, input_ids)[-160:]!r}.",
            why="Training on it would change nothing.",
            fix="This is a bug in the loss mask; please report it with the base model's name.",
        )
    if tokenizer.bos_token_id is not None and list(input_ids[:2]) == [tokenizer.bos_token_id] * 2:
        raise PairsmithError(
            f"row {row['pair_id']} begins with {tokenizer.bos_token!r} twice: {_decode(tokenizer, input_ids)[:160]!r}.",
            why="The model has never seen that, and no server sends such prompts.",
            fix="Remove one of them from the base model's chat template.",
        )
    expected, before = expected_completion(chat, row), len(input_ids) - len(learned)
    # Some tokenizers drop a leading space when decoding, so the completion is decoded together with the prompt.
    prompt, everything = _decode(tokenizer, input_ids[:before]), _decode(tokenizer, input_ids)
    decoded = everything[len(prompt) :]
    shifted = list(labels[-len(learned) :]) != learned or list(input_ids[:before]) != chat.prompt_ids(row["prompt"])
    if decoded != expected and (back := _decode(tokenizer, chat.plain_ids(f"a{expected}"))) != f"a{expected}":
        text, changed = difference(expected, back[1:])
        raise InputError(
            f"the base model's tokenizer turns {text!r} of row {row['pair_id']} into {changed!r}.",
            why="The model would learn the changed text, and can write no other.",
            fix="Reject the row or change the characters (often invisible control characters), or use another base.",
        )
    if decoded != expected or shifted:
        raise PairsmithError(
            f"the loss mask of row {row['pair_id']} is wrong: it learns {decoded[-160:]!r}"
            f" instead of {expected[-160:]!r}.",
            why="The model would learn the prompt, or never learn to stop.",
            fix="This is a bug in the loss mask; please report it with the base model's name.",
        )
    return len(learned)


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def plain_preview(tokenizer: Any, input_ids: Sequence[int], labels: Sequence[int]) -> str:
    """A tokenised row as text: learned tokens are enclosed in [[ and ]], and line ends are shown as ⏎."""
    parts = []
    for learned, tokens in groupby(zip(input_ids, labels, strict=True), key=lambda pair: pair[1] != IGNORED):
        text = _decode(tokenizer, [token for token, _ in tokens])
        parts.append(f"[[{text}]]" if learned else text)
    return "".join(parts).replace("\n", "⏎\n")
