"""What an answer reckons without an equation: one quantity told in another unit, the end of a span of time, a column
of a table, a sum that was asked for. Only where the numbers leave no doubt what was to be reckoned.

wrong_unit("2.5 kilos are 250 grams.", "en") == "2.5 kilos are 250 grams"
wrong_end("It starts at 20:15 and takes 128 minutes. When does it end?", "At 21:43.", "en") == "21:43"
wrong_column("|a|n|price|sum|\\n|---|---|---|---|\\n|x|12|1.50|18.00|\\n|y|5|3.20|18.50|") == "5 * 3.20 = 18.50"
wrong_total("3 tickets at 17 each plus a fee of 4: total?", "51, with the fee 57.", "en") == "57"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise

from curate.gates.folding import fold
from curate.gates.number_words import in_figures
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import either
from curate.gates.units import Quantity, _in_base, quantities

_HALF = re.compile(r"(?<!\w)半(?=[^\W\d])")
_FIGURES = r"\d+(?:[.,]\d+)*"
_NUMBER = re.compile(rf"(?<![\w.,:/-]){_FIGURES}(?![\w:/-]|[.,]\d)|(?<![\d.,:/-]){_FIGURES}(?=[^\W\d\u0000-\u2e7f])")
_TIME = re.compile(r"(?<![\d:.,])([01]?\d|2[0-3])[:h]([0-5]\d)(?![\d:])")
_ROW = re.compile(r"(?m)^\s*\|(.+)\|\s*$")
_CELL = re.compile(rf"[€$£¥]?\s?({_FIGURES})\s?(?:[^\W\d]{{1,4}}|[€$£¥])?")
_DAY = 24 * 60
_CLOSE, _ROUGHLY = 0.011, 0.06
_MOST_NUMBERS, _MOST_ROWS, _MOST_UNITS = 4, 200, 12  # numbers of a question, rows of a table, quantities of a text
_TELLING = 10  # from which on a product is seldom one by chance
_BETWEEN_UNITS = (1, 7, 12, 24, 30, 52, 60, 100, 365, 1000)


def wrong_unit(text: str, language: str) -> str:
    """A quantity that a text says to be another one of its kind (`2 kilos are 200 grams`), where it is not; or ''."""
    figures = fold(in_figures(_HALF.sub("0.5", text), language))
    here = quantities(figures, language)
    for at, (one, other) in enumerate(pairwise(here) if len(here) <= _MOST_UNITS else ()):
        both = re.escape(one[2]), re.escape(other[2])
        equated = re.search(rf"{both[0]}\s*(?:=|\u2248|(?:{_equals()}))\s*{both[1]}{_ENDS}", figures)
        if equated and one[1].isdisjoint(other[1]) and not _is_as_much(one, other):
            before = figures[: equated.start()]
            if not at or len(before) - before.rfind(here[at - 1][2]) - len(here[at - 1][2]) > _JOINED:
                return equated[0]  # what stands right behind another quantity is a part: 2 h 15 min are 2.25 h
    return ""


_ENDS = r"(?=\s*(?:[.,;!?)\u3002\uff0c\uff01]|\Z|\n))"


@cache
def _equals() -> str:
    return rf"{either(words_of('equals'))}|{either(words_of('makes_as_much'))}"


def _is_as_much(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities may be one; so are those that have no kind in common."""
    here, there = list(_in_base(one)), list(_in_base(other))
    both = [(a, b) for kind, a in here for other_kind, b in there if kind == other_kind]
    return not both or any(abs(a - b) <= _ROUGHLY * max(a, b) + (6 if a < 200 and _warm(one) else 0) for a, b in both)


def _warm(one: Quantity) -> bool:
    return any(unit.startswith("temperature") for unit in one[1])


def wrong_end(given: str, text: str, language: str) -> str:
    """The one time that an answer names, where the question names one time and one span, and no other number, and the
    answer's is neither the end nor the beginning of it; or ''."""
    asked, answered = _TIME.findall(given), set(_TIME.findall(text))
    other = answered.difference(asked)
    if len(asked) != 1 or len(other) != 1 or not _ASKS.search(given):
        return ""
    rest = fold(in_figures(_TIME.sub(" , ", given), language))
    spans = [one for one in quantities(rest, language) if _seconds(one)]
    if not 1 <= len(spans) <= 2 or len(re.findall(r"\d+", rest)) != len(
        re.findall(r"\d+", " ".join(s[2] for s in spans))
    ):
        return ""
    if len(spans) == 2 and rest.index(spans[1][2]) - rest.index(spans[0][2]) - len(spans[0][2]) > _JOINED:
        return ""
    minutes, begins = sum(map(_seconds, spans)) / 60, _minutes(*asked[0])
    ends = _minutes(*next(iter(other)))
    fits = any(abs((begins + sign * minutes - ends) % (_DAY / 2)) < 1 for sign in (1, -1))
    return "" if fits or minutes != int(minutes) else _time_in(text, next(iter(other)))


_ASKS = re.compile(r"[?\u061f\uff1f]")
_JOINED = 6  # characters between the hours and the minutes of one span


def _seconds(quantity: Quantity) -> float:
    return next((amount for kind, amount in _in_base(quantity) if kind == "duration" and amount < _DAY * 60), 0.0)


def _minutes(hour: str, minute: str) -> int:
    return 60 * int(hour) + int(minute)


def _time_in(text: str, time: tuple[str, str]) -> str:
    return next(match[0] for match in _TIME.finditer(text) if match.groups() == time)


