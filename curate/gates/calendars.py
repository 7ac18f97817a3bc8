"""Years and days of other calendars: Japanese and Chinese eras, the Buddhist, the Islamic and the Persian calendar.

years_of_eras("令和6年") == {2024}
other_calendars("ถึงวันที่ 31 ธันวาคม 2568") == {20: frozenset({"2025"})}
other_calendars("15 اسفند 1403") == {0: frozenset({"5"}), 9: frozenset({"2025"})}
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from functools import cache, lru_cache

from curate.gates.folding import CACHE_SIZE
from curate.gates.number_words import values_of_numeral
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import listed_values, word_pattern


def names_an_era(folded: str) -> bool:
    """Whether a text gives a year of an era, such as 令和6年, or of the Islamic calendar."""
    return bool(years_of_eras(folded))


def has_hijri_date(folded: str, day: date) -> bool:
    """Whether a text gives a day of the Islamic calendar that is this one, or next to it: months begin by sight."""
    months = listed_values("hijri_months")
    for match in _hijri_date().finditer(folded):
        n, y, m = int(match["day"]), int(match["year"]), int(months[match["month"]])
        of_year = (11 * y + 3) // 30 + 354 * y + 30 * m - (m - 1) // 2 + n  # the arithmetical calendar
        if abs(of_year + 1948440 - 385 - 1721425 - day.toordinal()) <= 1:
            return True
    return False


@cache
def _hijri_date() -> re.Pattern[str]:
    return re.compile(
        rf"(?<!\d)(?P<day>\d\d?)\.?\s(?P<month>{alternation(listed_values('hijri_months'))}),?\s(?P<year>1[34]\d\d)(?!\d)"
    )


def years_of_eras(folded: str, *, islamic: bool = True) -> set[int]:
    """Return the years of the Gregorian calendar that a text gives in another era: 令和6年, พ.ศ. 2567, 1445 AH."""
    years = set[int]()
    for match in _era_year().finditer(folded):
        written = match["after"] or match["before"]
        number = 1 if written == "元" else int(written) if written.isdigit() else max(values_of_numeral(written))
        years.add(number + int(listed_values("eras")[match["era"] or match["behind"]]))
    for match in _hijri_year().finditer(folded) if islamic else ():
        first = int(0.970224 * int(match[1] or match[2]) + 621.5774)
        years |= {first, first + 1}
    return years


@cache
def _era_year() -> re.Pattern[str]:
    eras = alternation(listed_values("eras"))
    return re.compile(
        rf"(?<![a-z])(?P<era>{eras})\W{{0,2}}(?P<after>\d{{1,4}}|元|[一二三四五六七八九十百]+)(?!\d)"
        rf"|(?<!\d)(?P<before>\d{{4}})\W{{0,2}}(?P<behind>{eras})(?![a-z])"
    )


_hijri_year = word_pattern(r"(?<!\d)(1[34]\d\d) ?{hijri}(?!\w)|{hijri} ?(1[34]\d\d)(?!\d)")


@lru_cache(maxsize=CACHE_SIZE)
def other_calendars(folded: str) -> dict[int, frozenset[str]]:
    """Return the numbers of the Gregorian calendar that others in a folded text stand for, by where those begin."""
    if folded.isascii():
        return {}
    forms = dict[int, frozenset[str]]()
    if _SOUTH_EAST.search(folded):
        forms |= {year.start(): frozenset({str(int(year[0]) - 543)}) for year in _BUDDHIST.finditer(folded)}
        forms |= {year.start(1): frozenset({str(int(year[1]) + 1957)}) for year in _SHORT_BUDDHIST.finditer(folded)}
    if _PERSIAN.search(folded):
        for year in _SOLAR.finditer(folded):
            forms[year.start()] = frozenset({str(int(year[0]) + 621), str(int(year[0]) + 622)})
        for match in _solar_date().finditer(folded):
            name, digits = next(n for n in ("a", "b") if match[f"day_{n}"]), listed_values("solar_months")
            month = int(digits.get(match[f"month_{name}"], 0) or match[f"month_{name}"])
            with suppress(ValueError):
                day = _solar_day(int(match[f"year_{name}"]), month, int(match[f"day_{name}"]))
                for part, number in (("year", day.year), ("month", day.month), ("day", day.day)):
                    forms[match.start(f"{part}_{name}")] = frozenset({str(number)})
    for match in _era_year().finditer(folded) if _EAST.search(folded) else ():
        side = "after" if match["after"] else "before"
        if match[side].isdigit():
            year_there = int(match[side]) + int(listed_values("eras")[match["era"] or match["behind"]])
            forms[match.start(side)] = frozenset({str(year_there)})
    return forms


_SOUTH_EAST = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff]")  # Thai, Lao and Khmer
_BUDDHIST = re.compile(r"(?<![\d.,:])2[45]\d\d(?![\d:]|[.,]\d)")
_SHORT_BUDDHIST = re.compile(r"[\u0e01-\u0e3f\u0e34\u0e35]\.[คพย]\. ?(\d\d)(?![\d:]|[.,]\d)")  # behind a month: มี.ค. 67
_EAST = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3400-\u9fff\uac00-\ud7a3]")
_PERSIAN = re.compile("[پچژگکی]")
_SOLAR = re.compile(r"(?<![\d.,:])1[2-4]\d\d(?![\d:]|[.,]\d)")


@cache
def _solar_date() -> re.Pattern[str]:
    months = alternation(listed_values("solar_months"))
    return re.compile(
        rf"(?<!\d)(?P<day_a>\d\d?) (?P<month_a>{months})(?:,? [^\W\d]{{2,4}}){{0,2}},? (?P<year_a>1[2-4]\d\d)(?!\d)"
        r"|(?<!\d)(?P<year_b>1[2-4]\d\d)/(?P<month_b>\d\d?)/(?P<day_b>\d\d?)(?!\d)"
    )


def _solar_day(year: int, month: int, day: int) -> date:
    """Return the day of the Persian calendar, whose leap years recur in 33 years. Raises ValueError for none."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(month, day)
    of_year = 31 * (month - 1) - max(0, month - 7) + day
    return date.fromordinal(226894 + 365 * (year - 1) + (8 * year + 21) // 33 + of_year)
