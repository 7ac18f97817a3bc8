"""Numbers of a translation that changed places.

swapped_numbers("Prices rise from 900 to 1,200 euros.", "Die Preise steigen von 1.200 auf 900 Euro.", "en", "de")
    == "900, 1,200"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from curate.gates.folding import fold
from curate.gates.number_forms import Number, with_fractions_in_order
from curate.gates.numbers import digit_numbers, join_digit_groups
from curate.gates.phrases import says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.units import Quantity, quantities

_A_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d\s?[年月]")


def swapped_numbers(source: str, text: str, language: str, to: str) -> str:
    """Return two numbers in digits that changed places, or ''.

    Both texts must have the same numbers, each once, and the source no date. A number that keeps a unit or a sign of
    money which no other one has did not change places: `for 5 days, 40 mg` for `40 mg for 5 days`. Nor did the start or
    the end of a change that both texts name as such: `up to 9, from 7` for `from 7 to 9`; or a part and its whole,
    which some languages name first: `2つのうち1つ`, `1 of 2`.
    """
    source, text = map(with_fractions_in_order, (source, text))
    first, second = (list(digit_numbers(join_digit_groups(side))) for side in (source, text))
    if len(first) < 2 or len(first) != len(second) or _A_DATE.search(source):
        return ""
    there: dict[str, int] = {}  # form -> index
    for at, number in enumerate(second):
        if not there.keys().isdisjoint(number.forms):
            return ""
        there |= dict.fromkeys(number.forms, at)
    places = [{there[form] for form in number.forms if form in there} for number in first]
    order = [min(at, default=0) for at in places]
    if any(len(at) != 1 for at in places) or len(set(order)) < len(first):
        return ""
    given, kept = (quantities(join_digit_groups(side), code) for side, code in ((source, language), (text, to)))
    units = [_units_of(number, given) | _marks_of(number, source) for number in first]
    moved = [
        bool(own & (_units_of(number, kept) | _marks_of(second[k], text)))
        and all(own.isdisjoint(other) for other in units[:at] + units[at + 1 :])
        for at, (number, own, k) in enumerate(zip(first, units, order, strict=True))
    ]
    left = [(number.text, at) for number, at, is_moved in zip(first, order, moved, strict=True) if not is_moved]
    turned = ((a, b, second[i].text, second[k].text) for (a, i), (b, k) in pairwise(left) if i > k)
    return next((f"{a}, {b}" for a, b, *there in turned if not _is_part_of_whole((a, b), there, source, text)), "")


def _sign_before(number: Number, text: str) -> frozenset[str]:
    """Return the sign of money before a number, which may stand for more than one currency, as ¥ does."""
    sign = re.search(rf"([$\u20ac\u00a3\u00a5\uffe5\u20b9\u20a9])\s?{re.escape(number.text)}(?![\d.,]*\d)", text)
    return frozenset({sign[1].replace("\uffe5", "\u00a5")} if sign else ())


def _marks_of(number: Number, text: str) -> frozenset[str]:
    """Return the sign of money of a number, and whether a change begins or ends with it."""
    written, folded = re.escape(fold(number.text)), fold(text)
    marks = set(_sign_before(number, text))
    for name, pattern in (("from", _from), ("to", _to)):
        if re.search(rf"{pattern().pattern}{written}(?![\d.,]*\d)", folded):
            marks.add(name)
    if re.search(rf"(?<![\d.,]){written}(?![\d.,]*\d)[^\s\d]{{0,2}}{_from_behind().pattern}", folded):
        marks.add("from")
    return frozenset(marks)


_from = word_pattern(r"(?<!\w){moved_from} (?:[^\W\d]{1,3} ?)?")
_from_behind = word_pattern(r" ?{moved_from_behind}")
_to = word_pattern(r"(?<!\w){moved_to} (?:[^\W\d]{1,3} ?)?")


def _is_part_of_whole(here: Sequence[str], there: Sequence[str], source: str, text: str) -> bool:
    """Whether two numbers are a whole and its part where one language names the whole first and the other the part."""
    between = [
        match[1] if (match := re.search(rf"{re.escape(one)}(?!\d)(\D{{1,30}})(?<!\d){re.escape(two)}", side)) else ""
        for (one, two), side in ((here, source), (there[::-1], text))
    ]
    for whole, part in (between, between[::-1]):
        if says("any", "whole_first", fold(whole)) and says("any", "part_first", fold(part)):
            return True
    return False


def _units_of(number: Number, numbered: Sequence[Quantity]) -> frozenset[str]:
    return frozenset[str]().union(*(units for forms, units, _ in numbered if not number.forms.isdisjoint(forms)))
