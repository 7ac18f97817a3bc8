"""Arithmetic without an equation: a quantity given in two units, the end of a time span, the rows of an invoice.

Only cases in which the numbers leave no doubt about the calculation are checked.

Not covered: word problems (`how many legs`, `shared equally`), whose numbers stand for others; units with a factor
other than a power of ten (a lesson of 45 minutes, a pound of 500 g), temperatures and money; an arrival, which may be
in another time zone; a table without products; sums of a column without products.

wrong_unit("2.5 kilos are 250 grams.", "en") == "2.5 kilos are 250 grams"
wrong_end("It starts at 20:15 and takes 128 minutes. When does it end?", "At 21:43.", "en") == "21:43"
wrong_column("|a|n|price|sum|\\n|---|---|---|---|\\n|x|12|1.50|18.00|\\n|y|5|3.20|18.50|") == "5 * 3.20 = 18.50"
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise, permutations

from curate.gates.folding import fold
from curate.gates.number_words import words_to_digits
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.units import Quantity, in_base_units, quantities

_HALF = re.compile(r"(?<!\w)半(?=[^\W\d])")
_TIME = re.compile(r"(?<![\d:.,])([01]?\d|2[0-3])[:h]([0-5]\d)(?![\d:])")
_ROW = re.compile(r"(?m)^[ \t]*\|(.+)\|[ \t]*$")
_CELL = re.compile(r"[€$£¥]?\s?(\d+(?:[.,]\d+)*)\s?(?:[^\W\d]{1,4}|[€$£¥])?")
_DAY = 24 * 60
_ABSOLUTE_ERROR, _LOG_ERROR = 0.011, 0.02
_MAX_ROWS, _MAX_COLUMNS, _MAX_QUANTITIES = 200, 8, 12  # of a table; quantities of a text
_ENDS = r"(?=\s*(?:[.,;!?)\u3002\uff0c\uff01]|\Z|\n))"
_MAX_GAP = 6  # characters between the hours and the minutes of one span


def wrong_unit(text: str, language: str) -> str:
    """Return a statement that two quantities are equal although they differ by a factor of 10, 100 or 1000, or ''.

    An example is `2 kilos are 200 grams`.
    """
    figures = fold(words_to_digits(_HALF.sub("0.5", text), language))
    here = quantities(figures, language)
    for at, (one, other) in enumerate(pairwise(here) if len(here) <= _MAX_QUANTITIES else ()):
        equated = rf"{re.escape(one[2])}\s*(?:=|\u2248|(?:{_equality_words()}))\s*{re.escape(other[2])}{_ENDS}"
        if not one[1].isdisjoint(other[1]) or not _is_off_by_power_of_ten(one, other):
            continue
        if (match := re.search(equated, figures)) and not (
            at and _continues_quantity(figures[: match.start()], here[at - 1])
        ):
            return match[0]
    return ""


def _continues_quantity(before: str, quantity: Quantity) -> bool:
    """Whether what follows is the second part of a quantity: 2 h 15 min are 2.25 h."""
    return len(before) - before.rfind(quantity[2]) - len(quantity[2]) <= _MAX_GAP


@cache
def _equality_words() -> str:
    return rf"{alternation(words_of('equals'))}|{alternation(words_of('makes_as_much'))}"


def _is_off_by_power_of_ten(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities of one kind, in every reading, differ by a factor of 10, 100 or 1000."""
    here, there = list(in_base_units(one)), list(in_base_units(other))
    both = [(a, b) for kind, a in here for other_kind, b in there if kind == other_kind != "temperature" and a and b]
    powers = [math.log10(a / b) for a, b in both if a / b > 0]
    return bool(powers) and all(abs(p - round(p)) < _LOG_ERROR / 2 and 1 <= abs(round(p)) <= 3 for p in powers)


