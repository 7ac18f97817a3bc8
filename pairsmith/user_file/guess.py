"""Guesses a spec for a user's file: inspects its columns and rows, and explains how it reads them and why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pairsmith.user_file.chats import CHATS, chats_in, refuse_chats_of_people, refuse_exports
from pairsmith.user_file.columns import LOOKED_AT, columns_in, first_rows
from pairsmith.user_file.doubts import (
    are_turns_as_text,
    doubts_about,
    hint_of_closing,
    hint_of_names,
    hints_of_inputs,
    hints_of_label_sets,
    hints_of_labels,
    hints_of_unread_chats,
)
from pairsmith.user_file.guess_table import Guess, guess_table, not_read
from pairsmith.user_file.languages import hint_of_languages
from pairsmith.user_file.record_schema import choices_in, exceptions_in, records_in, schema_of, with_choices
from pairsmith.user_file.roles import is_answered
from schemas.errors import InputError
from schemas.labels import distinct_labels
from schemas.records import Seed
from schemas.spec import SeedSource
from schemas.wording import listed
from synth.sources.columns import PREFERENCES, Fault, SeedProblem, check_columns, find_rejected_column, plain_text
from synth.sources.rows import read_column_names
from synth.sources.seeds import read_seeds
from synth.sources.turns import exchange

_HEADER_WORDS = 7  # a longer header is probably a row of a file without headers
_LISTED = 8  # paths and columns that are listed by name
SCHEMA = "schema.json"
_ALPACA, _DOLLY = ("instruction", "output", "input", "system"), ("instruction", "response", "context", "system")


def guess(path: Path, kind: str = "", encoding: str | None = None) -> Guess:
    """Inspect the first rows of a CSV or JSON file, in UTF-8 unless `encoding` names another. `kind` is the kind of
    task chosen by the user; with it, a column of labels may have any name. Raises InputError for a file that cannot be
    read or contains no text."""
    try:
        guessed = _guess(path, kind, encoding, notes := list[SeedProblem]())
        records, others = records_in(guessed.outputs)
        is_extracted = guessed.kind == "pair" and kind in ("", "extract") and _are_records(records, others, kind)
        schema = schema_of(records) if is_extracted else None
    except RecursionError:
        fix = "Give each row its texts as columns of their own."
        raise InputError("has objects that are nested too deeply.", where=path.name, fix=fix) from None
    if encoding:
        guessed = guessed._replace(settings={"encoding": encoding, **guessed.settings})
    if kind != "extract" and (are_turns_as_text(guessed.outputs) or are_turns_as_text(guessed.asked)):
        raise InputError(
            "contains turns of chats as text in JSON, which the model would learn to write.",
            where=path.name,
            fix="Export it as JSON or JSONL, with objects instead of these texts: they are read as turns.",
        )
    if schema is None:
        guessed = guessed if kind in ("", guessed.task["kind"]) else guessed._replace(task=_named(kind, guessed))
        return _with_doubts(path, guessed, sampled=_were_sampled(notes))
    why = [f"every output is a JSON object, so outputs are records: check their keys and types in {SCHEMA}"]
    if others:
        which = f"{len(others):,} of {len(guessed.outputs):,} outputs"
        why = [
            f"{which} are no valid JSON objects, and the gate `schema` rejects them: correct them in the file. The"
            f" first: '{others[0][:40]}'. The others are records: check their keys and types in {SCHEMA}"
        ]
    if rare := exceptions_in(records):
        what = listed(rare, _LISTED, "; ")
        why.append(f"a few records differ, and {SCHEMA} allows it: {what}. Correct them and {SCHEMA} if they are wrong")
    choices = choices_in(guessed.outputs, guessed.asked) if guessed.asked else {}
    if _were_sampled(notes):
        choices = {}  # a row that was not read may have another value, and would be rejected for it
    if bound := with_choices(schema, choices):
        names = " and ".join(map(repr, bound[:_LISTED]))
        why.append(f"{names} must be one of the values found in the file ('enum'): add any other values that may occur")
    return guessed._replace(task={"kind": "extract", "schema": SCHEMA}, schema=schema, why=[*guessed.why, *why])


def _are_records(records: Sequence[str], others: Sequence[str], kind: str) -> bool:
    """Whether outputs are records to be learned by a schema. The `others` may be some that a model spoilt, unless they
    are many; without a chosen kind, each must have a trace of an object, or they may be answers in words."""
    if kind == "extract":
        return len(records) > len(others)
    return len(records) >= _SPOILT * len(others) and all("{" in text for text in others)


_SPOILT = 9  # times as many records as outputs that are none


def _were_sampled(notes: Sequence[SeedProblem]) -> bool:
    return any(note.code == "sampled" for note in notes)


def _with_doubts(path: Path, guessed: Guess, *, sampled: bool) -> Guess:
    """The guess with what is doubtful about its outputs, and all labels of a long file."""
    if guessed.copies:
        what = f"{guessed.copies:,} of {len(guessed.outputs):,} outputs equal their inputs"
        guessed.why.append(f"{what}, so 'echo', which would reject them, is off")
    outputs = guessed.outputs if guessed.kind != "output" else ()
    is_labels = "labels" in guessed.task and guessed.kind == "pair"
    asked = guessed.asked if guessed.kind == "pair" else ()  # of a conversation, it is only the last turn
    guessed.why.extend((*doubts_about(outputs, asked, are_labels=is_labels), *hints_of_inputs(asked)))
    if guessed.task["kind"] not in ("classify", "extract", "translate"):
        guessed.why.extend((*hint_of_closing(outputs, asked), *hint_of_languages(guessed.spoken)))
    if not is_labels:
        return guessed
    if sampled:
        source = SeedSource(path=path.name, kind=guessed.kind, **guessed.settings)
        outputs = tuple(seed.reference or "" for seed in read_seeds([source], path.parent).seeds)
    guessed.why.extend(hints_of_labels(labels := distinct_labels(outputs), outputs, asked))
    return guessed._replace(task={**guessed.task, "labels": labels})


def _guess(path: Path, kind: str, encoding: str | None, notes: list[SeedProblem]) -> Guess:
    names = read_column_names(path, encoding)
    check_columns(names, path.name)
    rows = first_rows(path, names, encoding, spread=True, notes=notes) if names else []
    if not rows:
        raise InputError("has no rows.", where=path.name, fix="Add at least one row below the headers.")
    if (worse := find_rejected_column(names, names)) and (preferred := _preferences(path, names, worse, encoding)):
        return preferred
    refuse_exports(path, names, rows)
    refuse_chats_of_people(path, names, rows)
    columns = columns_in(names, rows)
    chat = next(chats_in(names, rows), None)
    if chat and (chat[0] in names or not is_answered(columns)):
        return _chat(*chat, names)
    alpaca = {"instruction", "output"} <= set(names)
    if alpaca or (set(_DOLLY[:3]) <= set(names) and kind != "classify"):
        at = names.index("history") if alpaca and "history" in names else -1
        several = any(str(row.get(f"c{at}")).startswith("[[") for row in rows)
        read, whose = (_ALPACA, "Alpaca") if alpaca else (_DOLLY, "Dolly")
        outputs = next(column.filled for column in columns if column.header == read[1])
        unread = not_read(names, (*read, "history") if several else read)
        why = [f"it has the columns instruction and {read[1]}, like {whose}", *unread]
        return Guess({"kind": "free"}, "conversation" if several else "pair", {}, why, outputs, outputs)
    texts = map(plain_text, rows[0].values())
    if not any(c.filled for c in columns) and (fault := next((t for t in texts if isinstance(t, Fault)), None)):
        raise InputError(f"no column of its first row can be used; {fault.code}: {fault.detail}", where=path.name)
    guessed = guess_table(path, columns, kind)
    if guessed.kind != "pair":
        first_rows(path, names, encoding, strict=True)
    guessed.why.extend(hint_of_names(names, columns) + hints_of_unread_chats(path, names, rows))
    guessed.why.extend(hints_of_label_sets(columns, rows))
    guessed.why.extend(note.detail for note in notes if note.code == "unnamed")
    if row := next((name for name in names if len(name.split()) > _HEADER_WORDS), None):
        sentence = f"the first line was read as headers, but looks like a row: '{row[:40]}...'"
        guessed.why.append(f"{sentence}: add a line of headers above it")
    return guessed


def _preferences(path: Path, names: Sequence[str], worse: str, encoding: str | None) -> Guess | None:
    """Read a file by its shape alone. None if it contains no answers to choose between."""
    source = SeedSource(path=path.name, kind="conversation", limit=LOOKED_AT, encoding=encoding)
    seeds: Sequence[Seed] = ()
    with suppress(InputError):  # a table that happens to have columns of these names is handled like any other
        seeds = read_seeds([source], path.parent).seeds
    if not any(seed.meta.get("rejected") for seed in seeds):
        return None
    kind = "conversation" if any(seed.turns for seed in seeds) else "pair"
    task = "free" if set(names) & {"instruction", "input", "prompt"} else "reply"
    why = f"every row has an answer and a worse one, '{worse}': train.objective = 'dpo' learns from both"
    outputs = tuple(seed.reference or "" for seed in seeds)
    return Guess({"kind": task}, kind, {}, [why, *not_read(names, PREFERENCES)], outputs, outputs)


def _chat(column: str, cells: Sequence[object], names: Sequence[str]) -> Guess:
    conversations = [exchange({"messages": cell}, several=True) for cell in cells]
    usable = [one for one in conversations if not isinstance(one, Fault)]
    several = any(len([turn for turn in one.asked if turn.role != "system"]) > 1 for one in usable)
    turns = "some rows have several turns" if several else "every row is one question and its answer"
    outputs = tuple(one.answer for one in usable)
    why = [f"the column '{column}' contains chats; {turns}"]
    why += not_read(names, (column.partition(".")[0], column, "system"))
    settings = {} if column.casefold() in CHATS else {"columns": {"messages": column}}
    asked = tuple(one.asked[-1].content for one in usable)
    return Guess({"kind": "reply"}, "conversation" if several else "pair", settings, why, outputs, outputs, asked=asked)


def _named(kind: str, guessed: Guess) -> dict[str, Any]:
    """The task of the kind chosen by the user, as far as a file of another shape shows it."""
    labels = distinct_labels(guessed.outputs) if kind == "classify" else []
    return {"kind": kind, **({"labels": labels} if 1 < len(labels) < len(guessed.outputs) else {})}
