"""Texts that must not be trained on: the inputs and references of the locked test split, and files that the spec names.

Rows of training seeds are checked in curation (`curate.steps.decontaminate`); seeds and exemplars are checked before
any request is paid for (`filter_contaminated_seeds`).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from curate.similarity.overlap import SHORT, Overlap, contaminated
from curate.split import has_given_output, seed_split
from curate.words import words
from schemas.compressed import ending_of, open_unpacked
from schemas.errors import InputError, UsageError
from schemas.files import is_inside
from schemas.id_map import IdMap
from schemas.kinds import KINDS
from schemas.progress import Progress, reporting, unseen
from schemas.records import Seed
from schemas.spec import SeedSource, Spec
from schemas.streamed import FilteredRows
from synth.sources.csv_rows import LOOKED_AT, MAX_LINE_BYTES, find_header_row

if TYPE_CHECKING:  # the check before generation must not load numpy
    from curate.pool import Pool

_CELL = 4  # words; a shorter text of a file may be a label or a name, which outputs contain by chance


def check_jaccard(where: str, jaccard: object) -> None:
    """Raise UsageError for a bound that would find nothing, or everything."""
    if not (isinstance(jaccard, Real) and 0 < float(jaccard) <= 1):
        raise UsageError(f"{where}: jaccard = {jaccard!r}.", fix="It is above 0 and at most 1.")


class HeldOut(NamedTuple):
    """Texts that no training row may repeat.

    `names` are how reasons refer to them, `seed_ids` the test seeds. `equal_numbers` and `outputs_recur` come from the
    task kind: whether a text with other numbers is a different text (`TaskKind.equal_numbers`), and whether outputs
    recur. `cells` are the texts of files that may be labels or names. `exchanges` are the last question of a test
    conversation with its answer, each with a name: without the turns before them, they are a row of their own.
    """

    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    seed_ids: Container[str] = frozenset()
    equal_numbers: bool = False
    outputs_recur: bool = False
    cells: frozenset[str] = frozenset()
    exchanges: tuple[tuple[str, str], ...] = ()

    @property
    def inputs_only(self) -> frozenset[int]:
        """The indices of the texts that an output may repeat: the message "cancel" and the label "cancel" are not the
        same text."""

        def may_recur(text: str) -> bool:
            return text in self.cells or (self.outputs_recur and len(words(text)) < SHORT)

        return frozenset(number for number, text in enumerate(self.texts) if may_recur(text))

    def repeated_by(self, rows: Callable[[], Iterable[tuple[str, ...]]], jaccard: float) -> dict[int, Overlap]:
        """The rows that repeat one of these texts (`contaminated`), by index."""
        if not self.texts:
            return {}
        return contaminated(rows, self.texts, jaccard, equal_numbers=self.equal_numbers, inputs_only=self.inputs_only)

    def settings(self, jaccard: float) -> list[Any]:
        """The settings that identify a step that checks rows against these texts. Without `inputs_only` they equal
        those of earlier versions."""
        one_sided = sorted(self.texts[number] for number in self.inputs_only)
        named = sorted(zip(self.names, self.texts, strict=True))
        exchanges = [sorted(self.exchanges)] if self.exchanges else []
        return [named, jaccard, *([one_sided] if one_sided or exchanges else []), *exchanges]


def collect_held_out(spec: Spec, folder: Path, seeds: Iterable[Seed], *, inside: bool = False) -> HeldOut:
    """Collect the held-out texts: the inputs of test seeds, their references, and every text of
    `curate.contamination.files`.

    References are left out where outputs of the task kind recur by nature (`TaskKind.outputs_recur`). Raises
    InputError, with file and line, for a file that cannot be read, and with `inside` for a link that leads out of
    `folder`.
    """
    texts, names, ids, cells, exchanges = list[str](), list[str](), IdMap(), set[str](), list[tuple[str, str]]()
    kind = KINDS[spec.task.kind]
    for seed in seeds:
        if seed_split(seed, spec.split) != "test":
            continue
        ids[seed.id] = 0
        texts.append(seed.asked)
        names.append(f"test seed {seed.id}")
        if seed.turns and seed.reference and len(words(exchange := f"{seed.body}\n{seed.reference}")) >= SHORT:
            exchanges.append((f"the last exchange of test seed {seed.id}", exchange))
        if seed.reference and not kind.outputs_recur:
            texts.append(seed.reference)
            names.append(f"the reference of test seed {seed.id}")
    for name in spec.curate.contamination.files:
        if inside and not is_inside(folder / name, folder):
            raise InputError(
                f"'{name}' leads out of the project.",
                where="curate.contamination.files",
                why="In a service, it may be a file of somebody else.",
                fix="Put the file itself into the project.",
            )
        for place, text in _texts_of(folder / name, name):
            texts.append(text)
            names.append(place)
            cells |= {text} if len(words(text)) < _CELL else set()
    recurring = kind.equal_numbers, kind.outputs_recur
    return HeldOut(tuple(texts), tuple(names), ids, *recurring, frozenset(cells), tuple(exchanges))


def with_test_rows(pool: Pool, held_out: HeldOut) -> HeldOut:
    """Add to `held_out` the generated inputs of accepted test rows, and what reviewers wrote in the place of imported
    outputs of test rows, which replaces the reference.

    For output seeds a teacher writes the input, so it is only known after generation.
    """
    known, ids = set(held_out.texts), [row.pair_id for row in pool.survivors() if row.seed_id in held_out.seed_ids]
    written = {texts.asked: f"the input of test row {id_}" for id_, texts in zip(ids, pool.texts_of(ids), strict=True)}
    edits = [pair.id for pair in pool.edited if pair.seed_id in held_out.seed_ids and not held_out.outputs_recur]
    for row in pool.rows(edits, verdicts=False):
        if row.pair and row.candidate.generator == "imported":
            written[row.pair.output] = f"the edited output of test row {row.pair.id}"
    more = {text: name for text, name in written.items() if text not in known}
    return held_out._replace(texts=(*held_out.texts, *more), names=(*held_out.names, *more.values()))


def repeated_exchanges(pool: Pool, held_out: HeldOut, jaccard: float) -> dict[int, Overlap]:
    """The accepted rows that are the last exchange of a test conversation. A row with turns of its own is another
    conversation: many end alike ("Thank you")."""

    def rows() -> Iterator[tuple[str, ...]]:
        return (("" if pair.asked != pair.input else f"{pair.input}\n{pair.output}",) for pair in pool.texts())

    texts = [text for _, text in held_out.exchanges]
    return contaminated(rows, texts, jaccard, equal_numbers=held_out.equal_numbers) if texts else {}


class HeldOutMatch(NamedTuple):
    """A seed or exemplar that resembles a held-out text, detected before generation."""

    number: int
    """Index of the seed or exemplar among those that were checked."""
    sentence: str
    """`82 % like test seed 1f...`"""
    text: str
    """The held-out text."""


def filter_contaminated_seeds(
    seeds: Sequence[Seed],
    spec: Spec,
    folder: Path,
    held_out: Iterable[Seed] | None = None,
    progress: Progress = unseen,
    *,
    inside: bool = False,
) -> tuple[Sequence[Seed], list[tuple[Seed, HeldOutMatch]], list[HeldOutMatch]]:
    """Separate seeds that repeat held-out texts.

    Returns the seeds to generate from, the seeds left out (curation would reject all their rows), and the exemplars (by
    number) that show the teacher a held-out text. Test seeds, and pairs that already have an output and cost nothing,
    are never left out. `held_out` has all test seeds, and perhaps others (default: `seeds`). `inside` and the errors
    are those of `collect_held_out`.
    """
    held = collect_held_out(spec, folder, seeds if held_out is None else held_out, inside=inside)
    jaccard = spec.curate.duplicates.jaccard
    judged = FilteredRows(seeds, lambda seed: seed_split(seed, spec.split) != "test" and not has_given_output(seed))
    exemplar_texts = [(one.input, one.output) for one in spec.exemplars]

    def rows() -> Iterator[tuple[str, ...]]:
        return chain(exemplar_texts, ((seed.asked,) for seed in reporting(judged, progress, "overlap")))

    touches = held.repeated_by(rows, jaccard)
    exemplars = [
        _held_out_match(number, touches.pop(number), held) for number in sorted(touches) if number < len(exemplar_texts)
    ]
    numbered = enumerate(judged, len(exemplar_texts)) if touches else ()
    left_out = [
        (seed, _held_out_match(number, touches[number], held)) for number, seed in numbered if number in touches
    ]
    ids = {seed.id for seed, _ in left_out}
    return FilteredRows(seeds, lambda seed: seed.id not in ids) if ids else seeds, left_out, exemplars


def _held_out_match(number: int, touch: Overlap, held_out: HeldOut) -> HeldOutMatch:
    at = touch.held_out
    return HeldOutMatch(number, f"{touch.similarity:.0%} like {held_out.names[at]}", held_out.texts[at])


def _texts_of(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield (place, text) for every text with a letter in a file; a place is e.g. `bench.jsonl:14`.

    The texts are the lines of a text file, or all strings in the rows of JSON, JSONL, CSV, TSV or Parquet. A text of
    few words, e.g. a label, is reported only at its first place.
    """
    known, empty = set[str](), True
    try:
        for number, value in _rows_of(path):
            for text in _strings(value):
                if text in known or not any(map(str.isalpha, text)):  # a repeated label, a number, a date
                    continue
                empty = False
                if len(words(text)) < _CELL:
                    known.add(text)
                yield f"{name}:{number}", text
    except FileNotFoundError:
        raise InputError(
            f"there is no file '{name}'.",
            where="curate.contamination.files",
            why="Rows that repeat its texts would be trained on.",
            fix="Paths are relative to the spec.",
        ) from None
    except (OSError, ValueError) as error:  # orjson's and the decoder's errors are ValueErrors
        raise InputError(
            f"'{name}' cannot be read: {error}.",
            where="curate.contamination.files",
            why="Rows that repeat its texts would be trained on.",
            fix="Fix the file, or save it as Parquet, or in UTF-8 as JSON, JSONL, CSV, TSV or lines of text.",
        ) from None
    if empty:
        raise InputError(
            f"there is no text in '{name}'.",
            where="curate.contamination.files",
            why="Every row would pass, because there is nothing to compare it with.",
            fix="Name a file that contains the texts, or remove this one.",
        )