def wrong_end(given: str, text: str, language: str) -> str:
    """Return the one time in an answer if it is neither the end nor the beginning of the question's time span, or ''.

    The question must ask for the end and contain one time, one span and no other number.
    """
    asked = _TIME.findall(given)
    other = set(_TIME.findall(text)).difference(asked) if len(asked) == 1 else ()
    if len(other) != 1 or not _asks_for_end().search(fold(given)):
        return ""
    rest = fold(words_to_digits(_TIME.sub(" , ", given), language))
    spans = [one for one in quantities(rest, language) if _seconds(one)]
    written = " ".join(span[2] for span in spans)
    if not 1 <= len(spans) <= 2 or len(re.findall(r"\d+", rest)) != len(re.findall(r"\d+", written)):
        return ""
    if len(spans) == 2 and not _continues_quantity(rest[: rest.index(spans[1][2])], spans[0]):
        return ""
    minutes, begins, ends = sum(map(_seconds, spans)) / 60, *(60 * int(h) + int(m) for h, m in (asked[0], *other))
    fits = any(abs((begins + sign * minutes - ends) % (_DAY / 2)) < 1 for sign in (1, -1))
    wrong = next(match[0] for match in _TIME.finditer(text) if match.groups() in other)
    return "" if fits or minutes != int(minutes) else wrong


_asks_for_end = word_pattern(r"(?<![^\W\u0e00-\u9fff\uac00-\ud7a3]){asks_end}[^.?!\u061f\uff1f]{0,20}[?\u061f\uff1fか]")


def _seconds(quantity: Quantity) -> float:
    return next((amount for kind, amount in in_base_units(quantity) if kind == "duration" and amount < _DAY * 60), 0.0)


def wrong_column(text: str) -> str:
    """Return a row of an invoice whose product is wrong, or a wrong total in its last row, or ''.

    The product must hold in at least as many rows. The total must be the only number of the last row, and it must be
    the sum of all products above.
    """
    if text.count("|") < _MIN_BARS:
        return ""
    rows: list[list[str]] = [[cell.strip(" *_") for cell in row.split("|")] for row in _ROW.findall(text)[:_MAX_ROWS]]
    if len(rows) < 4 or len({len(row) for row in rows}) > 1 or len(rows[0]) > _MAX_COLUMNS:
        return ""
    named = re.fullmatch(rf"(?:{alternation(words_of('totals'))})\W*", fold(rows[-1][0])) is not None
    body = [row for row in (rows[2:-1] if named else rows[2:]) if "%" not in "".join(row)]
    numbers = [[_value(cell) for cell in row] for row in body]
    for first, second, result in permutations(range(len(rows[0])), 3):
        if first < second and (held := _products(numbers, first, second, result)):
            if wrong := next((row for row, holds in zip(body, held, strict=True) if not holds), None):
                if all(_MONEY.search(row[result]) for row in body):
                    return f"{wrong[first]} * {wrong[second]} = {wrong[result]}"
                continue
            whole = named and len(body) == len(rows) - 3 and sum(map(bool, map(_value, rows[-1]))) == 1
            total = _value(rows[-1][result]) if whole else None
            if total and abs(sum(row[result] or 0.0 for row in numbers) - total) > _ABSOLUTE_ERROR:
                return rows[-1][result]
    return ""


_MIN_BARS = 16  # bars of a table with three columns and two rows
_MONEY = re.compile(r"\d[.,]\d\d(?!\d)|[€$£¥]")


def _products(rows: Sequence[Sequence[float | None]], first: int, second: int, result: int) -> list[bool]:
    """Return for each row whether its product holds, or [] if the columns are not factors and products.

    All rows must have the three numbers. At least as many products must hold, apart from 1 * x, as do not.
    """
    held, informative = list[bool](), 0
    for row in rows:
        one, other, product = row[first], row[second], row[result]
        if one is None or other is None or product is None:
            return []
        held.append(abs(one * other - product) <= max(_ABSOLUTE_ERROR, 0.001 * product))
        informative += held[-1] and min(one, other) > 1
    return held if informative and informative >= held.count(False) else []


def _value(cell: str) -> float | None:
    """Return the number of a cell, ignoring a currency or unit next to it; None for any other cell."""
    whole = _CELL.fullmatch(cell)
    return _parse_number(whole[1]) if whole else None


def _parse_number(number: str) -> float:
    """Parse a number: 1.250 is 1250, and 1.25 is less than two."""
    marks = [mark for mark in number if mark in ".,"]
    *_, last = re.split("[.,]", number)
    if not marks or len(set(marks)) < len(marks) or (len(last) == 3 and number[0] != "0"):
        return float(re.sub("[.,]", "", number))
    return float(f"{re.sub('[.,]', '', number[: -len(last) - 1])}.{last}")
