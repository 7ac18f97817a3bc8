"""Reads the rows of a CSV or TSV file as a stream. The headers may be preceded by what spreadsheets and reports write:
blank lines, `sep=;`, comments, a title with the rest of its line empty, or lines without any separator. A second line
of headers below them and a last line of totals are not rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import NamedTuple

from schemas.spec import SeedSource
from synth.sources.columns import (
    Cells,
    Fault,
    Layout,
    SeedProblem,
    count_known_headers,
    layout,
    object_columns,
    open_objects,
)
from synth.sources.errors import invalid_csv_error
from synth.sources.table_edges import are_totals, count_comments, count_more_headers

MAX_LINE_BYTES = 16 * 2**20
"""A longer line or CSV cell is not held in memory."""

LOOKED_AT = 10  # lines after the first one that are searched for the headers
_WORDS_OF_TEXT = 3
BLANK = Fault("blank", "there is no text.")
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_LIST_MARKER = re.compile(r"[\W\d]*(?:\w{1,3}[.):])?")  # such as "-", "1." or "a)"
_NO_HEADER = re.compile(r"^\s|^$|[\d=<>{}]|\w\(|[.?!]$")

Rows = Iterator[tuple[int, Cells | Fault]]
Lines = Iterator[tuple[int, str | Fault]]


def display_name(source: SeedSource) -> str:
    """The source's name in messages."""
    return "standard input" if source.path == "-" else source.path


def csv_names(lines: Iterable[str], source: SeedSource) -> list[str]:
    """The headers of a CSV file, given its lines without blank ones. Raises InputError."""
    rest = iter(lines)
    head = next(rest, "")
    separator_line = _SEPARATOR_LINE.fullmatch(head)
    first = [next(rest, "") if separator_line else head, *islice(rest, LOOKED_AT)]
    above, separator = find_header_row(first, source, separator_line[1] if separator_line else None)
    try:
        return next(csv.reader(chain(first[above:], rest), delimiter=separator), [])
    except csv.Error as error:
        raise invalid_csv_error(error, f"{source.path}:1") from None


def find_header_row(lines: Sequence[str | Fault], source: SeedSource, given: str | None = None) -> tuple[int, str]:
    """How many of the first lines precede the headers, such as a report's title, and the separator (`given`, or
    detected).

    A line above the headers has at most one filled cell, which is not a known column. Or it names groups of columns in
    merged cells (`_is_band`), and names without digits follow. Or it has no separator, and is followed by headers
    without empty cells and by rows of the same width.
    """
    texts = ["\n" if isinstance(line, Fault) else line for line in lines]
    if comments := _count_comments(texts, source, given):
        more, separator = find_header_row(texts[comments:], source, given)
        return comments + more, separator
    separator = given or _separator(texts, source)
    records = _parse_records(texts, separator)
    if not records or count_known_headers(records[0][1], source):
        return 0, separator
    if len(records[0][1]) > 1:
        # Only the first cell of the headers may be empty: the column of an unnamed index.
        rows = [
            (at, cells)
            for at, cells in records
            if _count_filled(cells) > 1 or (len(cells) > 1 and all(map(str.strip, cells[1:])))
        ]
        has_band = len(rows) > 1 and _is_band(rows[0][1], source) and _are_names(rows[1][1])
        return rows[int(has_band)][0] if rows else 0, separator
    is_title = texts[0].startswith('"') or " " in texts[0].strip()  # a single word is a header
    for start in range(1, len(texts) if is_title else 1):
        separator = given or _separator(texts[start:], source)
        above = [cells for _, cells in _parse_records(texts[:start], separator)]
        alone = texts[start].strip() and all(_count_filled(cells) < 2 for cells in above)
        if alone and _are_headers(_parse_records(texts[start:], separator), source):
            return start, separator
    return 0, given or _separator(texts, source)


def _count_comments(lines: Sequence[str], source: SeedSource, given: str | None) -> int:
    if not (lines and lines[0].startswith("#")):
        return 0
    below = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    separator = given or _separator(lines[below:], source)
    records = (_parse_records([line], separator) or [(0, [""])] for line in lines[: below + 1])
    cells_of = [cells or [""] for ((_, cells), *_) in records]
    marked, width = [cell.lstrip("#") for cell in cells_of[0]], len(cells_of[-1])
    if len(marked) == width and count_known_headers(marked, source) > count_known_headers(cells_of[-1], source):
        return 0
    return count_comments(lines, cells_of)