def wrong_column(text: str) -> str:
    """A row of a table whose product does not hold, where that of as many rows does; or the total of its last row, the
    one number in it, that is not the sum above. Else ''."""
    rows = (
        [[cell.strip(" *_") for cell in row.split("|")] for row in _ROW.findall(text)[:_MOST_ROWS]]
        if "|" in text
        else []
    )
    if len(rows) < 4 or len({len(row) for row in rows}) > 1:
        return ""
    named = is_total(rows[-1][0])
    body = rows[2:-1] if named else rows[2:]
    for first, second in combinations(range(len(rows[0])), 2):
        for result in set(range(len(rows[0]))) - {first, second}:
            if wrong := _wrong_product([(row[first], row[second], row[result]) for row in body]):
                return wrong
    return _wrong_last(rows[-1], body) if named else ""


def _wrong_product(cells: list[tuple[str, str, str]]) -> str:
    """The first of some products that does not hold, where at least as many hold that could as well not; or ''."""
    whole = [(cell, numbers) for cell in cells if None not in (numbers := tuple(map(_value, cell)))]
    held, wrong = list[tuple[str, str, str]](), list[tuple[str, str, str]]()
    for cell, numbers in whole:
        one, other, result = (number or 0.0 for number in numbers)
        if result < _TELLING:
            return ""
        holds = abs(one * other - result) <= max(_CLOSE, 0.001 * result)
        if not holds or min(one, other) > 1:
            (held if holds else wrong).append(cell)
    return "{} * {} = {}".format(*wrong[0]) if wrong and len(held) >= len(wrong) else ""


def _wrong_last(last: list[str], body: list[list[str]]) -> str:
    """The one number of a last row, where the column above has numbers only, two at least, and another sum; or ''."""
    places = [at for at, cell in enumerate(last) if _value(cell) is not None]
    if len(places) != 1 or len(body) < 2 or any(is_total(row[0]) for row in body):
        return ""
    column = [_value(row[places[0]]) for row in body]
    numbers = [number for number in column if number is not None]
    whole = len(numbers) == len(column) and "%" not in "".join(map("".join, body))
    return last[places[0]] if whole and abs(sum(numbers) - (_value(last[places[0]]) or 0.0)) > _CLOSE else ""


def is_total(cell: str) -> bool:
    return re.fullmatch(rf"(?:{either(words_of('totals'))})\W*", fold(cell)) is not None


def _value(cell: str) -> float | None:
    """The number of a cell, with a currency or a unit beside it; None of any other."""
    whole = _CELL.fullmatch(cell)
    return next(_readings(whole[1]), None) if whole else None


def _readings(number: str) -> Iterator[float]:
    """What a number may say: 1.250 is 1250, and 1.25."""
    marks = [mark for mark in number if mark in ".,"]
    *_, last = re.split("[.,]", number)
    if not marks:
        yield float(number)
    elif len(set(marks)) < len(marks) or (len(last) == 3 and number[0] != "0"):
        yield float(re.sub("[.,]", "", number))
    else:
        whole = number[: -len(last) - 1]
        yield float(f"{re.sub('[.,]', '', whole)}.{last}")


def wrong_total(given: str, text: str, language: str) -> str:
    """The last number of a short answer to a question for a sum (`total`, `altogether`) that no reckoning with the
    question's two to four numbers gives, in no unit; or the share of each, where one number is divided equally by
    another. Else ''."""
    asked, answer = fold(in_figures(given, language)), fold(in_figures(text, language))
    if len(answer) > 400 or not _asks_for().search(asked) or "\n" in given.strip():
        return ""
    values = [value for number in _NUMBER.findall(asked) for value in _readings(number)]
    results = _NUMBER.findall(answer)
    own = [value for number in results for value in _readings(number)]
    if not 2 <= len(values) <= _MOST_NUMBERS or not own or 0 in values or "%" in given:
        return ""
    if _shares().search(asked):
        whole, parts = max(values), min(values)
        exact = len(values) == 2 and whole % parts == 0 and whole / parts not in own
        return results[-1] if exact else ""
    if re.search(_QUANTIFIED, asked) or own[-1] in values:
        return ""
    reached = _reached(tuple(values))
    near = any(abs(own[-1] - n * by) <= 0.51 or abs(own[-1] - n / by) <= 0.51 for n in reached for by in _BETWEEN_UNITS)
    return "" if near else results[-1]


_QUANTIFIED = r"\d\s*[:/]\s*\d"


def _reached(values: Sequence[float]) -> set[float]:
    """What sums, differences, products and quotients of numbers, each used once or not at all, come to."""
    reached, seen = set(values), set[tuple[float, ...]]()
    left = [tuple(sorted(values))]
    while left:
        numbers = left.pop()
        if numbers in seen:
            continue
        seen.add(numbers)
        for one, other in combinations(range(len(numbers)), 2):
            a, b = numbers[one], numbers[other]
            rest = [n for at, n in enumerate(numbers) if at not in (one, other)]
            results = {a + b, abs(a - b), a * b, *((a / b, b / a) if a and b else ())}
            reached |= results
            left += [tuple(sorted([*rest, round(result, 9)])) for result in results] if rest else []
    return reached


@cache
def _asks_for() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{either(words_of('asks_total'))})|{_shares().pattern}")


@cache
def _shares() -> re.Pattern[str]:
    return re.compile(either(words_of("shares_out")))
