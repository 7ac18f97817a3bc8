"""The days that a text names, in figures or beside a month, and whether another text turned one of them round.

days_named("gültig ab 01.04.2025", "de") == [("01.04.2025", {("1", "4")})]    # a day and a month; 3/4 may be two
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.number_words import dates_named

Day = tuple[str, str]  # of a month, and the month; without zeros before them
_IN_FIGURES = re.compile(
    r"(?<![\w.,:/-])(?:(?P<year>\d{4})[./-](?P<m>\d{1,2})[./-](?P<d>\d{1,2})"
    r"|(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})(?:(?P=mark)(?:\d{4}|\d\d))?(?P<dot>\.?))(?![\d:/]|[.,-]\d)"
    r"|(?P<month>\d{1,2}) ?[月월] ?(?P<day>\d{1,2}) ?[日일号]"
)
_DIGIT = re.compile(r"\d")
_MAY_BE_DATE = re.compile(r"\d(?:[./-]\d| ?[月월])")  # it stands in every date in figures


def days_named(text: str, language: str) -> list[tuple[str, set[Day]]]:
    """Each date of a text as written, and the days it may be: `3/4` is two in English, `3.4.` one."""
    if not _DIGIT.search(text):
        return []
    folded = fold(text)
    days_written = [(written, {(day, month)}) for written, day, month in dates_named(folded, language)]
    for match in _IN_FIGURES.finditer(folded) if _MAY_BE_DATE.search(folded) else ():
        if match["year"] or match["month"]:
            ways = [(match["d"] or match["day"], match["m"] or match["month"])]
        elif match[0].count(match["mark"]) < 2:
            continue  # a score, a fraction, a version or a time
        else:
            ways = [(match["first"], match["second"]), (match["second"], match["first"])]
            ways = ways if match["mark"] != "." and language == "en" else ways[:1]
            ways = ways[::-1] if match["mark"] != "." and _month_first(language) else ways
        days = {
            (day.lstrip("0"), month.lstrip("0")) for day, month in ways if 0 < int(month) < 13 and 0 < int(day) < 32
        }
        if days:
            days_written.append((match[0], days))
    return days_written


def turned_day(before: str, after: str, language: str, input_language: str) -> tuple[str, str] | None:
    """A date of `after` that `before` does not name, but with the day as the month and the month as the day: as
    written there and here."""
    named = days_named(before, input_language)
    known = {day: written for written, days in named for day in days}
    for written, days in days_named(after, language) if known else ():
        if days.isdisjoint(known) and (turned := next((known[m, d] for d, m in days if (m, d) in known), "")):
            return turned, written
    return None


@cache
def _month_first(language: str) -> bool:
    """Whether a date in figures begins with the month in a language that has one way only (Unicode CLDR)."""
    from babel import UnknownLocaleError
    from babel.dates import get_date_format

    try:
        pattern = str(get_date_format("short", language).pattern).casefold()
    except (UnknownLocaleError, ValueError):
        return False
    return language != "en" and pattern.index("m") < pattern.index("d")
