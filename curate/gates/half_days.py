"""Detects an hour in the morning that another text gives as one in the evening, in the same language or another.

other_half_of_day("doors 7 pm", "Doors open at 7 a.m.") == ("7 pm", "7 a.m")
other_half_of_day("午後2時から", "from 2 am") == ("午後2", "2 am")
"""

from __future__ import annotations

import re

from curate.gates.phrases.word_patterns import word_pattern

_HALF = re.compile(r"(?P<hour>\d(?<![\d:.]\d)\d?)(?:[:.]\d\d)? ?(?P<half>[ap])\.?m\b")


def other_half_of_day(before: str, after: str) -> tuple[str, str] | None:
    """Return an hour of `before` and the same hour of `after` in the other half of the day, or None.

    Both texts are folded. An hour that `after` also gives in the right half does not count.
    """
    here = _hours_by_half(before)
    there = _hours_by_half(after) if here else here
    hour = next((hour for hour in here if hour in there and here[hour].keys().isdisjoint(there[hour])), "")
    return (next(iter(here[hour].values())), next(iter(there[hour].values()))) if hour else None


def _hours_by_half(folded: str) -> dict[str, dict[str, str]]:
    hours = dict[str, dict[str, str]]()
    for match in _HALF.finditer(folded) if "m" in folded else ():
        hours.setdefault(match["hour"], {})[match["half"]] = match[0]
    for match in _half_before().finditer(folded) if not folded.isascii() else ():
        hours.setdefault(match["hour"], {})["a" if match["a"] else "p"] = match[0]
    return hours


_half_before = word_pattern(
    r"(?:(?P<a>{hour_before_noon})|(?P<p>{hour_after_noon})) ?(?P<hour>\d{1,2})(?=[:时時点點시])"
)
