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
    """Whether a text gives a day of the Islamic calendar that is this one, or next to it."""
    return any(day in _hijri_days(match) for match in _hijri_date().finditer(folded))


def _hijri_days(match: re.Match[str]) -> tuple[date, ...]:
    """Return the day that a date of the Islamic calendar names, and those next to it: months begin by sight."""
    n, y, m = int(match["day"]), int(match["year"]), int(listed_values("hijri_months")[match["month"]])
    of_year = (11 * y + 3) // 30 + 354 * y + 30 * m - (m - 1) // 2 + n  # the arithmetical calendar
    return tuple(date.fromordinal(of_year + 1948440 - 385 - 1721425 + around) for around in (-1, 0, 1))


@cache
def _hijri_date() -> re.Pattern[str]:
    return re.compile(
        rf"(?<!\d)(?P<day>\d\d?)\.?\s(?P<month>{alternation(listed_values('hijri_months'))}),?\s(?P<year>1[34]\d\d)(?!\d)"
    )


def years_of_eras(folded: str, *, islamic: bool = True) -> set[int]:
    """Return the years of the Gregorian calendar that a text gives in another era: 令和6年, พ.ศ. 2567, 1445 AH."""
    named = (_years(match) for match in _era_year().finditer(folded))
    hijri = map(_hijri_years, _hijri_year().finditer(folded) if islamic else ())
    return set[int]().union(*named, *hijri)


def _years(match: re.Match[str]) -> set[int]:
    written = match["after"] or match["before"]
    number = 1 if written == "元" else int(written) if written.isdigit() else max(values_of_numeral(written))
    return {number + int(more) for more in listed_values("eras")[match["era"] or match["behind"]].split("/")}


def _hijri_years(match: re.Match[str]) -> set[int]:
    first = int(0.970224 * int(match[1] or match[2]) + 621.5774)
    return {first, first + 1}


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
    if folded.isascii() or not _OTHER_CALENDAR.search(folded):
        return {}
    years, days = dict[int, set[int]](), list[tuple[re.Match[str], str, tuple[date, ...]]]()
    if _SOUTH_EAST.search(folded):
        years |= {year.start(): {int(year[0]) - 543} for year in _BUDDHIST.finditer(folded)}
        years |= {year.start(1): {int(year[1]) + 1957} for year in _SHORT_BUDDHIST.finditer(folded)}
    if _ARABIC.search(folded):
        years |= {year.start(year.lastindex or 0): _hijri_years(year) for year in _hijri_year().finditer(folded)}
        days += [(match, "", _hijri_days(match)) for match in _hijri_date().finditer(folded)]
    solar = [*_solar_date().finditer(folded)] if _ARABIC.search(folded) else []
    if _PERSIAN.search(folded) or any(match["day_a"] for match in solar):
        years |= {year.start(): {int(year[0]) + 621, int(year[0]) + 622} for year in _SOLAR.finditer(folded)}
        for match in solar:
            name, digits = "_a" if match["day_a"] else "_b", listed_values("solar_months")
            month = int(digits.get(match[f"month{name}"], 0) or match[f"month{name}"])
            with suppress(ValueError):
                day = _solar_day(int(match[f"year{name}"]), month, int(match[f"day{name}"]))
                days.append((match, name, (day,)))
    if _EAST.search(folded):
        years |= {
            match.start("after" if match["after"] else "before"): _years(match)
            for match in _era_year().finditer(folded)
        }
        for year in _SHORT_ERA.finditer(folded):
            years[year.start(2)] = {_ERA_LETTERS[year[1]] + int(year[2])}
        years |= {year.start(): {int(year[0]) + 1911} for year in _MINGUO.finditer(folded)}
    for match, name, possible in days:
        for part in ("year", "month", "day"):
            years[match.start(f"{part}{name}")] = {getattr(day, part) for day in possible}
    return {start: frozenset(map(str, numbers)) for start, numbers in years.items()}


# Letters of Arabic, India, South-East Asia, Ethiopia and East Asia.
_OTHER_CALENDAR = re.compile(
    r"[\u0600-\u06ff\u0900-\u097f\u0e00-\u0eff\u1200-\u137f\u1780-\u17ff\u3400-\u9fff\uac00-\ud7a3]"
)
_ARABIC = re.compile(r"[\u0600-\u06ff]")
# Japanese eras by their letters (H30年度), and years of the Chinese era without its name: 114年3月, 114年度.
_ERA_LETTERS = {"m": 1867, "t": 1911, "s": 1925, "h": 1988, "r": 2018}
_SHORT_ERA = re.compile(r"(?<![a-z])([mtshr])(\d{1,2})(?=年|\.\d{1,2}\.\d)")
_MINGUO = re.compile(r"(?<!\d)1[0-2]\d(?=年(?:度|\d{1,2}月))")
_SOUTH_EAST = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff]")  # Thai, Lao and Khmer
_BUDDHIST = re.compile(r"(?<![\d.,:])2[45]\d\d(?![\d:]|[.,]\d)")
_SHORT_BUDDHIST = re.compile(r"[\u0e01-\u0e3f\u0e34\u0e35]\.[คพย]\. ?(\d\d)(?![\d:]|[.,]\d)")  # behind a month: มี.ค. 67
_EAST = re.compile(r"[\u0900-\u097f\u0e00-\u0eff\u1200-\u137f\u1780-\u17ff\u3400-\u9fff\uac00-\ud7a3]")
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
