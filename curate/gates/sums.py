"""The gate on arithmetic in a text, which is the same in every language: `3 * 18 = 64` is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from operator import add, mul, sub, truediv

from curate.gates.arithmetic import wrong_column, wrong_end, wrong_unit
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.phrases.word_patterns import LETTER, word_pattern
from schemas.records import Pair

_UNIT = r"(?: ?[€$£¥]| (?:kg|[cmk]?m[²³]?|[gl]|ml|h))?"
# 12, 1,250.50, 1.250,50, 2 000; with a currency before it or a unit after it. The digits are matched atomically, so
# that a row of ones or of terms is not searched again from each of its positions.
_DIGITS = r"(?>\d{1,3}(?:[ \u00a0\u202f]\d{3}){1,6}(?!\d)|\d+(?:[.,]\d+)*)"
_MORE_DIGITS = r"(?>\d{0,2}(?:[ \u00a0\u202f]\d{3}){1,6}(?!\d)|\d*(?:[.,]\d+)*)"  # _DIGITS after its first digit
_NUMBER = rf"[€$£¥]?(?!0\d){_DIGITS}{_UNIT}(?!{LETTER})"
_MARKS = r"+×*·÷\u2212\u2013/"
_SIGN = rf"\s*+(?:[{_MARKS}]|-|(?<=[\d ])x(?=[\d ])|(?<=\s):(?=\s))\s*+"
_MAX_TERMS = 8
_EQUATION = re.compile(
    rf"(?<!{LETTER})(?<![.,)\]}}€$£¥])(?P<left>{_NUMBER}(?:{_SIGN}{_NUMBER}){{1,{_MAX_TERMS - 1}}})"
    rf"\s?=\s?(?P<right>[\u2212-]?{_NUMBER})"
)
_OPERATION = re.compile(rf"({_SIGN})(?={_NUMBER})")
# An operator, a bracket, a power, an unknown, a divisor or a base.
_CONTINUES = re.compile(rf"\s*(?:[{_MARKS}^!:=-]\s*\S|[%²³\d]|[.,]\d|x\s*\d|\\[a-z]|\w*\s*\(?mod\b|\s*\(?base\b)")
_CONTEXT = 12  # characters on either side
_SIGNS: Mapping[str, Callable[[float, float], float]] = {
    **dict.fromkeys("×*·x", mul), **dict.fromkeys("÷/:", truediv), "+": add, **dict.fromkeys("-\u2212\u2013", sub)
}  # fmt: skip


# Contexts in which an equation is part of something else: an operator, a bracket, a power, an unknown, a time, a whole
# number before a fraction, a LaTeX command, an operator in words.
_preceding_context = word_pattern(
    rf"(?:[{_MARKS}(^√%-]\s*|\d:|\\[a-z]+\s*|(?<!\w)(?:[^\W\d]|\d+|sin|cos|tan|log|ln)\s+|\d\s+{{operators}}\s+)\Z"
)


def sums(pair: Pair, language: str = "en", kind: str = "rewrite") -> Judgement:
    """Every equation of plain numbers in the output holds, to the precision of its result: `10 / 3 = 3.3` does.

    A number may be read in any notation: 1.250 is 1250 or 1.25. An equation of the input may be repeated. Percentages
    are only checked in the form `15 % of 240 is 36`. In an invoice, the products of the rows and the total in the last
    row are checked. In an answer, so are a quantity given in two units, and the end of a time span that the question
    asks for.
    Not covered: brackets, powers, unknowns, sums of several units, and word problems.
    """
    if "%" in pair.output and (share := _wrong_share(pair.output, pair.input)):
        return rejected("wrong_sum", f"{quote(share)} does not hold")
    if wrong := _wrong_in_words(pair.output, pair.input) or _wrong_table_or_answer(pair, language, kind):
        return rejected("wrong_sum", f"{quote(wrong)} does not hold")
    if "=" not in pair.output:
        return passed("it has no equation")
    given = "".join(pair.input.split())
    for equation in _EQUATION.finditer(pair.output):
        first, end = equation.span()
        before, behind = pair.output[max(0, first - _CONTEXT) : first], pair.output[end : end + _CONTEXT]
        if _preceding_context().search(before) or _CONTINUES.match(behind) or "".join(equation[0].split()) in given:
            continue
        if not _holds(equation["left"], equation["right"]):
            return rejected("wrong_sum", f"{quote(equation[0])} does not hold")
    return passed("its equations hold")


def _wrong_table_or_answer(pair: Pair, language: str, kind: str) -> str:
    """Return a wrong result in a table or, in an answer, for what its question asks; or ''."""
    if wrong := wrong_column(pair.output):
        return wrong
    if kind != "free" or not _DIGIT.search(pair.output):
        return ""
    share = _wrong_bare_share(pair.input, pair.output)
    return share or wrong_unit(pair.output, language) or wrong_end(pair.input, pair.output, language)


def _wrong_bare_share(asked: str, answer: str) -> str:
    """Return an answer of one number to a question for a percentage of a number, if it is wrong; or ''."""
    shares, number = _asked_share().findall(asked), _BARE_NUMBER.fullmatch(answer.strip(" .\n"))
    if number is None or len(shares) != 1 or len(_ANY_NUMBER.findall(asked)) != 2:
        return ""
    ((rate, whole),) = shares
    return "" if _is_share(rate, whole, number[1]) else f"{asked.strip()} {number[0]}"


def _is_share(rate: str, whole: str, share: str) -> bool:
    """Whether a number is a percentage of another one, to its precision and in any reading of the three."""
    ways = product(_readings(rate), _readings(whole), _readings(share))
    return any(abs(r * w / 100 - result) <= 10**-places for (r, _), (w, _), (result, places) in ways)


_BARE_NUMBER, _ANY_NUMBER = re.compile(rf"[€$£¥]?({_DIGITS}){_UNIT}[€$£¥]?"), re.compile(r"\d+(?:[.,]\d+)*")
_asked_share = word_pattern(
    rf"(?<![.,\d])({_DIGITS}) ?(?:%|{{per_cent}})\s+{{share_of}}\s+[€$£¥]?({_DIGITS})", re.IGNORECASE
)


_DIGIT = re.compile(r"\d")


def _wrong_in_words(text: str, given: str) -> str:
    """Return a wrong calculation with an operator in words (`6 times 7 is 41`), unless `given` has it; or ''."""
    for equation in _calculation_in_words().finditer(text):
        sign = next(sign for name, sign in _OPERATOR_WORDS.items() if equation[name])
        if equation[0] in given or _holds(f"{equation['first']} {sign} {equation['second']}", equation["result"]):
            continue
        if not _preceding_context().search(text[max(0, equation.start() - _CONTEXT) : equation.start()]):
            return equation[0]
    return ""


_OPERATOR_WORDS = {"sum_plus": "+", "sum_minus": "-", "sum_times": "×", "sum_divided": "÷"}
# The pattern begins with a digit and looks behind from there, so that other characters are skipped quickly.
_calculation_in_words = word_pattern(
    rf"(?P<first>\d(?<!{LETTER}\d)(?<![.,:/%$€£\d-]\d){_MORE_DIGITS})\s+"
    r"(?:(?P<sum_plus>{sum_plus})|(?P<sum_minus>{sum_minus})|(?P<sum_times>{sum_times})|(?P<sum_divided>{sum_divided}))"
    rf"\s+(?P<second>{_DIGITS})\s+{{equals}}\s+(?P<result>{_DIGITS})(?![\d%:/]| ?%|{LETTER}|\s*[{_MARKS}=x-]|[.,]\d)",
    re.IGNORECASE,
)


def _wrong_share(text: str, given: str) -> str:
    """Return a wrong percentage of a number (`15 % of 240 is 32`), unless `given` has it; or ''."""
    for share in _percentage().finditer(text):
        if share[0] not in given and not _is_share(share["rate"], share["whole"], share["share"]):
            return share[0]
    return ""


_percentage = word_pattern(
    rf"(?<!{LETTER})(?<![.,\d+\u2212-])(?P<rate>{_DIGITS}) ?%\s+{{share_of}}\s+[€$£¥]?(?P<whole>{_DIGITS}){_UNIT}"
    rf"\s*(?:=|{{equals}}(?!\w))\s*[€$£¥]?(?P<share>{_DIGITS})(?![\d%]| ?%|{LETTER}|\s*[{_MARKS}=x-])"
)


def _holds(left: str, right: str) -> bool:
    """Whether an equation holds in some reading of its numbers, or up to a unit factor, or is not an equation."""
    parts = _OPERATION.split(left)
    numbers, signs = parts[::2], [sign.strip() for sign in parts[1::2]]
    readings, results = [[*_readings(number)] for number in numbers], [*_readings(right)]
    divisions = sum(_SIGNS[sign] is truediv for sign in signs)
    if divisions > 1 or not all([*readings, results]):  # 25 / 1/3 is 75, and 10.12.2024 is a date
        return True
    first = tuple(of_one[0][0] for of_one in readings)
    if _is_no_calculation(left, right, signs, first, results[0][0]):
        return True
    inexact = 0.999 if divisions else 0.5  # of the last digit, which may be truncated or rounded
    for values in product(*([value for value, _ in of_one] for of_one in readings)):
        computed = abs(_evaluate(values, signs))
        for result, places in results:
            if abs(computed - result) <= inexact * 10**-places + 1e-9 * computed:
                return True
            if result and computed and round(max(computed / result, result / computed), 6) in _CONVERSION_FACTORS:
                return True
    return False


def _is_no_calculation(left: str, right: str, signs: list[str], values: tuple[float, ...], result: float) -> bool:
    """Whether the units or the order of the numbers show that nothing is calculated.

    Examples: 1 km + 500 m = 1.5 km; pages 12-14 = 3; 1/4 = 4 tbsp; 7 * 24 = 1 week; in base 2, 1 + 1 = 10.
    """
    operations = {_SIGNS[sign] for sign in signs}
    return (
        (bool(operations & {add, sub}) and len({*re.findall("[a-wyz]+|[€$£¥]", left + right)}) > 1)
        or (operations == {sub} and _evaluate(values, signs) <= 0 and right[0] not in "-\u2212")
        or (operations == {truediv} and values[0] < values[1] and result >= 1)
        or (operations == {mul} and result < min(values))
        or not re.search(r"[^\D01]", left + right)
    )


_CONVERSION_FACTORS = (7, 10, 12, 24, 60, 100, 365, 1_000, 3_600, 1_000_000)


def _evaluate(values: tuple[float, ...], signs: list[str]) -> float:
    """Evaluate a chain of operations, with multiplication and division first. Infinite after a division by 0."""
    terms = [values[0]]
    for sign, value in zip(signs, values[1:], strict=True):
        operation = _SIGNS[sign]
        if operation in (add, sub):
            terms.append(operation(0.0, value))
        else:
            terms[-1] = operation(terms[-1], value) if value or operation is mul else float("inf")
    return sum(terms)


def _readings(number: str) -> Iterator[tuple[float, int]]:
    """Yield the values that a number may have, each with its number of decimal places."""
    plain = "".join(character for character in number if character.isdecimal() or character in ".,")
    at = max(plain.rfind("."), plain.rfind(","))
    whole, mark, fraction = (plain[:at], plain[at], plain[at + 1 :]) if at > 0 else (plain, "", "")
    digits = whole.replace(".", "").replace(",", "")
    if not mark or (len(fraction) == 3 and whole != "0"):
        yield float(digits + fraction), 0
    if mark and mark not in whole:
        yield float(f"{digits}.{fraction}"), len(fraction)
