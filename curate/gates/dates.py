"""The days that a text names, in figures or with a month name, and whether another text swapped day and month.

find_days("gültig ab 01.04.2025", "de") == [("01.04.2025", {("1", "4")})]    # (day, month); 3/4 may be two days
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.number_words import month_name_dates

Day = tuple[str, str]  # day and month, without leading zeros
_IN_FIGURES = re.compile(
    r"(?<![\w.,:/-])(?:(?P<year>\d{4})[./-](?P<m>\d{1,2})[./-](?P<d>\d{1,2})"
    r"|(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})(?:(?P=mark)(?:\d{4}|\d\d))?(?P<dot>\.?))(?![\d:/]|[.,-]\d)"
    r"|(?P<month>\d{1,2}) ?[月월] ?(?P<day>\d{1,2}) ?[日일号]"
)
_MAY_BE_DATE = re.compile(r"\d(?:[./-]\d| ?[月월])")  # occurs in every date in figures


def find_days(text: str, language: str) -> list[tuple[str, set[Day]]]:
    """Return each date of a text as written, with the days it may stand for: in English `3/4` is two, `3.4.` is one."""
    folded = fold(text)
    days_written = [(written, {(day, month)}) for written, day, month in month_name_dates(folded, language)]
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


def swapped_date(before: str, after: str, language: str, input_language: str) -> tuple[str, str] | None:
    """Return a date of `before` and the date of `after` with its day and month swapped, or None; both as written.

    `before` must not name the date of `after`.
    """
    named = find_days(before, input_language)
    known = {day: written for written, days in named for day in days}
    for written, days in find_days(after, language) if known else ():
        if days.isdisjoint(known) and (turned := next((known[m, d] for d, m in days if (m, d) in known), "")):
            return turned, written
    return None


@cache
def _month_first(language: str) -> bool:
    """Whether a date in figures begins with the month, in a language with only one order (Unicode CLDR)."""
    from babel import UnknownLocaleError
    from babel.dates import get_date_format

    try:
        pattern = str(get_date_format("short", language).pattern).casefold()
    except (UnknownLocaleError, ValueError):
        return False
    return language != "en" and pattern.index("m") < pattern.index("d")