def _separator(lines: Sequence[str], source: SeedSource) -> str:
    """The separator under which nine in ten of these lines have as many cells as the first one, the headers; then the
    one that yields the most known column names, then the most cells. A comma if in doubt."""

    def rank(separator: str) -> tuple[bool, int, int]:
        records = _parse_records(lines, separator) or _parse_records(lines[:1], separator)
        headers, *rows = [cells for _, cells in records if any(cells)] or [[]]
        complete = rows[:-1] or rows  # the last row may continue on further lines
        even = len(headers) > 1 and 10 * sum(len(cells) == len(headers) for cells in complete) >= 9 * len(complete) > 0
        return even, count_known_headers(headers, source), len(headers)

    return max(",;\t|", key=rank)


def _count_filled(cells: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in cells)


def _is_band(cells: Sequence[str], source: SeedSource) -> bool:
    """Whether at most half of these cells are filled, none is a known column, and an empty one follows a filled one, as
    it does when merged cells are exported. The unnamed columns of a data frame's index come first."""
    is_merged = any(left.strip() and not right.strip() for left, right in pairwise(cells))
    return is_merged and 2 * _count_filled(cells) <= len(cells) and not count_known_headers(cells, source)


def _are_names(cells: Sequence[str]) -> bool:
    return all(cell.strip() and not any(map(str.isdigit, cell)) for cell in cells)


def _are_headers(records: Sequence[tuple[int, list[str]]], source: SeedSource) -> bool:
    """Whether the first of these rows, which follow title lines, contains the column names of the others."""
    headers, *rows = [cells for _, cells in records if cells] or [[]]
    complete = rows[:-1] or rows  # the last row may continue on further lines
    plain = all(cell.strip() and not cell.startswith(" ") for cell in headers)  # prose has a space after a comma
    even = plain and bool(complete) and all(len(cells) == len(headers) for cells in complete)
    return len(headers) > 1 and (even or count_known_headers(headers, source) > 1)


def looks_like_table(text: str, called: Callable[[str], bool]) -> bool:
    """Whether a text that is not known to be a table looks like one.

    Nine in ten lines must have as many cells as the first line. Separated by tabs, at least two cells of the first line
    must be more than a list marker. With another separator, at least one header must be `called` like a column
    (`Berlin,Paris` could be headers or not), and no header may contain a digit or a sign of code, or begin with a space
    as after a comma in prose.

    looks_like_table("message;label\nMy kettle leaks;repair\nWhere is it?;delivery", {"label"}.__contains__)
    """
    lines = text.splitlines(keepends=True)[:1000]
    for separator in "\t;,|":
        headers, *rows = [cells for _, cells in _parse_records(lines, separator) if any(cells)] or [[]]
        even = len(headers) > 1 and 10 * sum(len(cells) == len(headers) for cells in rows) >= max(1, 9 * len(rows))
        if separator == "\t":
            named = sum(not _LIST_MARKER.fullmatch(cell) for cell in headers) > 1
        else:
            named = len(set(headers)) == len(headers) and not any(map(_NO_HEADER.search, headers))
            named = named and any(map(called, headers))
        if even and named:
            return True
    return False


