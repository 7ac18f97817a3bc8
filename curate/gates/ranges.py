"""Ranges whose ends changed places.

reversed_range("open between 9 and 11", "We are open between 11 and 9.") == ("9 and 11", "11 and 9")

Not covered: ends written as words or with different units, and a range that descends in the input (`11 pm to 6 am`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from curate.gates.phrases.word_patterns import word_pattern

_NUMBER = r"\d{1,4}(?:[.:,h]\d{1,2})?"
_CURRENCY = r"[\u20ac$\u00a3\u00a5]"
_ONE = rf"(?<![a-z\d.,:/\u2013-])(?P<one>{_NUMBER})(?![.,:/]?\d)"
# No part of a date or of a serial number
_OTHER = rf"(?:{_CURRENCY} ?)?(?<![a-z\d.,:/])(?P<other>{_NUMBER})(?![.,:/\u2013-]?\d)"
_MEASURES = "\u6642\u65f6\u70b9\u9ede\u5929\u65e5\u5143\u5186\uc2dc\uc77c\uc6d0\ubd84"  # hour, day, minute, money
_UNIT = rf"(?: ?(?:[^\W\d_]{{1,3}}\b\.?|[{_MEASURES}]|(?:{_CURRENCY}|[\u00b0%])[cf]?))?"
_OR_DASH = r"\s?[-\u2013\u2014~\u301c]\s?"
_stated_range = word_pattern(
    rf"{_ONE}{_UNIT}(?:\s?{{range_to}}\s?(?:{{range_articles}}\s)?|(?P<dash>{_OR_DASH})){_OTHER}"
    rf"|{{range_between}}\s(?:{{range_articles}}\s)?{_ONE.replace('one', 'low')}{_UNIT}"
    rf"\s{{range_and}}\s(?:{{range_articles}}\s)?{_OTHER.replace('other', 'high')}"
)


def reversed_range(before: str, after: str) -> tuple[str, str] | None:
    """Return a range of one folded text and its reversal in another one, or None.

    It ascends in `before`. `after` has only the reversal. One of whole numbers has a word between its ends: `facts`
    compares those with a dash, which may be scores.
    """
    given = {ends: text for ends, text, _ in _ranges(before) if ends[0] < ends[1]}
    if not given:
        return None
    stated = list(_ranges(after))
    there = {ends for ends, _, _ in stated}
    turned = ((ends[::-1], text) for ends, text, score in stated if not score and ends not in given)
    return next(((given[ends], text) for ends, text in turned if ends in given and ends not in there), None)


def _ranges(folded: str) -> Iterator[tuple[tuple[float, float], str, bool]]:
    """Yield the ends of every range, its text, and whether it may be a score."""
    for match in _stated_range().finditer(folded):
        one, other = match["one"] or match["low"], match["other"] or match["high"]
        yield (_value(one), _value(other)), match[0], bool(match["dash"]) and f"{one}{other}".isdigit()


def _value(number: str) -> float:
    return float(re.sub("[:,h]", ".", number))
