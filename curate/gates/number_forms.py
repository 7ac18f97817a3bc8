"""Numbers in another form: on the other clock, counted back from the next hour, or rounded.

clock_forms({"2", "45"}, "klockan två", "sv") == {"14"}    # and 1430 is 2:30
is_rounded("1214", "1200")
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

from curate.gates.folding import CACHE_SIZE
from curate.gates.phrases import says, words_of
from curate.gates.phrases.lists import alternation


class Number(NamedTuple):
    """A number as written, with every plain form it may stand for: `1,200.50` is `1200.5`, `5k` is `5` or `5000`.

    `letters` are the letters attached to its front (`PW` in `PW55120`); empty for a plain number.
    """

    text: str
    forms: frozenset[str]
    letters: str = ""


_MIN_EXACT = 3  # minimum length of an exact number
_MIN_KEPT, _MAX_DIGITS = 2, 15  # minimum digits that a rounded number keeps; maximum length of a number to compute with
_MAX_ERROR = 0.015  # maximum distance of the rounded number, relative to the exact one
_YEARS = range(1900, 2100)
_FOUR_DIGITS = re.compile(r"([01]\d|2[0-3])([0-5]\d)")
_FIVES = ("5", "10", "15", "20", "25")


def clock_forms(numbers: Collection[str], folded: str, language: str) -> set[str]:
    """Return the hours and minutes that a text may express by other numbers.

    Examples are 14 for two o'clock, and 9 and 45 for a quarter to ten.
    """
    # A loop of digits is not a time, and too long for an int.
    short = {n for n in numbers if len(n) <= 4 and n.isdecimal()}
    times = (_FOUR_DIGITS.fullmatch(n) for n in short if int(n) not in _YEARS)
    forms = {str(int(part)) for time in times if time for part in (time[1], str(int(time[1]) % 12 or 12), time[2])}
    before, has_hour = _mentions_hours(folded, language)
    if before:
        forms |= {str(int(n) - 1 or 12) for n in short if 1 <= int(n) <= 24}
        forms |= {str(60 - int(n)) for n in _FIVES if n in numbers}
    if has_hour:
        plain = {int(n) for n in (*forms, *numbers) if n.isdecimal() and len(n) <= 2}
        forms |= {str(n + 12) for n in plain if 1 <= n <= 11} | {str(n - 12) for n in plain if 13 <= n <= 23}
    return forms


@lru_cache(maxsize=CACHE_SIZE)  # called for each number that is searched for in a text
def _mentions_hours(folded: str, language: str) -> tuple[bool, bool]:
    """Return whether a text counts back from the next hour, and whether it gives an hour at all."""
    before = bool(says(language, "to_the_hour", folded))
    return before, before or bool(says(language, "clock", folded))


def is_rounded(exact: str, other: str) -> bool:
    """Whether a plain number is another one, not a year, with fewer significant digits: 1200 for 1214, 50 for 49.8."""
    if len(exact) < _MIN_EXACT or exact[0] not in (other[0], str(int(other[0]) - 1)):
        return False
    if not are_computable(exact, other):
        return False
    kept = len(other.replace(".", "").strip("0"))
    if len(exact.replace(".", "").strip("0")) <= kept:
        return False
    first, second = float(exact), float(other)
    if (first in _YEARS and "." not in exact) or not first or abs(first - second) > _MAX_ERROR * first:
        return False
    return float(f"{first:.{max(_MIN_KEPT, kept) - 1}e}") == second or float(f"{first:.0f}") == second


@lru_cache(maxsize=1_024)
def rounding_ranges(number: str) -> tuple[tuple[float, float], ...]:
    """Return the ranges of the numbers that may round to this one, and the values that this one may round to."""
    value, kept = float(number), max(_MIN_KEPT, len(number.replace(".", "").strip("0")))
    margin = min(1.1 * _MAX_ERROR * value, max(1.0, 0.6 * value * 10 ** (1 - kept)))
    texts = (f"{value:.0f}", *(f"{value:.{digits - 1}e}" for digits in range(_MIN_KEPT, _MAX_DIGITS)))
    return ((value - margin, value + margin), *((float(text), float(text)) for text in texts))


def are_computable(*texts: str) -> bool:
    """Whether plain numbers have few enough digits to compute with."""
    return all(text.replace(".", "", 1).isdecimal() and len(text) <= _MAX_DIGITS for text in texts)


def with_decimal_fractions(folded: str) -> str:
    """Return folded text with mixed fractions as decimals: `1.5` for `1 1/2`, `1.5 litre` for `a litre and a half`."""
    if says("any", "halves_behind", folded) or says("any", "halves_beside", folded):
        folded = _half_behind().sub(_with_half, folded)
    if "/" not in folded:
        return folded
    return _MIXED_FRACTION.sub(lambda mixed: f"{mixed[1]}.{_DECIMALS[mixed[2]]}", folded)


def _with_half(half: re.Match[str]) -> str:
    """`2.5 horas` for `2 horas y media`, and the same text for a time of day, `las 2 y media`."""
    before = half.string[max(0, half.start() - _NEAR) : half.start()].split()[-1:]
    if not half[2] and not words_of("before_hours").isdisjoint(before):
        return half[0]
    return f"{half[1] or 1}.5{half[2] or ''}"


_NEAR = 8  # characters in which a word before a time of day begins


@cache
def _half_behind() -> re.Pattern[str]:
    ones, behind, beside = map(alternation, map(words_of, ("one_before_half", "halves_behind", "halves_beside")))
    number = rf"(?<![\w.,:/])(?:(\d{{1,3}})(?![\d.,:/])|{ones})"
    return re.compile(rf"{number}(?:( [^\W\d_]{{1,20}})? (?:{behind})| (?:{beside}))(?!\w)")


def with_fractions_in_order(text: str) -> str:
    """Return a text with the fractions that name the whole first as others do: `3/4` for 4分の3."""
    return text if text.isascii() else _whole_first().sub(r"\2/\1", text)


def with_spelt_fractions(folded: str) -> str:
    """Return folded text with fractions in East Asian numerals in digits: `3/4` for 四分之三."""
    return folded if folded.isascii() else _spelt_whole_first().sub(_in_order, folded)


def _in_order(fraction: re.Match[str]) -> str:
    return f"{_NUMERALS[fraction[2]]}/{_NUMERALS[fraction[1]]}"


_NUMERALS = {numeral: 1 + at % 9 for at, numeral in enumerate("一二三四五六七八九일이삼사오육칠팔구")}
_SPELT = f"([{''.join(_NUMERALS)}])"


@cache
def _whole_first() -> re.Pattern[str]:
    return re.compile(rf"(\d{{1,2}}) ?(?:{alternation(words_of('parts_of_whole'))}) ?(\d{{1,2}})(?!\d)")


@cache
def _spelt_whole_first() -> re.Pattern[str]:
    return re.compile(rf"{_SPELT} ?(?:{alternation(words_of('parts_of_whole'))}) ?{_SPELT}")


def without_mixed_fractions(folded: str) -> str:
    return _MIXED_FRACTION.sub(" ", folded) if "/" in folded else folded


def forms_of_fractions(folded: str) -> Iterator[str]:
    """Yield the decimals and percentages of the fractions in folded text, the numbers of which decimals in it are
    fractions, and the decimals of its percentages: 75 for 3/4, 3 and 4 for 0.75, and 0.75 for 75 %."""
    if "/" in folded:
        for fraction in _LONE_FRACTION.findall(folded):
            yield f"0.{_DECIMALS[fraction]}"
            yield from _PERCENTAGES[fraction]
    for percentage in _PERCENTAGE.findall(folded) if "%" in folded else ():
        yield f"0.{_DECIMALS[_OF_PERCENTAGE[''.join(percentage).replace(',', '.')]]}"
    for decimal in _FRACTION_POINT.findall(folded) if "0." in folded or "0," in folded else ():
        yield from next(fraction for fraction, value in _DECIMALS.items() if value == decimal).split("/")


def fraction_forms(folded: str) -> dict[int, frozenset[str]]:
    """Return the decimals of the fractions in folded text, by where their two numbers begin: 0.75 for 3/4, and for its
    4 that of one part too, 0.25, as in `three quarters`."""
    forms = dict[int, frozenset[str]]()
    for match in _LONE_FRACTION.finditer(folded):
        value, below = f"0.{_DECIMALS[match[1]]}", match[1].partition("/")[2]
        forms[match.start()] = frozenset((value,))
        forms[match.end() - len(below)] = frozenset((value, f"0.{_DECIMALS[f'1/{below}']}"))
    return forms


_DECIMALS = {
    "1/2": "5", "1/4": "25", "3/4": "75", "1/3": "33", "2/3": "67", "1/8": "125", "3/8": "375",
    "5/8": "625", "7/8": "875",
}  # fmt: skip
_PERCENTAGES = {
    "1/2": ("50",), "1/4": ("25",), "3/4": ("75",), "1/3": ("33", "33.3"), "2/3": ("67", "66", "66.7", "66.6"),
    "1/8": ("12.5",), "3/8": ("37.5",), "5/8": ("62.5",), "7/8": ("87.5",),
}  # fmt: skip
_OF_PERCENTAGE = {percentage: fraction for fraction, every in _PERCENTAGES.items() for percentage in every}
_PERCENTAGE_VALUES = "|".join(one.replace(".", "[.,]") for one in sorted(_OF_PERCENTAGE, key=len, reverse=True))
_PERCENTAGE = re.compile(rf"(?<![\d.,])({_PERCENTAGE_VALUES})\s?%|(?<!\d)%({_PERCENTAGE_VALUES})(?![.,]?\d)")
_ONE_FRACTION = rf"({'|'.join(_DECIMALS)})(?![\d/]|-\d(?!\d? \d/\d))"
# `3 1/2 cups` and `8 1/2-5 1/2`, but not the result of a game (1/2-1/2) or a date (3/4/2025).
_MIXED_FRACTION = re.compile(rf"(?:(?<![\d/.,-])|(?<=/\d-))(\d{{1,3}})(?:[ -]| ?\u3068 ?){_ONE_FRACTION}")
_LONE_FRACTION = re.compile(rf"(?<![\d/.,-]){_ONE_FRACTION}")
_FRACTION_POINT = re.compile(rf"(?<![\d.,])0[.,]({'|'.join(_DECIMALS.values())})(?!\d)")


def is_roman(number: Number, text: str) -> bool:
    """Whether the text contains a number up to 39 in Roman numerals: the 19th century is le XIXe siècle."""
    numerals = "|".join(sorted(_ROMAN[form] for form in number.forms if form in _ROMAN))
    return bool(numerals and re.search(rf"\b(?:{numerals})(?:{alternation(words_of('ordinal'))})?\b", text))


_ONES = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
_ROMAN = {str(number): "X" * (number // 10) + _ONES[number % 10] for number in range(1, 40)}


# The decimal separator of an amount: 87 400,00. Between other groups of digits it may be left out: 01.23.45.67.89.
_SEPARATOR = re.compile(r"(?<![\d.,])(\d+(?:[ .,'\u2019\u00a0\u202f\u2009]\d{3})*)[.,](\d{1,2})(?![.,]?\d)")


def only_digits(text: str) -> str:
    """Return the digits of a text, with NUL before decimals: 874000 is not in 87 400,00."""
    return re.sub(r"[^\d\0]+", "", _SEPARATOR.sub("\\1\0\\2", text))


def ends_in_group(digits: str, text: str) -> bool:
    """Whether digits are in a text only up to the middle of a group of three: 250000 in 2.500.000."""
    grouped = r"[^\d\0]*".join(digits) + r"(?!(?:(?<=\D\d)\d{1,2}|(?<=\D\d\d)\d)(?!\d))"
    return re.search(grouped, _SEPARATOR.sub("\\1\0\\2", text)) is None
