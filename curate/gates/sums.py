"""The gate on what a text reckons, which is the same in every language: `3 * 18 = 64` does not hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from operator import add, mul, sub, truediv

from curate.gates.judgement import Judgement, passed, quote, rejected
from schemas.records import Pair

_LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"  # or a digit; of a script with blanks, for 38元 is a number
_UNIT = r"(?: ?[€$£¥]| (?:kg|[cmk]?m[²³]?|[gl]|ml|h))?"
# 12, 1,250.50, 1.250,50, 2 000; a currency before it, a unit behind it.
_NUMBER = rf"[€$£¥]?(?!0\d)\d{{1,3}}(?:(?:[ \u00a0\u202f]\d{{3}})+(?!\d)|\d*(?:[.,]\d+)*){_UNIT}(?!{_LETTER})"
_MARKS = r"+×*·÷\u2212\u2013/"
_SIGN = rf"\s*(?:[{_MARKS}]|-|(?<=[\d ])x(?=[\d ])|(?<=\s):(?=\s))\s*"
_EQUATION = re.compile(rf"(?P<left>{_NUMBER}(?:{_SIGN}{_NUMBER})+)\s?=\s?(?P<right>[\u2212-]?{_NUMBER})")
_OPERATION = re.compile(rf"({_SIGN})(?={_NUMBER})")
# What makes it a part of something else: a sign, a bracket, a power, an unknown, a whole number before a fraction.
_BEFORE = re.compile(rf"(?:{_LETTER}|[.,)\]])\Z|[{_MARKS}(^√%-]\s*\Z|(?<!\w)(?:[^\W\d]|\d+|sin|cos|tan|log|ln)\s+\Z")
_BEHIND = re.compile(rf"\s*(?:[{_MARKS}^%²³!:=-]\s*\S|\d|[.,]\d|\w*\s*\(?mod\b|\s*\(?base\b)")
_SIGNS: Mapping[str, Callable[[float, float], float]] = {
    **dict.fromkeys("×*·x", mul), **dict.fromkeys("÷/:", truediv), "+": add, **dict.fromkeys("-\u2212\u2013", sub)
}  # fmt: skip
_TERMS = 8


def sums(pair: Pair) -> Judgement:
    """Every equation of plain numbers in the output holds, as far as its result is exact: `10 / 3 = 3.3` does.

    A number may be read in any way of writing: 1.250 is 1250 or 1.25. An equation of the input may be repeated. Not
    covered: brackets, powers, percentages, unknowns, and sums that are told in words or in a table.
    """
    if "=" not in pair.output:
        return passed("it reckons nothing")
    given = "".join(pair.input.split())
    for equation in _EQUATION.finditer(pair.output):
        before, behind = pair.output[: equation.start()][-12:], pair.output[equation.end() :][:12]
        if _BEFORE.search(before) or _BEHIND.match(behind) or "".join(equation[0].split()) in given:
            continue
        if not _holds(equation["left"], equation["right"]):
            return rejected("wrong_sum", f"{quote(equation[0])} does not hold")
    return passed("what it reckons holds")


def _holds(left: str, right: str) -> bool:
    """Whether it holds in one way of reading its numbers, or by a factor that turns one unit into another."""
    parts = _OPERATION.split(left)
    numbers, signs = parts[::2], [sign.strip() for sign in parts[1::2]]
    divisions = sum(_SIGNS[sign] is truediv for sign in signs)
    if len(numbers) > _TERMS or divisions > 1:  # 25 / 1/3 is 75
        return True
    inexact = 0.999 if divisions else 0.5  # of the last digit: cut off, or rounded
    for values in product(*([value for value, _ in _readings(number)] for number in numbers)):
        reckoned = abs(_reckoned(values, signs))
        for result, places in _readings(right):
            if abs(reckoned - result) <= inexact * 10**-places + 1e-9 * reckoned:
                return True
            if result and reckoned and round(max(reckoned / result, result / reckoned), 6) in _UNITS:
                return True
    return False


_UNITS = (7, 10, 12, 24, 60, 100, 365, 1_000, 3_600, 1_000_000)


def _reckoned(values: tuple[float, ...], signs: list[str]) -> float:
    """The value of a chain of operations; those of points go before those of lines. Infinite where it divides by 0."""
    terms = [values[0]]
    for sign, value in zip(signs, values[1:], strict=True):
        operation = _SIGNS[sign]
        if operation in (add, sub):
            terms.append(operation(0.0, value))
        else:
            terms[-1] = operation(terms[-1], value) if value or operation is mul else float("inf")
    return sum(terms)


def _readings(number: str) -> Iterator[tuple[float, int]]:
    """What a number may say, and how many digits stand behind its point."""
    plain = "".join(character for character in number if character.isdecimal() or character in ".,")
    at = max(plain.rfind("."), plain.rfind(","))
    whole, mark, fraction = (plain[:at], plain[at], plain[at + 1 :]) if at > 0 else (plain, "", "")
    digits = whole.replace(".", "").replace(",", "")
    if not mark or (len(fraction) == 3 and whole != "0"):
        yield float(digits + fraction), 0
    if mark and mark not in whole:
        yield float(f"{digits}.{fraction}"), len(fraction)