def _rows_of(path: Path) -> Iterator[tuple[int, Any]]:
    ending = ending_of(path)
    if ending == ".parquet":
        import pyarrow.parquet as pq

        number = 0
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        return
    with open_unpacked(path, path.name) as file:
        text = file.read().removeprefix(codecs.BOM_UTF8).decode()
    if ending == ".json":
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as broken:
            ending = ".jsonl"  # JSON Lines are often named .json: then the first line is a row
            try:
                orjson.loads(next(filter(str.strip, io.StringIO(text)), ""))
            except orjson.JSONDecodeError:
                raise broken from None
        else:
            # An object may map texts to their answers. In a list, the keys of objects are column names.
            with_keys = [value, [key for key in _keys(value) if len(words(key)) >= _CELL]]
            yield from enumerate(value if isinstance(value, list) else [with_keys], 1)
            return
    if ending in (".csv", ".tsv"):
        head = list(islice(io.StringIO(text, newline=""), LOOKED_AT)) or [""]
        # With the wrong separator each row would be one long text, which no row would ever match.
        _, separator = find_header_row(head, SeedSource(path="-"), "\t" if ending == ".tsv" else None)
        yield from _csv_rows(io.StringIO(text, newline=""), separator)
        return
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line.strip():
            yield number, _object(line, number) if ending in (".jsonl", ".ndjson") else line.rstrip("\n")


def _csv_rows(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Read CSV strictly: after an unclosed quotation mark the rest of the file would be a single cell, which nothing
    matches.

    A cell with text after its closing quotation mark, within one line, is read leniently, as spreadsheets do.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = list(lines)
    reader, number = csv.reader(lines, delimiter=separator, strict=True), 0
    while True:
        number, begins = number + 1, reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            line = lines[begins - 1]
            if reader.line_num > begins or line.count('"') % 2:
                what = "a quotation mark that is never closed, or not doubled within its cell"
                raise ValueError(f"the row that begins at line {begins} has {what} ({error})") from None
            row = next(csv.reader([line], delimiter=separator))
        if row is None:
            return
        yield number, row


def _object(line: str, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"line {number} is not valid JSON, at column {error.colno}: {error.msg}") from None


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield key
            yield from _keys(inside)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _strings(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _strings(inside)
