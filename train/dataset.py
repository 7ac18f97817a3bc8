"""Training rows from an exported dataset, a pool or a list. Rows that exceed the maximum length are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict, get_args
from unicodedata import normalize

from curate.export.dataset import preference_rows
from curate.export.dataset import rows as exported_rows
from curate.export.files import manifest_rows, read_manifest
from curate.pool import Pool
from curate.rows import SPLIT, pair_of
from curate.split import split_of
from schemas.errors import InputError, NoWork, several
from schemas.records import Message, Messages, Pair, Seed, Split, content_id
from schemas.spec import SplitSettings
from schemas.store import Store
from schemas.store.latest import members_of
from schemas.streamed import batched
from schemas.wording import listed
from synth.chat_template import Chat

_CHUNK = 1_000
_SHOWN = 5
_NOTHING = "A model trained on nothing is the base model."


class TrainingRow(TypedDict):
    """A conversational prompt-completion row: `prompt` and `completion` are lists of {"role", "content"}."""

    pair_id: str
    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]


class PreferenceRow(TypedDict):
    """TRL's conversational form: `prompt`, `chosen` and `rejected` are lists of {"role", "content"}."""

    prompt: list[dict[str, str]]
    chosen: list[dict[str, str]]
    rejected: list[dict[str, str]]


@dataclass(frozen=True)
class Dataset:
    """The rows of the train and validation splits, and the inputs of the test split.

    `id` is the exported dataset's own id, or a hash of the rows. `held_out` are test inputs, which no training row may
    use; for a conversation, its turns joined by newlines. `preferences` are those of the train split, `preferred` those
    of the validation split. `edited` are the ids of rows whose output a reviewer corrected.
    """

    id: str
    train: Sequence[TrainingRow]
    validation: Sequence[TrainingRow] = ()
    held_out: Collection[str] = ()
    preferences: Sequence[PreferenceRow] = ()
    preferred: Sequence[PreferenceRow] = ()
    edited: Collection[str] = ()

    @property
    def system_prompt(self) -> str | None:
        """The system prompt shared by all training rows; None if they differ."""
        prompts = {row["prompt"][0]["content"] if row["prompt"][0]["role"] == "system" else "" for row in self.train}
        return prompts.pop() if len(prompts) == 1 else None


RowLike = Pair | tuple[str, str] | Mapping[str, str]
Data = str | Path | Pool | Iterable[RowLike]
"""Data to train on; see `dataset_of`."""


def dataset_of(data: Data, system_prompt: str = "") -> Dataset:
    """Build a dataset from an exported folder, a pool, or rows.

    A row is a `Pair`, a tuple (input, output), or a mapping with `input`, `output` and optionally `system` and `split`.
    `system_prompt` is used for rows without one. Accepted pool rows keep the split that curation assigned; without one,
    and for pairs, the split is derived from the seed. Other rows go to the train split unless they name another. Raises
    InputError for an invalid row, and UsageError for data that contains no rows.
    """
    if isinstance(data, str | Path):
        folder = Path(data)
        train, validation = _exported_rows(folder, "train"), _exported_rows(folder, "validation")
        held_out = [conversation_text(row["prompt"]) for row in exported_rows(folder, "test")]
        manifest = folder / "manifest.json"
        preferences, preferred = load_preferences(folder, "train"), load_preferences(folder, "validation")
        edited = {row["pair_id"] for row in manifest_rows(manifest) if row.get("replaces")}
        return Dataset(read_manifest(manifest)["id"], train, validation, held_out, preferences, preferred, edited)
    if not isinstance(data, Pool):
        data = list(several(data, "data", "rows, a pool or an exported folder"))
    splits: dict[Split, list[TrainingRow]] = {"train": [], "validation": [], "test": []}
    for split, row in (
        _rows_of_pool(data, system_prompt) if isinstance(data, Pool) else _convert_rows(data, system_prompt)
    ):
        splits[split].append(row)
    rows_id = content_id("rows", [splits["train"], splits["validation"]])
    held_out = [conversation_text(row["prompt"]) for row in splits["test"]]
    pairs = (row.pair for row in data.accepted()) if isinstance(data, Pool) else data
    edited = {pair.id for pair in pairs if isinstance(pair, Pair) and pair.origin.by == "edited"}
    return Dataset(rows_id, splits["train"], splits["validation"], held_out, edited=edited)