def _parse_records(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """The CSV records in `lines`, each with the number of lines before it; empty if the lines are not valid CSV (the
    error is reported when the rows are read)."""
    records, above = list[tuple[int, list[str]]](), 0
    reader = csv.reader(lines, delimiter=separator)
    try:
        for cells in reader:
            records.append((above, cells))
            above = reader.line_num
    except csv.Error:
        return []
    return records


def split_leading_blanks(lines: Lines) -> tuple[list[tuple[int, Fault]], Lines]:
    """The leading blank lines, as faults, and the remaining lines."""
    blank: list[tuple[int, Fault]] = []
    for number, line in lines:
        if isinstance(line, Fault) or line.strip():
            return blank, chain([(number, line)], lines)
        blank.append((number, BLANK))
    return blank, iter(())


def csv_rows(lines: Lines, source: SeedSource, notes: list[SeedProblem]) -> Rows:
    csv.field_size_limit(MAX_LINE_BYTES)  # by default, a long cell in an unused column would stop the run
    blank, rest = split_leading_blanks(lines)
    yield from blank
    head = next(rest, None)
    if head is None:
        return
    separator_line = _SEPARATOR_LINE.fullmatch(head[1]) if isinstance(head[1], str) else None
    if separator_line:  # written by Excel above the headers
        head = next(rest, head)
    if isinstance(head[1], Fault):
        yield head[0], head[1]
        return
    first = [head, *islice(rest, LOOKED_AT)]
    texts = [line for _, line in first]
    above, separator = find_header_row(texts, source, separator_line[1] if separator_line else None)
    yield from ((number, Fault("title", "the line is above the headers.")) for number, _ in first[:above])
    yield from _table_rows(first[above:], rest, separator, source, notes)


def _table_rows(
    first: Sequence[tuple[int, str | Fault]], rest: Lines, separator: str, source: SeedSource, notes: list[SeedProblem]
) -> Rows:
    """The rows of a table, given its first lines, of which the headers are the first one, and the rest."""
    records = _records(chain(first, rest), first[0][0], separator, source)
    start, headers, skipped = next(records, _END)
    yield from skipped
    where, width = f"{display_name(source)}:{start}", len(headers)
    places = layout(headers, source, where, notes)
    inner = object_columns(source, {name: headers[at] for name, at in places.columns.items()})
    notes.extend(_unnamed_texts(headers, first, separator, where))
    more_headers = _more_headers(first, separator)
    for nth, ((start, cells, skipped), following) in enumerate(pairwise(chain(records, (_END,)))):
        if skipped:
            yield from skipped
        elif cells == headers and width > 1:
            yield start, Fault("title", "the line repeats the headers.")  # of a file that was joined from several
        elif nth < more_headers:
            yield start, Fault("title", "the line is a second line of headers.")
        else:
            yield _row(start, cells, places, inner, width, separator, is_last=following is _END)


class _CsvRecord(NamedTuple):
    """The number of a record's first line, its cells, and the lines in it that could not be read."""

    start: int
    cells: list[str]
    skipped: list[tuple[int, Fault]]


_END = _CsvRecord(0, [], [])  # after the last record


def _records(lines: Lines, start: int, separator: str, source: SeedSource) -> Iterator[_CsvRecord]:
    """The CSV records in lines that begin with number `start`. Raises InputError for one that is not valid."""
    skipped: list[tuple[int, Fault]] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            if isinstance(line, Fault):
                skipped.append((number, line))
            yield "\n" if isinstance(line, Fault) else line

    reader = csv.reader(texts(), delimiter=separator, strict=True)
    at = start
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise invalid_csv_error(error, f"{display_name(source)}:{at}") from None
        if cells is None:
            return
        yield _CsvRecord(at, cells, skipped.copy())
        skipped.clear()
        at = start + reader.line_num


def _row(
    start: int,
    cells: list[str],
    places: Layout,
    inner: Mapping[str, str],
    width: int,
    separator: str,
    *,
    is_last: bool,
) -> tuple[int, Cells | Fault]:
    if is_last and are_totals(cells):
        return start, Fault("title", "the line adds up the rows above it.")
    if any(cell.strip() for cell in cells[width:]):
        fix = f"{len(cells)} cells for {width} headers; quote texts that contain the separator {separator!r}."
        return start, Fault("cells", fix)
    return start, open_objects(
        inner, {name: cells[at] if at < len(cells) else None for name, at in places.columns.items()}
    )


def _more_headers(lines: Sequence[tuple[int, str | Fault]], separator: str) -> int:
    records = [cells for _, cells in _parse_records([line for _, line in lines if isinstance(line, str)], separator)]
    return count_more_headers(records[1:])


def _unnamed_texts(
    headers: Sequence[str], lines: Sequence[tuple[int, str | Fault]], separator: str, where: str
) -> Iterator[SeedProblem]:
    """A note for each column without a name that contains texts."""
    texts = [line for _, line in lines if isinstance(line, str)]
    rows = [cells for _, cells in _parse_records(texts, separator)][1:]
    for at in (at for at, header in enumerate(headers) if not header.strip()):
        text = next((row[at] for row in rows if at < len(row) and len(row[at].split()) >= _WORDS_OF_TEXT), "")
        if text:
            what = f"column {at + 1} has no name, so it is not read, but it contains text: '{text.strip()[:40]}...'"
            yield SeedProblem(where, "unnamed", what)
