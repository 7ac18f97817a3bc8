"""Recognises columns of values that say who, when, where or how much: a model neither reads nor writes them alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import islice

_EXAMINED, _NEARLY_ALL = 200, 10  # cells that are examined; one in so many may be another value
_MAIL = r"(?:[^\n@<>]{0,60}<)?[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+>?"
_URL = r"(?:[a-z][a-z+.-]{1,9}://|www\.)\S+"
_CURRENCY = r"[$€£¥₽₹₺₩₴₫฿₪]"
_CODE = r"(?:EUR|USD|GBP|CHF|PLN|CZK|SEK|NOK|DKK|HUF|RON|RUB|UAH|TRY|ILS|JPY|CNY|KRW|INR|VND|BRL|MXN|AUD|CAD|ZAR)"
_UNIT = rf"(?:[^\W\d_]{{1,3}}\.?|[%°]|{_CURRENCY})"
_NUMBER = r"[+-]?\d[\d.,'\u00a0\u202f ]*"
_YEARS = r"(?:1\d|20)\d\d[-/](?:1\d|20)\d\d"
_PATTERNS = (
    re.compile(rf"{_MAIL}(?:[,;\s]+{_MAIL})*"),
    re.compile(rf"{_URL}(?:[,;\s]+{_URL})*", re.IGNORECASE),
    re.compile(rf"(?!{_YEARS}\Z)(?=(?:\D*\d){{7}})\+?[\d\s()./-]{{6,25}}(?:\s*(?:x|ext\.?)\s*\d+)?"),
    re.compile(rf"(?:{_CODE}|{_CURRENCY})\s*{_NUMBER}|{_NUMBER}\s*{_UNIT}"),
)
_DATE_PARTS = re.compile(r"[^\W\d_]+|\d+")
# Beside the names of months and days, in any of the languages; the last line is what separates a date in East Asia.
_PARTS_OF_DATES = """
am pm a p m t z utc gmt cet cest est edt pst pdt bst ist msk at um uhr kl klo om à alle o ore de del di den der le el
er th st nd rd года h
年 月 日 時 时 分 秒 午前 午後 上午 下午 년 월 일 오전 오후 시 분 초
"""
_BESIDE_DATES = frozenset(_PARTS_OF_DATES.split()) | {"г", "в", "ч"}  # noqa: RUF001 - Russian
_LANGUAGES = "en de fr es it pt nl sv da nb fi pl cs sk hu ro bg hr sr sl ru uk el tr ar he fa hi bn th vi id ko"
_FORMULA, _SEPARATED = re.compile(r"[=*<>^]|\s[+/-]\s"), re.compile(r"\d[-./:]\d")
_RANGE = re.compile(rf"\d{{1,3}}[-./]\d{{1,3}}|{_YEARS}")  # ages, years, fractions, scores
_MAX_DATE = 45  # characters


def are_references(texts: Sequence[str]) -> bool:
    """Whether nearly all of these filled cells are addresses, links, phone numbers, dates, or amounts with a unit.
    Amounts that recur, such as sizes or decades, are classes."""
    cells = list(islice(texts, _EXAMINED))
    patterns = _PATTERNS if 2 * len(set(cells)) > len(cells) else _PATTERNS[:-1]
    others = (not (any(one.fullmatch(cell) for one in patterns) or _is_date(cell)) for cell in cells)
    return bool(cells) and next(islice(filter(None, others), len(cells) // _NEARLY_ALL, None), None) is None


def _is_date(text: str) -> bool:
    """Whether a text has at least two numbers, or one beside the name of a month, and no other words than dates have
    in any of the languages that we know."""
    if len(text) > _MAX_DATE:
        return False
    parts = _words(text)
    words = {part for part in parts if not part.isdigit()}
    numbers = len(parts) - sum(part in words for part in parts)
    if not numbers or numbers + bool(words - _BESIDE_DATES) < 2 or _FORMULA.search(text):
        return False
    if not words and (not _SEPARATED.search(text) or _RANGE.fullmatch(text)):
        return False
    return words <= _BESIDE_DATES or all(word in _BESIDE_DATES or word in _date_words() for word in words)


@cache
def _date_words() -> frozenset[str]:
    """The names of months and weekdays, in full and abbreviated."""
    from babel import Locale

    names = set[str]()
    for locale in map(Locale, _LANGUAGES.split()):
        for calendar in (locale.months, locale.days):
            for context in ("format", "stand-alone"):
                for width in ("wide", "abbreviated"):
                    names.update(part for name in calendar[context][width].values() for part in _words(name))
    return frozenset(names)


def _words(text: str) -> list[str]:
    return [part.casefold() for part in _DATE_PARTS.findall(text)]
