"""The rows an adapter is trained on, of an exported dataset, a pool or a list; rows that would not fit are refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, get_args

import orjson

from curate.export import rows as exported_rows
from curate.pool import Pool
from curate.split import split_of
from curate.steps import SPLIT
from schemas.errors import InputError, NoWork
from schemas.records import Message, Messages, Pair, Split, content_id
from schemas.spec import SplitSettings


class Row(TypedDict):
    """A conversational prompt-completion row: `prompt` and `completion` are lists of {"role", "content"}."""

    pair_id: str
    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]


@dataclass(frozen=True)
class Dataset:
    """The rows of the train and validation splits. `id` names them: the exported dataset's own, or a hash of them."""

    id: str
    train: Sequence[Row]
    validation: Sequence[Row] = ()

    @property
    def system_prompt(self) -> str | None:
        """The system prompt that all training rows share; None if they differ."""
        prompts = {row["prompt"][0]["content"] if row["prompt"][0]["role"] == "system" else "" for row in self.train}
        return prompts.pop() if len(prompts) == 1 else None


Given = Pair | tuple[str, str] | Mapping[str, str]
Data = str | Path | Pool | Iterable[Given]
"""Data to train on, see `dataset_of`."""


def dataset_of(data: Data, system_prompt: str = "") -> Dataset:
    """The dataset in `data`: a folder that was exported, a pool, or rows.

    A row is a `Pair`, an (input, output), or a mapping with `input` and `output` and perhaps `system` and `split`.
    `system_prompt` is for rows that bring none. The accepted rows of a pool fall into the split that curation gave
    them, else, as pairs do, into that of their seed; other rows are trained on unless they name another split. Raises
    InputError for what is none of these.
    """
    if isinstance(data, str | Path):
        folder = Path(data)
        train, validation = _exported(folder, "train"), _exported(folder, "validation")
        return Dataset(orjson.loads((folder / "manifest.json").read_bytes())["id"], train, validation)
    splits: dict[Split, list[Row]] = {"train": [], "validation": [], "test": []}
    for split, row in _of_pool(data, system_prompt) if isinstance(data, Pool) else _of_rows(data, system_prompt):
        splits[split].append(row)
    return Dataset(content_id("rows", [splits["train"], splits["validation"]]), splits["train"], splits["validation"])


def _exported(folder: Path, split: Split) -> list[Row]:
    return [
        Row(pair_id=row["pair_id"], prompt=list(row["prompt"]), completion=list(row["completion"]))
        for row in exported_rows(folder, split)
    ]


def _of_pool(pool: Pool, system_prompt: str) -> Iterator[tuple[Split, Row]]:
    for row in pool.accepted():
        assert row.pair is not None, "an accepted row has a pair"
        splits: Iterator[Any] = (verdict.reason.code for verdict in row.verdicts if verdict.by == SPLIT)
        yield next(splits, split_of(row.pair.seed_id, SplitSettings())), _of_pair(row.pair, system_prompt)


def _of_rows(rows: Iterable[Given], system_prompt: str) -> Iterator[tuple[Split, Row]]:
    for row in rows:
        if isinstance(row, Pair):
            yield split_of(row.seed_id, SplitSettings()), _of_pair(row, system_prompt)
            continue
        fields: Any = {"input": row[0], "output": row[1]} if isinstance(row, tuple) and len(row) == 2 else row
        split: Any = fields.get("split", "train") if isinstance(fields, Mapping) else None
        if split not in get_args(Split) or not isinstance(fields.get("input"), str) or "output" not in fields:
            raise InputError(
                f"this is not a row to train on: {str(row)[:200]}",
                fix='Give (input, output), or {"input": ..., "output": ...}, perhaps with "system" and "split".',
            )
        system, input, output = fields.get("system") or system_prompt, fields["input"], fields["output"]
        yield split, _row(content_id("row", [system, input, output]), system, input, output)


def _of_pair(pair: Pair, system_prompt: str) -> Row:
    return _row(pair.id, pair.system or system_prompt, pair.input, pair.output, pair.turns)


def _row(pair_id: str, system: str, input: str, output: str, turns: Messages = ()) -> Row:
    first = (Message(role="system", content=system),) if system else ()
    prompt = (*first, *turns, Message(role="user", content=input))
    completion = [{"role": "assistant", "content": output}]
    return Row(pair_id=pair_id, prompt=[message.model_dump() for message in prompt], completion=completion)


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
        roles = [message["role"] for message in row["completion"]]
        if roles != ["assistant"] or not row["completion"][0]["content"].strip():
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
