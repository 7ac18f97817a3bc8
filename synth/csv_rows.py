"""The rows of a CSV or TSV file, read as a stream. Above its headers may stand what spreadsheets and reports write:
blank lines, `sep=;`, a title with the rest of its line empty, or lines without any separator."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from schemas.spec import SeedSource
from synth.columns import Cells, Fault, Layout, SeedProblem, delimiter, known_headers, layout
from synth.unreadable import no_csv

MAX_LINE_BYTES = 16 * 2**20
"""A line or a CSV cell longer than this is not held in memory."""

LOOKED_AT = 10  # lines below the first one, among which the headers may be
BLANK = Fault("blank", "there is no text.")
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_MARK = re.compile(r"[\W\d]*(?:\w{1,3}[.):])?")  # of a list
_NO_HEADER = re.compile(r"^\s|^$|[\d=<>{}]|\w\(|[.?!]$")

Rows = Iterator[tuple[int, Cells | Fault]]
Lines = Iterator[tuple[int, str | Fault]]


def shown(source: SeedSource) -> str:
    """The source as a person calls it."""
    return "standard input" if source.path == "-" else source.path


def csv_names(lines: Iterable[str], source: SeedSource) -> list[str]:
    """The headers of a file, of its lines that are not blank. Raises InputError."""
    rest = iter(lines)
    head = next(rest, "")
    separator_line = _SEPARATOR.fullmatch(head)
    first = [next(rest, "") if separator_line else head, *islice(rest, LOOKED_AT)]
    above, separator = head_of(first, source, separator_line[1] if separator_line else None)
    try:
        return next(csv.reader(chain(first[above:], rest), delimiter=separator), [])
    except csv.Error as error:
        raise no_csv(error, f"{source.path}:1") from None


def head_of(lines: Sequence[str | Fault], source: SeedSource, given: str | None = None) -> tuple[int, str]:
    """How many of the first lines stand above the headers, as a report's title does, and the separator, which may be
    `given`. Of several cells of such a line at most one is filled, and nobody asks for it; or it has no separator, and
    below it stand headers, all filled, and rows as wide as they are."""
    texts = ["\n" if isinstance(line, Fault) else line for line in lines]
    separator = given or delimiter(texts[0], source)
    records = _records(texts, separator)
    if not records or known_headers(records[0][1], source):
        return 0, separator
    if len(records[0][1]) > 1:
        # A first cell alone may be empty in headers: an index has no name.
        filled = ((at, [bool(cell.strip()) for cell in cells]) for at, cells in records)
        return next((at for at, cells in filled if sum(cells) > 1 or (len(cells) > 1 and all(cells[1:]))), 0), separator
    titled = texts[0].startswith('"') or " " in texts[0].strip()  # one word is a header
    for start in range(1, len(texts) if titled else 1):
        separator = given or delimiter(texts[start], source)
        above = [cells for _, cells in _records(texts[:start], separator)]
        alone = texts[start].strip() and all(sum(bool(cell.strip()) for cell in cells) < 2 for cells in above)
        if alone and _are_headers(_records(texts[start:], separator), source):
            return start, separator
    return 0, given or delimiter(texts[0], source)


def _are_headers(records: Sequence[tuple[int, list[str]]], source: SeedSource) -> bool:
    """Whether the first of these rows, below lines of one text, names the columns of the others."""
    headers, *rows = [cells for _, cells in records if cells] or [[]]
    whole = rows[:-1] or rows  # the last may go on
    plain = all(cell.strip() and not cell.startswith(" ") for cell in headers)  # behind a comma of prose is a blank
    alike = plain and bool(whole) and all(len(cells) == len(headers) for cells in whole)
    return len(headers) > 1 and (alike or known_headers(headers, source) > 1)


def is_table(text: str, called: Callable[[str], bool]) -> bool:
    """Whether a text that nobody has called a table is one: tabs make as many cells of nine lines in ten as of the
    first, in which two hold more than the mark of a list, or another separator does below headers of which one is
    `called` as columns are: `Berlin,Paris` may be headers or not. No such header has a figure or a sign of code in it,
    or begins with a blank as behind a comma of prose.

    is_table("message;label\nMy kettle leaks;repair\nWhere is it?;delivery", {"label"}.__contains__)
    """
    lines = text.splitlines(keepends=True)[:1000]
    for separator in "\t;,|":
        headers, *rows = [cells for _, cells in _records(lines, separator) if any(cells)] or [[]]
        alike = len(headers) > 1 and 10 * sum(len(cells) == len(headers) for cells in rows) >= max(1, 9 * len(rows))
        if separator == "\t":
            named = sum(not _MARK.fullmatch(cell) for cell in headers) > 1
        else:
            named = len(set(headers)) == len(headers) and not any(map(_NO_HEADER.search, headers))
            named = named and any(map(called, headers))
        if alike and named:
            return True
    return False


def _records(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """The rows that lines hold, each with the number of lines above it; none where they are no CSV: whoever reads the
    rows says where."""
    records, above = list[tuple[int, list[str]]](), 0
    reader = csv.reader(lines, delimiter=separator)
    try:
        for cells in reader:
            records.append((above, cells))
            above = reader.line_num
    except csv.Error:
        return []
    return records


def up_to_text(
    lines: Lines,
) -> tuple[list[tuple[int, Fault]], Lines]:
    """The blank lines at the head, and the rest."""
    blank: list[tuple[int, Fault]] = []
    for number, line in lines:
        if isinstance(line, Fault) or line.strip():
            return blank, chain([(number, line)], lines)
        blank.append((number, BLANK))
    return blank, iter(())


def csv_rows(lines: Lines, source: SeedSource, notes: list[SeedProblem]) -> Rows:
    skipped: list[tuple[int, Fault]] = []

    def texts() -> Iterator[str]:
        for number, line in rest:
            if isinstance(line, Fault):
                skipped.append((number, line))
                yield "\n"
            else:
                yield line

    # The module's limit of 131,072 characters would end the run at a long cell in a column that nobody reads.
    csv.field_size_limit(MAX_LINE_BYTES)
    blank, rest = up_to_text(lines)
    yield from blank
    head = next(rest, None)
    if head is None:
        return
    separator_line = _SEPARATOR.fullmatch(head[1]) if isinstance(head[1], str) else None
    if separator_line:  # what Excel writes above the headers
        head = next(rest, head)
    if isinstance(head[1], Fault):
        yield head[0], head[1]
        return
    first = [head, *islice(rest, LOOKED_AT)]
    above, separator = head_of([line for _, line in first], source, separator_line[1] if separator_line else None)
    yield from ((number, Fault("title", "it stands above the headers.")) for number, _ in first[:above])
    head, rest = first[above], chain(first[above:], rest)
    reader = csv.reader(texts(), delimiter=separator, strict=True)
    places: Layout | None = None
    end, width = head[0] - 1, 0
    while True:
        start = end + 1
        where = f"{shown(source)}:{start}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise no_csv(error, where) from None
        if cells is None:
            return
        end = head[0] - 1 + reader.line_num
        if places is None:
            places, width = layout(cells, source, where, notes, objects=False), len(cells)
        elif skipped:
            yield from skipped
            skipped.clear()
        elif any(cell.strip() for cell in cells[width:]):
            yield (
                start,
                Fault(
                    "cells",
                    f"{len(cells)} cells under {width} headers; quote a text that has the separator "
                    f"{separator!r} in it.",
                ),
            )
        else:
            yield start, {name: cells[at] if at < len(cells) else None for name, at in places.columns.items()}
