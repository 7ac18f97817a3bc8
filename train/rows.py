"""The rows a model is trained on, as the dataset export gives them, and the refusal of rows that would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from schemas.errors import InputError, NoWork

Split = Literal["train", "validation", "test"]


class Row(TypedDict):
    """A conversational prompt-completion row: `prompt` and `completion` are lists of {"role", "content"}."""

    pair_id: str
    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]


def read_rows(dataset_folder: Path, split: Split) -> list[Row]:
    """The rows of one split of an exported dataset, in the export's order. An absent split is an empty list."""
    from curate.export import rows

    return [
        Row(pair_id=row["pair_id"], prompt=list(row["prompt"]), completion=list(row["completion"]))
        for row in rows(dataset_folder, split)
    ]


def messages_of(row: Row) -> list[dict[str, str]]:
    """The whole conversation of a row."""
    return [*row["prompt"], *row["completion"]]


def refuse_unusable(rows: Sequence[Row], tokenizer: Any, max_length: int, split: Split) -> None:
    """Raise before any training if a row is longer than `max_length` tokens, has nothing to learn, or is malformed.

    TRL cuts long rows without a word (`SFTConfig.max_length`), which teaches the model to stop in the middle or, if
    only the prompt is left, nothing. So they are named by id instead: NoWork for no rows at all, else InputError.
    """
    if not rows and split == "train":
        raise NoWork(
            "the dataset has no training rows.",
            why="A model trained on nothing is the base model.",
            fix="Look at `pairsmith status`: are pairs accepted, and do their seeds fall into the train split?",
        )
    for row in rows:
        shape = [message["role"] for message in row["completion"]]
        if shape != ["assistant"] or not row["completion"][0]["content"].strip():
            raise InputError(
                f"the completion of row {row['pair_id']} is not one assistant message with text in it.",
                where=f"{split} split",
                why="There would be nothing to learn from it.",
                fix="Reject the row (`pairsmith explain ID` tells where it came from) and export again.",
            )
    lengths = {row["pair_id"]: _length(row, tokenizer) for row in rows}
    long = {pair_id: length for pair_id, length in lengths.items() if length > max_length}
    if long:
        named = ", ".join(f"{pair_id} ({length})" for pair_id, length in list(long.items())[:8])
        more = f" and {len(long) - 8} more" if len(long) > 8 else ""
        raise InputError(
            f"{len(long)} of {len(rows)} rows are longer than train.max_length = {max_length} tokens: {named}{more}.",
            where=f"{split} split",
            why="They would be cut, and the model would learn to stop in the middle.",
            fix=f"Set train.max_length to at least {max(long.values())}, or tighten curate.gates.length.",
        )


def _length(row: Row, tokenizer: Any) -> int:
    return len(tokenizer.apply_chat_template(messages_of(row), tokenize=True, return_dict=True)["input_ids"])