def _exported_rows(folder: Path, split: Split) -> list[TrainingRow]:
    return [
        TrainingRow(pair_id=row["pair_id"], prompt=list(row["prompt"]), completion=list(row["completion"]))
        for row in exported_rows(folder, split)
    ]


def load_preferences(folder: Path, split: Split) -> list[PreferenceRow]:
    """The preferences of one split of an exported dataset; empty if it has none. Raises InputError as `rows` does."""
    return [
        PreferenceRow(prompt=row["prompt"], chosen=row["chosen"], rejected=row["rejected"])
        for row in preference_rows(folder, split)
    ]


def _rows_of_pool(pool: Pool, system_prompt: str) -> Iterator[tuple[Split, TrainingRow]]:
    for row in pool.accepted():
        pair = pair_of(row)
        splits: Iterator[Any] = (verdict.reason.code for verdict in row.verdicts if verdict.by == SPLIT)
        yield next(splits, split_of(pair.seed_id, SplitSettings())), _pair_row(pair, system_prompt)


def _convert_rows(rows: Iterable[RowLike], system_prompt: str) -> Iterator[tuple[Split, TrainingRow]]:
    for row in rows:
        if isinstance(row, Pair):
            yield split_of(row.seed_id, SplitSettings()), _pair_row(row, system_prompt)
            continue
        fields: Any = {"input": row[0], "output": row[1]} if isinstance(row, tuple) and len(row) == 2 else row
        split: Any = fields.get("split", "train") if isinstance(fields, Mapping) else None
        texts = [fields.get("input"), fields.get("output"), fields.get("system") or ""] if split else [None]
        if split not in get_args(Split) or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"this is not a valid training row: {str(row)[:200]}.",
                fix='Pass (input, output), or {"input": ..., "output": ...}, optionally with "system" and "split".',
            )
        system, input, output = fields.get("system") or system_prompt, fields["input"], fields["output"]
        yield split, _row(content_id("row", [system, input, output]), system, input, output)


def _pair_row(pair: Pair, system_prompt: str) -> TrainingRow:
    return _row(pair.id, pair.system or system_prompt, pair.input, pair.output, pair.turns)


def _row(pair_id: str, system: str, input: str, output: str, turns: Messages = ()) -> TrainingRow:
    first = (Message(role="system", content=system),) if system else ()
    prompt = (*first, *turns, Message(role="user", content=input))
    completion = [{"role": "assistant", "content": output}]
    return TrainingRow(pair_id=pair_id, prompt=[message.model_dump() for message in prompt], completion=completion)


def split_by_length(
    rows: Sequence[TrainingRow], chat: Chat, max_length: int, split: Split
) -> tuple[list[TrainingRow], dict[str, int]]:
    """The rows that fit into `max_length` tokens, and the token counts of the rows that do not, by id.

    TRL silently truncates long rows (`SFTConfig.max_length`). That teaches the model to stop in the middle, or nothing
    at all if only the prompt is left, so long rows are left out here instead. Raises InputError for a row whose
    completion is not a single non-empty answer, and NoWork if no training row is left.
    """
    if split == "train":
        refuse_empty(rows)
    for row in rows:
        roles = [message["role"] for message in row["completion"]]
        if roles != ["assistant"] or not row["completion"][0]["content"].strip():
            raise InputError(
                f"the completion of row {row['pair_id']} is not a single non-empty assistant message.",
                where=f"{split} split",
                why="There would be nothing to learn from it.",
                fix="Reject the row (`pairsmith explain ID` shows where it came from) and export again.",
            )
    lengths = [sum(map(len, chat.answer_ids(row["prompt"], row["completion"][0]["content"]))) for row in rows]
    fitting = [row for row, length in zip(rows, lengths, strict=True) if length <= max_length]
    if not fitting and split == "train":
        raise NoWork(
            f"the dataset has no training rows: all {len(rows)} are longer than {max_length} tokens, which is"
            " train.max_length or all that the base can read.",
            why=_NOTHING,
            fix=f"Set train.max_length to {max(lengths)}, for a base with a context as long.",
        )
    rows_with_lengths = zip(rows, lengths, strict=True)
    return fitting, {row["pair_id"]: length for row, length in rows_with_lengths if length > max_length}


