"""Recognises the lines around the rows of a table that are no rows: comments, a second line of headers, totals."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

_ROWS_BELOW = 3  # complete rows that a second line of headers is compared with
_TEXT = 12  # characters per cell of a column of texts, at least
_NAME = 4  # words of a name of a column, at most
_ENDS = ("!", "?", "。", "！", "？")  # noqa: RUF001
_FIGURE = re.compile(r"(?=\D*\d)[\d\s.,:/%+\-$€£¥'\u00a0\u202f]+|[!-~]*\d[!-~]*")
_AMOUNT = re.compile(r"(?=\D*\d)[\d\s.,%+\-$€£¥'\u00a0\u202f]+")
_UNIT = re.compile(r"[(\[].*[)\]]|[%€$£¥₽°/.-]+|[/°]?[cfkn\d]")
_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_UNITS, MISSING, _TOTALS = (
    frozenset(name.replace("_", " ") for name in _TABLE[of].split()) for of in ("units", "missing", "totals")
)
_IMPORT_ID = re.compile(r'\{\s*"ImportId"\s*:')  # the third line of a survey exported from Qualtrics


def count_comments(lines: Sequence[str], cells_of: Sequence[Sequence[str]]) -> int:
    """How many of the first lines are comments: they begin with `#`, and have another number of cells than the first
    line without `#`, or, if that one consists of names, cells of prose. `cells_of` are the cells of the lines."""
    above = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    below = cells_of[above] if above < len(cells_of) else []
    comments = [
        len(cells) != len(below) or (_are_names(below) and (not _are_names(cells[:1]) or _has_spaces(cells)))
        for line, cells in zip(lines[:above], cells_of, strict=False)
        if line.startswith("#")
    ]
    return above if comments and all(comments) and below else 0


def _are_names(cells: Sequence[str]) -> bool:
    """Whether the cells may be names of columns: a few words without digits that do not end like a sentence."""
    return all(
        len(cell.split()) <= _NAME and not any(map(str.isdigit, cell)) and not cell.rstrip().endswith(_ENDS)
        for cell in cells
    )


def _has_spaces(cells: Sequence[str]) -> bool:
    return any(cell[:1].isspace() for cell in cells[1:])


def count_more_headers(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first rows below the headers belong to these: units or types, the same names in another language,
    or the questions and ids of a survey."""
    for at, cells in enumerate(rows[:2]):
        if any(cells) and all(_IMPORT_ID.match(cell) for cell in cells if cell):
            return at + 1
    if len(rows) <= _ROWS_BELOW:
        return 0
    first, below = [cell.strip() for cell in rows[0]], [row for row in rows[1:] if len(row) == len(rows[0])]
    filled = [cell for cell in first if cell]
    columns = [[cell for row in below if (cell := row[at].strip())] for at in range(len(first))]
    is_odd = [
        bool(cell) and len(cells) >= _ROWS_BELOW and all(map(_FIGURE.fullmatch, cells)) and not _FIGURE.fullmatch(cell)
        for cell, cells in zip(first, columns, strict=True)
    ]
    if not any(is_odd) or any(cell.casefold() in MISSING for cell, odd in zip(first, is_odd, strict=True) if odd):
        return 0
    if all(_UNIT.fullmatch(cell) or cell.casefold() in _UNITS for cell in filled):
        return 1
    is_short = [
        len(cells) >= _ROWS_BELOW and min(map(len, cells)) >= max(_TEXT, 2 * len(cell))
        for cell, cells in zip(first, columns, strict=True)
    ]
    counts = any(odd and all(map(_AMOUNT.fullmatch, cells)) for odd, cells in zip(is_odd, columns, strict=True))
    recurs = any(cell in cells for cell, cells in zip(first, columns, strict=True))
    unlike = len(filled) == len(first) == len(set(filled)) and len(first) > 2 and counts and not recurs
    return int(unlike and _are_names(filled) and any(is_short))


def are_totals(cells: Sequence[str]) -> bool:
    """Whether the last row of a table adds up the others: the first filled cell says so, and the others are numbers."""
    name, *others = [cell.strip() for cell in cells if cell.strip()] or [""]
    is_named = name.casefold().rstrip(" :") in _TOTALS
    return is_named and len(cells) > 2 and bool(others) and all(map(_AMOUNT.fullmatch, others))
