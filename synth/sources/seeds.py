"""Reads seeds: files, `datasets` folders, hub ids and standard input become `Seed` records. Every row is accounted for.

An unreadable *file* (missing, empty, not UTF-8, broken JSON or CSV, without the column) is an InputError: the run stops
before any request to a teacher. An unusable *row* is a `SeedProblem`, and the other rows are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from schemas.compressed import ending_of
from schemas.errors import InputError
from schemas.files import is_inside
from schemas.id_map import IdMap
from schemas.identity import construct
from schemas.progress import Progress, reporting, unseen
from schemas.records import GROUP, Json, Seed, content_id
from schemas.spec import SeedSource
from schemas.spooled_seeds import SpooledSeeds
from synth.sources.columns import (
    GROUP_COLUMN,
    MAX_CHARS,
    WORSE,
    Cells,
    Fault,
    SeedProblem,
    check_text,
    dislike_fault,
    follow,
    joined_list,
    paths_in,
    plain_text,
    render_input,
    without_single_lists,
)
from synth.sources.csv_rows import Rows, display_name
from synth.sources.input_template import variables
from synth.sources.rows import object_rows, rows_of
from synth.sources.turns import as_json, exchange, rejected_answer

_EMPTY: Json = {}  # shared by all seeds without metadata: an empty dict takes as much memory as a short text
_USE_META: dict[str, Json] = {}
_HELD_OUT = {"validation": 1, "test": 2}  # of two sources with the same text, the one with the higher number decides

__all__ = ["MAX_CHARS", "SeedProblem", "SeedReading", "read_objects", "read_seeds"]


@dataclass
class SeedReading:
    """The result of reading seeds. `rows_in == len(seeds) + len(problems)`; `notes` are about fixes that cost no
    row."""

    seeds: SpooledSeeds | list[Seed] = field(default_factory=SpooledSeeds)
    problems: list[SeedProblem] = field(default_factory=list)
    notes: list[SeedProblem] = field(default_factory=list)
    rows_in: int = 0

    @property
    def kinds(self) -> Counter[str]:
        """The number of seeds of each kind."""
        return self.seeds.kinds if isinstance(self.seeds, SpooledSeeds) else Counter(seed.kind for seed in self.seeds)

    @property
    def not_used(self) -> str:
        """A summary such as `80 of 200 rows are not used: blank 50, json 30`; empty if all rows are used."""
        if not self.problems:
            return ""
        words = Counter(problem.code for problem in self.problems).most_common()
        counts = ", ".join(f"{word} {count:,}" for word, count in words)
        be = "is" if self.rows_in == 1 else "are"
        return f"{len(self.problems):,} of {self.rows_in:,} rows {be} not used: {counts}"


def read_seeds(
    sources: Sequence[SeedSource],
    folder: Path,
    stdin: BinaryIO | None = None,
    *,
    most_rows: int | None = None,
    inside: bool = False,
    progress: Progress = unseen,
) -> SeedReading:
    """Read every source in order. Paths are relative to `folder`; the path `-` is read from `stdin`.

    Whitespace around a text is removed. A row with the same text and kind as an earlier row of any source is a problem
    that names the earlier one; if their licences differ, the first seed records both. A source is read up to `limit`
    seeds; later rows are not counted. Lines and rows are numbered from 1: a CSV row by the line it starts on, a row of
    a JSON list by its position. Only the required columns are read. A source is refused as soon as it turns out to have
    more than `most_rows` rows, and with `inside` if it is a link that leads out of `folder`.

    Raises InputError, before anything is returned, if there is no source, or if a source is missing, empty, malformed
    (the message names the file, the line and the column or byte), without the column, or without any usable row.
    """
    if not sources:
        raise InputError(
            "there are no seeds to start from.",
            where="[[seeds]]",
            why="Every pair starts from a seed: an input as users type it, or an excellent output.",
            fix='Write some into a file next to the spec, one per line, and add [[seeds]] with path = "seeds.txt" to '
            'the spec (and kind = "output" for outputs).',
        )
    if sum(source.path == "-" for source in sources) > 1:
        raise InputError(
            "two sources read standard input.",
            where="seeds",
            why="It can be read only once.",
            fix="Delete one of them.",
        )
    reading = SeedReading()
    first_seen = IdMap()
    for source in sources:
        remaining, files = source.limit, source.each(folder)
        # In a folder of documents each file is a row, so a blank one is only an unusable row.
        documents = source.format == "document" and len(files) > 1
        seeds, problems = len(reading.seeds), len(reading.problems)
        for file in files:
            if remaining == 0:
                break
            if inside and not is_inside(folder / file.path, folder):
                what, fix = "is a link that leads out of the project.", "Put the file itself into the project."
                raise InputError(what, where=display_name(file), fix=fix)
            limited = file if remaining == file.limit else file.model_copy(update={"limit": remaining})
            with ExitStack() as stack:
                rows = reporting(rows_of(limited, folder, stdin, reading.notes, stack), progress, "seeds")
                accepted = _read(limited, rows, reading, first_seen, most_rows=most_rows, is_row=documents)
            remaining = None if remaining is None else remaining - accepted
        unusable = reading.problems[problems:]
        if documents and len(reading.seeds) == seeds and all(problem.code != "duplicate" for problem in unusable):
            raise _no_usable_row(unusable, "documents")
    return reading


def read_objects(source: SeedSource, rows: Iterable[object]) -> SeedReading:
    """Read seeds from objects in memory as if they were the rows of a JSON file with the settings of `source`."""
    reading = SeedReading()
    _read(source, object_rows(enumerate(rows, 1), source, reading.notes), reading, IdMap())
    return reading


def _read(
    source: SeedSource,
    numbered: Rows,
    reading: SeedReading,
    first_seen: IdMap,
    most_rows: int | None = None,
    is_row: bool = False,
) -> int:
    """Read the rows of `source` into `reading`, and return the number of new seeds."""
    rows = accepted = duplicates = 0
    name, build_seed, seeds = display_name(source), _seed_builder(source, reading.notes), len(reading.seeds)
    unusable: list[SeedProblem] = []
    for number, cells in numbered:
        rows += 1
        if most_rows is not None and rows > most_rows:
            raise InputError(f"has more than {most_rows:,} rows.", where=name, fix="Split it into several files.")
        where = f"{name}:{number}"
        seed = cells if isinstance(cells, Fault) else build_seed(cells, where)
        if isinstance(seed, Fault):
            unusable.append(SeedProblem(where, *seed))
            reading.problems.append(unusable[-1])
            continue
        if (index := first_seen.setdefault(seed.id, seeds)) < seeds:
            duplicates += 1
            earlier = reading.seeds[index]
            merged, first = _merge_duplicate(earlier, seed)
            if merged is not earlier:
                reading.seeds[index] = merged
            reading.problems.append(SeedProblem(where, "duplicate", f"the same text as {first}."))
            continue
        reading.seeds.append(seed)
        seeds += 1
        accepted += 1
        if accepted == source.limit:
            break
    reading.rows_in += rows
    blank = sum(one.code == "blank" for one in unusable)
    is_text = ending_of(source.path) in (".txt", ".text") and source.format is None
    if is_text and 3 < rows < 4 * blank and not any(note.code == "lines" for note in reading.notes):
        kept = f"{blank:,} of its {rows:,} lines are blank, and each other line is a seed"
        reading.notes.append(SeedProblem(name, "lines", f'{kept}; for one seed per file add format = "document".'))
    if not rows:
        raise InputError("has no rows.", where=name, fix="Write at least one seed into it.")
    if not accepted and not duplicates and not is_row:
        raise _no_usable_row(unusable, "rows")
    return accepted


def _no_usable_row(problems: Sequence[SeedProblem], noun: str) -> InputError:
    first = problems[0]
    return InputError(
        f"none of its {len(problems):,} {noun} can be used; the first: {first.what}"
        if len(problems) > 1
        else f"its one row cannot be used: {first.what}",
        where=first.where,
        fix="Check the file, and the column that the spec names.",
    )


def _merge_duplicate(first: Seed, seed: Seed) -> tuple[Seed, str]:
    """Merge a duplicate into the first seed with the same text, and describe that seed for the message.

    The first seed gains the duplicate's licence if that differs, its rejected answers, its group if it has none, and
    its use if that is stricter: a test set loses no text because that also occurs among those to train on.
    """
    where, use = first.source, str(seed.meta.get("use"))
    if _HELD_OUT.get(use, 0) > _HELD_OUT.get(str(first.meta.get("use")), 0):
        first = first.model_copy(update={"meta": {**first.meta, "use": use}})
        where = f"{where}, which therefore belongs to the {use} set"
    if GROUP in seed.meta and GROUP not in first.meta:
        first = first.model_copy(update={"meta": {**first.meta, GROUP: seed.meta[GROUP]}})
    worse = first.meta.get("rejected", [])
    if others := [text for text in seed.meta.get("rejected", ()) if text not in worse]:
        first = first.model_copy(update={"meta": {**first.meta, "rejected": [*worse, *others]}})
    if seed.license in first.licenses:
        return first, where
    also = [*first.meta.get("also", ()), {"source": seed.source, "license": seed.license}]
    licences = f"licence {first.license or 'not stated'} there, {seed.license or 'not stated'} here; both are kept"
    return first.model_copy(update={"meta": {**first.meta, "also": also}}), f"{where} ({licences})"


def _seed_builder(source: SeedSource, notes: list[SeedProblem]) -> Callable[[Cells, str], Seed | Fault]:
    """A function that builds a seed from the cells of a row of `source` and the row's location, or returns a Fault.

    Parts of a row that are not read are reported in `notes`.
    """
    imported, extra, paths, in_template = source.imported, source.extra, paths_in(source), variables(source)
    meta = _EMPTY if source.use is None else _USE_META.setdefault(source.use, {"use": source.use})

    def build_seed(cells: Cells, where: str) -> Seed | Fault:
        parts = dislike_fault(cells) or (follow(paths, cells) if paths else cells)
        if isinstance(parts, Fault):
            return parts
        cells, columns = without_single_lists(parts), dict[str, str]() if extra else _EMPTY
        for name in extra:
            cell = cells.get(name)
            text = plain_text(joined_list(cell) if name in in_template else cell)
            if isinstance(text, Fault):
                return Fault(text.code, f"{text.detail} The column is '{name}'.")
            columns[name] = text
        if source.input is not None:
            cells = {**cells, "input" if imported else "text": render_input(source, parts)}
        cell = cells.get(GROUP_COLUMN)  # pandas writes 12 as 12.0 in a column with empty cells
        group = plain_text(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
        if isinstance(group, Fault):
            return Fault(group.code, f"{group.detail} The column is '{source.group}'.")
        seed_meta = {**meta, GROUP: content_id("group", group)} if group else meta
        shared: Json = {"kind": source.kind, "source": where, "license": source.license, "meta": seed_meta}
        shared["columns"] = columns
        if not imported:
            text, raw = check_text(cells.get("text")), cells.get("reference") if source.reference else None
            reference = plain_text(as_json(raw) if isinstance(raw, dict) else raw)
            if isinstance(text, Fault):
                return text
            if isinstance(reference, Fault):
                return Fault(reference.code, f"{reference.detail} The column is '{source.reference}'.")
            shared["text"], shared["reference"] = text, reference or None
            return construct(Seed, shared)
        several = source.kind == "conversation"
        turns = exchange(cells, several=several)
        if isinstance(turns, Fault):
            return turns
        if cells.get(WORSE):
            if worse := rejected_answer(cells, turns, several=several):
                shared["meta"] = {**seed_meta, "rejected": [worse]}
            else:
                notes.append(
                    SeedProblem(
                        where, "rejected", "not a different answer to the same question; only the better one is read."
                    )
                )
        if source.kind == "pair" and len(turns.asked) == 1:
            return construct(Seed, {**shared, "text": turns.asked[0].content, "reference": turns.answer})
        return Seed(messages=turns.asked, reference=turns.answer, **shared)

    return build_seed
