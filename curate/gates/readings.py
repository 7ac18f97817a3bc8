"""What a record may write for an amount, a duration, a year or a telephone number that a text writes in another way.

is_read_as("deux millions d'euros", 2000000, "fr") is True
is_read_as("anderthalb Stunden", 90, "de") is True      # in any unit of time
is_read_as("20 % off", 0.2, "en") is True
has_year("令和6年5月1日", "2024", "ja") is True

Numbers in words are not parsed: the value is spelt out by the Unicode CLDR rules, and searched for.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache, lru_cache
from itertools import chain
from math import isclose

from curate.gates.amounts import NO_SPACES, scale_powers, scales_before_digits
from curate.gates.calendars import years_of_eras
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.number_words import spelling_rules, values_of_numeral, words_to_digits
from curate.gates.numbers import digit_numbers, join_digit_groups, with_ascii_digits
from curate.gates.phrases import words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import listed_values, word_pattern
from curate.gates.units import CURRENCIES, duration_names

_LARGEST = 10**15  # values from which on nothing is looked for in words
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_MONTHS = {"month": 1, "year": 12}
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")  # ISO 8601
_PHONE, _MIN_PHONE = re.compile(r"\+?[\d\s()/.\-]+"), 7  # minimum digits
_NUMERAL = re.compile(r"[〇零一二两兩三四五六七八九十百千万萬亿億]+")
_PLAIN, _GAP = re.compile(r"\d{1,15}(?:\.\d{1,6})?"), re.compile(r"[^\W\d]{0,3}[\s,]*")


def is_read_as(text: str, leaf: str | int | float, language: str) -> bool:
    """Whether a value of a record is a reading of a text: a number in words, a percentage, a duration or a telephone
    number."""
    if isinstance(leaf, str):
        plain = leaf.strip()
        if (lasting := _DURATION.fullmatch(plain)) and any(lasting.groups()):
            parts = zip(lasting.groups(), (86400, 3600, 60, 1), strict=True)
            return any(isclose(sum(int(n or 0) * size for n, size in parts), t) for t in _totals(text, language)[1])
        if _PHONE.fullmatch(plain) and sum(map(str.isdigit, plain)) >= _MIN_PHONE and _has_phone(text, plain):
            return True
        return _PLAIN.fullmatch(plain) is not None and is_read_as(text, float(plain), language)
    if not 0 < abs(leaf) < _LARGEST:  # nor NaN
        return False
    exact, seconds, months = _totals(text, language)
    times = chain((s / size for s in seconds for size in _SECONDS.values()), (m / n for m in months for n in (1, 12)))
    if any(isclose(abs(leaf), total, rel_tol=1e-9) for total in exact) or leaf in years_of_eras(
        with_ascii_digits(text)
    ):
        return True
    if any(isclose(abs(leaf), total, rel_tol=1e-9) or round(total, 2) == leaf for total in times):
        return True
    return leaf == int(leaf) and _spells(text, int(abs(leaf)), language)


def has_year(text: str, year: str, language: str) -> bool:
    """Whether a text gives a year of four digits in words, in another script, or of another era that it names."""
    digits = with_ascii_digits(text)
    if re.search(rf"(?<!\d){year}(?!\d)", digits) or int(year) in years_of_eras(digits, islamic=False):
        return True
    runs = (run.replace("零", "〇") for run in _FOUR.findall(digits))
    in_characters = any("".join(str("〇一二三四五六七八九".index(digit)) for digit in run) == year for run in runs)
    return in_characters or _spells(text, int(year), language)


_FOUR = re.compile(r"[〇零一二三四五六七八九]{4}")


# Numbers in words ---------------------------------------------------------------------------------------------------


def _spells(text: str, value: int, language: str) -> bool:
    """Whether a text spells out a number, with no other number word next to it."""
    if value < 2 or not (spelt := _spelt(value, language)):
        return False
    tokens = _tokens(fold(text), language)
    others = _number_tokens(language)
    for words in spelt:
        if words[0] not in tokens:
            continue
        for at in range(len(tokens) - len(words) + 1):
            if tokens[at : at + len(words)] == words:
                around = (*tokens[max(0, at - 1) : at], *tokens[at + len(words) : at + len(words) + 1])
                if others.isdisjoint(around):
                    return True
    return False


@lru_cache(maxsize=CACHE_SIZE)
def _tokens(folded: str, language: str) -> tuple[str, ...]:
    """Return the words of a text without those that may be left out of a number (`and`); `.` for the end of a part."""
    if language == "ar":
        folded = re.sub("[إأآ]", "ا", folded)
        folded = _hundred().sub("\u0645", folded)
        folded = re.sub(r"(?<!\w)و(?=\w{3})", "", folded)
    plain = folded.replace("\u00ad", "").replace("ё", "е").replace("-", " ")
    links = words_of("number_links")
    return tuple(word for word in _TOKENS.findall(plain) if word not in links)


_hundred = word_pattern(r"(?:(?<=\w)[\u0629\u0647]? ?)?{hundreds}")  # five hundred is one word or two
_TOKENS = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


@lru_cache(maxsize=CACHE_SIZE)
def _spelt(value: int, language: str) -> frozenset[tuple[str, ...]]:
    from unicode_rbnf import FormatPurpose
    from unicode_rbnf.engine import NoRuleForNumberError

    texts = set[str]()
    if (engine := spelling_rules(language)) is not None:
        for purpose in (FormatPurpose.CARDINAL, FormatPurpose.ORDINAL, FormatPurpose.YEAR):
            with suppress(NoRuleForNumberError, ValueError):
                texts.update(engine.format_number(value, purpose=purpose).text_by_ruleset.values())
    return frozenset(words for text in texts if (words := _tokens(fold(text), language)))


@cache
def _number_tokens(language: str) -> frozenset[str]:
    numbers = (*range(2, 100), *range(100, 1000, 100), 1000, 2000, 10**6, 2 * 10**6, 10**9)
    return frozenset(word for n in numbers for words in _spelt(n, language) for word in words)


# Amounts and durations ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=CACHE_SIZE)
def _totals(text: str, language: str) -> tuple[set[float], set[float], set[float]]:
    """Return the amounts with a scale and the percentages as fractions, the durations in seconds, those in months."""
    totals: dict[str, set[float]] = {"exact": set(), "time": set(), "month": set()}
    figures = _figures(text, language)
    sums, last = dict[tuple[str, float], set[float]](), 0
    for match in _quantity(language).finditer(figures):
        kind, factor = _factor(match, language)
        if not (match["number"] or match["after"] or match["one"]):
            continue
        numbers = [float(form) for n in digit_numbers(match["number"] or "1") for form in n.forms if len(form) < 16]
        added = _added(match["between"]) + _added(match["after"])
        here = {(number + added) * factor for number in numbers}
        if match["minutes"] and factor == _SECONDS["hour"]:
            here = {value + 60 * int(match["minutes"]) for value in here}
        if match["scale"] and language in _DIGITS_BEHIND and (tenths := _TENTHS.match(figures, match.end())):
            here |= {value + float(f"0.{tenths[1]}") * factor for value in here}
        totals[kind] |= here
        near = _GAP.fullmatch(figures, last, match.start()) is not None
        sums = {key: values for key, values in sums.items() if near and key[0] == kind and key[1] > factor}
        joined = {value + more for values in sums.values() for value in values for more in here}
        totals[kind] |= joined
        sums[kind, factor] = here | joined
        last = match.end()
    return totals["exact"], totals["time"], totals["month"]


_DIGITS_BEHIND, _TENTHS = ("vi", "zh"), re.compile(r" ?(\d{1,3})(?![.,]?\d)")  # 6tr5 is 6.5 million, 3万5 is 35,000


def _figures(text: str, language: str) -> str:
    """Return a folded text with its numbers in digits, as far as they are in few words."""
    figures = _half_behind().sub(r" \g<0>", join_digit_groups(with_ascii_digits(text)))
    figures = words_to_digits(_with_powers(figures, language), language)
    if not figures.isascii():
        figures = _NUMERAL.sub(_numeral_in_digits, figures)
    figures = _percent_before().sub(r"\1%", figures)
    return _in_figures().sub(lambda word: listed_values("in_figures")[word[0]], figures)


_percent_before = word_pattern(r"{percent_before}(\d+(?:\.\d+)?)")
_half_behind = word_pattern(r"(?<=[^\W\d]){attached_halves}(?!\w)")  # as in zweieinhalb


def _numeral_in_digits(numeral: re.Match[str]) -> str:
    return str(max(values_of_numeral(numeral[0]))) if not set(numeral[0]) <= set("万萬亿億千百") else numeral[0]


@cache
def _in_figures() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{alternation(listed_values('in_figures'))})(?!\w)")


def _added(words: str | None) -> float:
    return float(listed_values("added")[words.strip(" -")]) if words else 0.0


def _with_powers(figures: str, language: str) -> str:
    """Return folded text with the scale words beside digits as signs that no list of words has: `5.8^j` for 5.8 tỷ."""
    before, behind = _scales_beside_digits(language)
    figures = before.sub(lambda scaled: f"{scaled[2]} {scaled[1]}", figures) if before else figures
    return behind.sub(lambda word: _POWERS[_scales(language)[word[1]]], figures)


# The signs of the powers of ten, which end in a letter, as digits may follow.
_POWERS = {power: f"^{chr(ord('a') + power)}" for power in range(2, 16)}


@cache
def _scales_beside_digits(language: str) -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    """Return patterns for scale words before a number, if the language has such (`elfu 50`), and behind one."""
    before = scales_before_digits(language)
    first = re.compile(rf"(?<!\w)({alternation(before)}) (\d+(?:[.,]\d+)*)") if before else None
    return first, re.compile(rf"(?<=\d)[ -]?({alternation(_scales(language))})(?:(?<=[{NO_SPACES}])|(?![^\W\d_]))")


@cache
def _scales(language: str) -> dict[str, int]:
    """Return the scale words of a language and the signs for them, with their powers of ten."""
    return scale_powers(language) | {sign: power for power, sign in _POWERS.items()}


@cache
def _quantity(language: str) -> re.Pattern[str]:
    added = f"[ -]?(?:{alternation(listed_values('added'))})"
    times = alternation(duration_names(language))
    scales = alternation(_scales(language))
    return re.compile(
        rf"(?<![\d.,])(?:(?P<number>\d+(?:[.,]\d+)*)|(?P<one>(?<!\w)(?:{alternation(words_of('one'))})(?= )))?"
        rf"(?P<between>{added}(?!\w))?[ -]?"
        rf"(?:(?P<mille>‰|(?:{alternation(words_of('per_mille'))}))|(?P<percent>%|٪|(?:{alternation(words_of('per_cent'))}))"
        rf"|(?P<time>{times})(?P<minutes>\d\d(?!\d))?"
        rf"|(?P<scale>{scales})|(?P<short>bn|[kmbt])(?= ?(?:[€$£¥₽₺]|(?:{alternation(map(fold, CURRENCIES))})\b)))"
        rf"(?![a-zß-öø-ÿа-я])(?P<after>{added}(?!\w))?"
    )


def _factor(match: re.Match[str], language: str) -> tuple[str, float]:
    if match["percent"] or match["mille"]:
        return "exact", 0.01 if match["percent"] else 0.001
    if match["short"]:
        return "exact", {"k": 1e3, "t": 1e3, "m": 1e6, "b": 1e9, "bn": 1e9}[match["short"]]
    if match["scale"]:
        return "exact", 10.0 ** _scales(language)[match["scale"]]
    unit = duration_names(language)[match["time"]]
    return ("time", _SECONDS[unit]) if unit in _SECONDS else ("month", _MONTHS[unit])


# Telephone numbers --------------------------------------------------------------------------------------------------


def _has_phone(text: str, phone: str) -> bool:
    """Whether a text has a telephone number, with or without its country code or trunk prefix."""
    runs = _WRITTEN_PHONE.findall(with_ascii_digits(text))
    behind_others = (run[begun.end() :] for run in runs for begun in _PHONE_BEGINS.finditer(run))
    return any(_is_same_phone(written, phone) for written in chain(runs, behind_others))


# Where a telephone number may begin behind other figures: `Hill 1-9-1 03-1234-5678`.
_PHONE_BEGINS = re.compile(r"\s(?=[+(0](?:\D{0,3}\d){9})")
_WRITTEN_PHONE = re.compile(r"(?<!\w)\+?\(?\d(?:[ ()/.\-\u2010-\u2013]{0,3}\d){6,16}(?!\w)")
_TRUNK = re.compile(r"\(0\)")


def _is_same_phone(one: str, other: str) -> bool:
    first, second = (re.sub(r"\D", "", _TRUNK.sub("", number)) for number in (one, other))
    abroad = [number.lstrip("( ").startswith(("+", "00")) for number in (one, other)]
    if abroad[0] == abroad[1]:
        return first.removeprefix("00") == second.removeprefix("00")
    national, whole = (first, second) if abroad[1] else (second, first)
    national = re.sub(r"\A[08](?=\d{7})", "", national)
    return len(national) >= _MIN_PHONE and whole.endswith(national) and len(whole) - len(national) <= 5
