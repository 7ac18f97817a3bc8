"""The rows of a CSV or TSV file, read as a stream. Above its headers may stand what spreadsheets and reports write:
blank lines, `sep=;`, a title with the rest of its line empty."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from schemas.spec import SeedSource
from synth.columns import Cells, Fault, Layout, SeedProblem, delimiter, known_headers, layout
from synth.unreadable import no_csv

MAX_LINE_BYTES = 16 * 2**20
"""A line or a CSV cell longer than this is not held in memory."""

_LOOKED_AT = 10  # lines below the first one, among which the headers may be
BLANK = Fault("blank", "there is no text.")
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)

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
    head = next(rest, "") if separator_line else head
    separator = separator_line[1] if separator_line else delimiter(head, source)
    first = [head, *islice(rest, _LOOKED_AT)]
    try:
        above = _titles(first, separator, source)
        return next(csv.reader(chain(first[above:], rest), delimiter=separator), [])
    except csv.Error as error:
        raise no_csv(error, f"{source.path}:1") from None


def _titles(lines: Sequence[str | Fault], separator: str, source: SeedSource) -> int:
    """How many of the first lines stand above the headers, as a report's title does: of several cells at most one is
    filled, nobody asks for it, and a line that names columns follows. A first cell alone may be empty there: an index
    has no name."""
    for at, line in enumerate(lines):
        try:
            cells = [] if isinstance(line, Fault) else next(csv.reader([line], delimiter=separator), [])
        except csv.Error:  # whoever reads the rows says where
            return 0
        if at == 0 and (len(cells) < 2 or known_headers(cells, source)):
            return 0
        filled = [bool(cell.strip()) for cell in cells]
        if sum(filled) > 1 or (len(cells) > 1 and all(filled[1:])):
            return at
    return 0


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
    separator = separator_line[1] if separator_line else delimiter(head[1], source)
    first = [head, *islice(rest, _LOOKED_AT)]
    above = _titles([line for _, line in first], separator, source)
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