def refuse_empty(rows: Sequence[TrainingRow]) -> None:
    """Raise NoWork if there is no row to train on."""
    if not rows:
        raise NoWork(
            "the dataset has no training rows.",
            why=_NOTHING,
            fix="Check `pairsmith status`: are pairs accepted, and do their seeds fall into the train split?",
        )


def describe_untaught(labels: Iterable[str], answers: Iterable[str]) -> str | None:
    """What is wrong if some of the labels of a task are the answer of no training row; None if each is of one."""
    known = {*answers}
    if not (untaught := [label for label in labels if label not in known]):
        return None
    which = f"the label {untaught[0]}" if len(untaught) == 1 else f"one of the labels {listed(untaught, _SHOWN)}"
    return f"no training row has {which}: the model does not learn to give {'it' if len(untaught) == 1 else 'them'}"


def repeat_edited(dataset: Dataset, weight: int) -> list[TrainingRow]:
    """The training rows; those whose output a reviewer corrected are repeated `weight` times."""
    return [row for row in dataset.train for _ in range(weight if row["pair_id"] in dataset.edited else 1)]


def refuse_contaminated(dataset: Dataset) -> None:
    """Raise InputError if a training or validation row has the same input as a test row. Inputs are equal if their
    words are the same, ignoring case; near-duplicates are handled by curation."""
    held_out = {_normalise(text) for text in dataset.held_out}
    preferences = (("a preference", preference["prompt"]) for preference in (*dataset.preferences, *dataset.preferred))
    rows = ((f"row {row['pair_id']}", row["prompt"]) for row in (*dataset.train, *dataset.validation))
    for name, prompt in chain(rows, preferences):
        if _normalise(text := conversation_text(prompt)) in held_out:
            raise InputError(
                f"{name} is also a test input: {text[:160]!r}.",
                why="A model that has seen the test set would be measured on what it memorised.",
                fix="Run `pairsmith curate` again, or remove the row from the dataset.",
            )


def seen_in_training(store: Store, dataset_id: str, seeds: Sequence[Seed]) -> list[Seed]:
    """The seeds whose input is that of a training or validation row of the dataset: after it was exported, a test set
    may have been added that repeats it. Inputs are equal as for `refuse_contaminated`."""
    inputs = {_normalise(seed.asked): seed for seed in seeds}
    seen = dict[str, Seed]()
    for _, splits in members_of(store, [dataset_id]):
        for ids in batched((id_ for id_, split in splits.items() if split != "test"), _CHUNK):
            questions = (_normalise(texts.asked) for texts in store.pair_texts(ids).values())
            seen |= {question: inputs[question] for question in questions if question in inputs}
    return sorted(seen.values(), key=lambda seed: seed.source)


def conversation_text(prompt: Sequence[Mapping[str, str]]) -> str:
    """All turns except the system prompt: the same last message in a different conversation is a different input."""
    return "\n".join(message["content"] for message in prompt if message["role"] != "system")


def _normalise(text: str) -> str:
    return " ".join(normalize("NFC", text).casefold().split())
