"""Detects times whose minutes are another number of the text, and a move between two days that is reversed.

mixed_times("leaves 8.15 from bay 12", "It leaves at 8.12 from bay 15.") == ("8.15", "8.12")
reversed_move("14 June becomes 21 June", "It moves from 21 June to 14 June.", "en") == ("14 june", "21 june")
"""

from __future__ import annotations

import re

from curate.gates.folding import fold
from curate.gates.number_words import month_name_dates
from curate.gates.phrases import says
from curate.gates.phrases.word_patterns import word_pattern

_TIME = re.compile(r"(\d(?<![\d.:,]\d)\d?)[.:](\d\d)(?![\d:]|[.,]\d)")
_MAY_BE_TIME = re.compile(r"\d[.:]\d\d")
_WHOLE = re.compile(r"\d(?<![\d.:,]\d)\d{0,2}(?![\d:]|[.,]\d)")


def mixed_times(before: str, after: str) -> tuple[str, str] | None:
    """Return a time or price of `before` and the one in `after` whose minutes are another number of `before`, or None.

    The original minutes must occur in `after` as a number of their own, that is, the two numbers changed places.
    """
    if not (_MAY_BE_TIME.search(before) and _MAY_BE_TIME.search(after)):
        return None
    here, there = dict(_TIME.findall(before)), dict(_TIME.findall(after))
    if all(here.get(whole, minutes) == minutes for whole, minutes in there.items()):
        return None
    alone, now = set(_WHOLE.findall(before)), set(_WHOLE.findall(after))
    for whole, minutes in there.items():
        own = here.get(whole)
        moved = own is not None and own != minutes and minutes in alone and own not in alone
        if moved and own in now and minutes not in now:
            mark = _TIME.search(after)
            joined = "." if mark is None or ":" not in mark[0] else ":"
            return f"{whole}{joined}{own}", f"{whole}{joined}{minutes}"
    return None


def reversed_move(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return the two days of a move that `after` describes in the opposite direction, or None.

    The note must name two days of which the first becomes the second. A note that says which day was and which will be
    (`now 3 May, was 9 May`) has no such order.
    """
    text, note = fold(after), fold(before)
    if not _becomes(note):
        return None
    days, other = (list(dict.fromkeys(month_name_dates(side, language))) for side in (note, text))
    if len(days) != 2 or [day[1:] for day in other] != [day[1:] for day in days[::-1]]:
        return None
    one, two = (note.index(day[0]) for day in days)
    if one > two or not _becomes(note[one + len(days[0][0]) : two]):
        return None
    first, second = (text.index(day[0]) for day in other)
    turned = first < second and _from().search(text[:first]) and _to().search(text[first + len(other[0][0]) : second])
    return (days[0][0], other[0][0]) if turned else None


_from = word_pattern(r"(?<!\w){moved_from}\s*\Z")
_to = word_pattern(r"(?<!\w){moved_to}\s*\Z")


def _becomes(note: str) -> bool:
    return "->" in note or "\u2192" in note or says("any", "becomes", note) is not None
