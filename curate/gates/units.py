"""Quantities in a text: a number with its unit or currency, from the Unicode CLDR tables of Babel.

quantities("5 pounds", "en") == (({"5"}, {"mass-pound", "GBP"}, "5 pounds"),)
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import islice, pairwise, product
from math import isclose
from operator import mul

from curate.gates.amounts import scaled_values
from curate.gates.calendars import other_calendars
from curate.gates.folding import CACHE_SIZE, fold, unaccented
from curate.gates.number_forms import with_decimal_fractions
from curate.gates.number_words import words_to_digits
from curate.gates.numbers import digit_numbers, groups_by_space
from curate.gates.phrases import NEVER, lexicon, sections
from curate.gates.phrases.lists import alternation

_UNITS = """
mass-microgram mass-milligram mass-gram mass-kilogram mass-tonne mass-ounce mass-pound length-micrometer
length-millimeter length-centimeter length-meter length-kilometer length-inch length-foot length-yard length-mile
volume-milliliter volume-centiliter volume-deciliter volume-liter volume-gallon volume-pint volume-cup
volume-tablespoon volume-teaspoon volume-cubic-meter duration-second duration-minute duration-hour duration-day
duration-week duration-month duration-year temperature-celsius temperature-fahrenheit digital-kilobyte
digital-megabyte digital-gigabyte digital-terabyte power-watt power-kilowatt speed-kilometer-per-hour
speed-mile-per-hour concentr-percent area-square-meter area-square-kilometer area-square-foot area-acre area-hectare
energy-kilocalorie energy-kilojoule energy-kilowatt-hour frequency-hertz frequency-kilohertz frequency-megahertz
frequency-gigahertz pressure-bar power-horsepower power-megawatt electric-volt electric-ampere speed-knot
"""
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CNY", "CHF", "RUB", "INR", "BRL", "PLN", "TRY", "KRW", "SEK", "CZK")
_DIGIT, _BEGINS = re.compile(r"\d"), re.compile(r"[\d$€£₹₺₩%](?:(?<=[0-9])[0-9]*)?")
_COUNTS = (1, 2, 5, 1.5)
_LENGTHS = ("long", "short", "narrow")
# Short names that are a unit after a number in any text. Other names of one or two letters may be words.
_SHORT = "g kg mg km cm mm ml cl dl ft lb oz h l kw gb mb tb kb w ha zł kč кг г мг км см мм ч л мл м т र"
SHORT = frozenset(_SHORT.split())
_ORDINAL = "°"  # 2° giorno: without a letter after it, it may not be a degree
_FROM = "से"  # Hindi: a short second, and the word between the two ends of a range
_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "₹": "INR", "₺": "TRY", "₩": "KRW", "%": "concentr-percent"}


def changed_unit(
    before: str, after: str, language: str, input_language: str, *, alike: bool = False
) -> tuple[str, str] | None:
    """Return a number with its unit in `before` and with another one in `after`, or None; both as written.

    `before` must not give the number the new unit as well. If it says the number more often than with units, and
    `after` keeps it with its unit, the other one may be a unit in another spelling (1 kg potatoes, 1 tbs salt). With
    `alike`, the units must be of the same kind, and not a time (grams for kilograms).
    """
    before, after = words_to_digits(before, input_language), words_to_digits(after, language)
    if not (_DIGIT.search(after) and _DIGIT.search(before)):
        return None
    if metres := _other_metres(before, after) or _other_metres(after, before):
        return metres
    given = quantities(before, input_language)
    if not given:
        return None
    of_form: dict[str, dict[tuple[frozenset[str], str], None]] = {}  # the units of each number in the input
    for numbers, unit, written in given:
        for form in numbers:
            of_form.setdefault(form, {})[unit, written] = None
    there = quantities(after, language)
    for forms, unit, written in there:
        same = [one for form in sorted(forms) for one in of_form.get(form, ())]
        if not same or not all(other.isdisjoint(unit) for other, _ in same) or _in_an_hour(unit, same, after, language):
            continue
        kept = any(forms & numbers and not units.isdisjoint(other) for numbers, units, _ in there for other, _ in same)
        if kept and _times(forms, before) > sum(not forms.isdisjoint(numbers) for numbers, _, _ in given):
            continue
        only_alike = alike or _LONE.search(same[0][1]) or _LONE.search(written)
        if not only_alike or _kinds(unit) & _kinds(*(other for other, _ in same)):
            return same[0][1], written
    return None


def _in_an_hour(unit: frozenset[str], same: Iterable[tuple[frozenset[str], str]], after: str, language: str) -> bool:
    """Whether a speed became a distance, and the text names the hour: 18 km/h as 18 km every hour."""
    hours = (name for name, time in duration_names(language).items() if time == "hour" and len(name) > 1)
    speeds = any(name.startswith("speed-") for units, _ in same for name in units)
    return speeds and "length" in _kinds(unit) and any(name in after for name in hours)


def _times(forms: frozenset[str], text: str) -> int:
    """How often a text says a number in digits."""
    return sum(not forms.isdisjoint(number.forms) for number in digit_numbers(text))


def _other_metres(one: str, other: str) -> tuple[str, str] | None:
    """Return a number of metres in one text and the same number of a multiple or fraction in the other, or None.

    `3 m` alone may also stand for something else. Neither text may have both.
    """
    if not (_METRE.search(one) and _METRE.search(other)):
        return None
    here, there = (dict(pattern.findall(side)[::-1]) for pattern, side in ((_METRES, one), (_PARTS, other)))
    number = next(
        (
            n
            for n in here
            if n in there and n not in dict(_PARTS.findall(one)) and n not in dict(_METRES.findall(other))
        ),
        "",
    )
    return (f"{number} m", f"{number} {there[number]}") if number else None


_METRE = re.compile(r"m(?!\w)(?:(?<=\dm)|(?<=\d m)|(?<=\d[ckm]m)|(?<=\d [ckm]m))")  # occurs in both of these
_METRES = re.compile(r"(\d(?<![\d.,]\d)\d*(?:[.,]\d+)?) ?(m)(?![\w\u00b2\u00b3/'\u2019.])")
_PARTS = re.compile(r"(\d(?<![\d.,]\d)\d*(?:[.,]\d+)?) ?([ckm]m)(?!\w)")
_LONE = re.compile(r"\d ?[cf]\Z")  # 34 f may be a woman


def _kinds(*units: frozenset[str]) -> frozenset[str]:
    """Return the kinds of quantity that units measure, without time."""
    return frozenset(name.partition("-")[0] for unit in units for name in unit if "-" in name) - {"duration"}


def changed_quantity(
    before: str, after: str, language: str, input_language: str | None = None
) -> tuple[str, str] | None:
    """Return a quantity of `before` whose number in `after` is another one, or None; both as written.

    Each text must have exactly one number with this unit.
    """
    input_language = input_language or language
    before, after = words_to_digits(before, input_language), words_to_digits(after, language)
    if len(_DIGIT.findall(before)) < 2 or not _DIGIT.search(after):
        return None
    given, numbered = quantities(before, input_language), quantities(after, language)
    times, of_unit = Counter(name for _, unit, _ in given for name in unit), dict[str, list[int]]()
    for at, (_, unit, _) in enumerate(numbered):
        for name in unit:
            of_unit.setdefault(name, []).append(at)
    for forms, unit, written in (one for one in given if not (_LONE.search(one[2]) or _JOINED.search(one[2]))):
        there = (
            {at for name in unit for at in of_unit.get(name, [])[:2]} if all(times[name] == 1 for name in unit) else ()
        )
        other = numbered[min(there)] if len(there) == 1 else None
        if other and other[0].isdisjoint(forms) and (input_language == language or not _half_apart(forms, other[0])):
            added = set[str](), set[str]()
            _add_sums((given, added[0]), (sums(after, language), added[1]))
            _add_sums((numbered, added[1]), (sums(before, input_language), added[0]))
            if forms.isdisjoint(added[0]) or other[0].isdisjoint(added[1]):  # 135 minutes are 2 hours and 15 minutes
                return written, other[2]
    return None


def _half_apart(forms: frozenset[str], others: frozenset[str]) -> bool:
    """Whether a half may be behind the unit of one of two numbers: `1.5 kilos`, `1 kilo y medio`."""
    return any(abs(float(one) - float(other)) == 0.5 for one in forms for other in others)


_JOINED = re.compile(r"\d{5},\d(?!\d)")  # a comma without a space joins two numbers: `code 48291,5 minutes`


def find_conversions(
    before: str, after: str, language: str, input_language: str, *, exact: bool = False
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the forms of the numbers of `before` that `after` gives in another unit, and the forms of the results.

    The units are of the same kind: 3 miles are 5 km, and if it should be `exact`, 4.8 or 4.83 km. 135 minutes are 2
    hours and 15 minutes.
    """
    before, after = (
        _LONE_METRES.sub(r"\1 metres", words_to_digits(*side)) for side in ((before, input_language), (after, language))
    )
    if not _DIGIT.search(after) or not _DIGIT.search(before):
        return frozenset(), frozenset()
    here = quantities(before, input_language)
    there = quantities(after, language) if here else ()
    # By kind and unit: the amounts of the text, sorted, and the spans of them that a number of `before` may be.
    amounts_of = dict[tuple[str, frozenset[str]], list[tuple[float, int]]]()
    for at, other in enumerate(there):
        for kind, amount in in_base_units(other):
            amounts_of.setdefault((kind, other[1]), []).append((amount, at))
    for amounts in amounts_of.values():
        amounts.sort()
    kept, stating = set[str](), set[str]()
    spans: dict[tuple[str, frozenset[str]], dict[int, int]] = {key: {} for key in amounts_of}
    for forms, units, _ in here:
        for kind, amount in in_base_units((forms, units, "")):
            for key in (key for key in amounts_of if key[0] == kind and key[1].isdisjoint(units)):
                first, end = _near(amount, _margin(kind, amount, exact=exact), amounts_of[key])
                if first < end:
                    kept |= forms
                    spans[key][first] = max(end, spans[key].get(first, 0))
    for key, ends in spans.items():
        reached = 0
        for first, end in sorted(ends.items()):
            for _, at in amounts_of[key][max(first, reached) : end]:
                stating |= there[at][0]
            reached = max(reached, end)
    _add_sums((here, kept), (sums(after, language), stating))
    _add_sums((there, stating), (sums(before, input_language), kept))
    return frozenset(kept), frozenset(stating)


def _add_sums(
    one: tuple[Iterable[Quantity], set[str]], other: tuple[Iterable[tuple[str, float, frozenset[str]]], set[str]]
) -> None:
    """Add the numbers of the quantities of one text that are sums in the other, and those of the sums there."""
    for kind, total, parts in other[0]:
        for quantity in one[0]:
            if any(k == kind and isclose(amount, total, rel_tol=1e-6) for k, amount in in_base_units(quantity)):
                one[1].update(quantity[0])
                other[1].update(parts)


def sums(text: str, language: str) -> Iterator[tuple[str, float, frozenset[str]]]:
    """Yield two neighbouring quantities of one kind, the larger unit first: the kind, their sum in its base unit, and
    their numbers. `2 hours and 15 minutes` is ("duration", 8100, {"2", "15"})."""
    located = _located(text, language)
    folded = with_decimal_fractions(fold(text)) if len(located) > 1 else ""
    for (_, end, larger), (start, _, smaller) in islice(pairwise(located), _MAX_SUMS):
        if _BETWEEN.fullmatch(folded, end, start):
            for big, small in product(larger[1] & _IN_BASE_UNITS.keys(), smaller[1] & _IN_BASE_UNITS.keys()):
                kind, sizes = big.partition("-")[0], (_IN_BASE_UNITS[big], _IN_BASE_UNITS[small])
                if small.partition("-")[0] == kind and sizes[0] > sizes[1]:
                    for numbers in product(larger[0], smaller[0]):
                        amounts = tuple(map(mul, map(float, numbers), sizes))
                        if 0 < amounts[1] < sizes[0]:
                            yield kind, sum(amounts), frozenset(numbers)


_MAX_SUMS = 100
_BETWEEN = re.compile(r"[ ,]{0,2}(?:[^\W\d_]{1,3} )?")  # `and` of any language
_LONE_METRES = re.compile(r"(\d(?<![\d.,]\d)\d*(?:[.,]\d+)?) ?m(?![\w\u00b2\u00b3/'\u2019])")


def _near(amount: float, margin: float, amounts: list[tuple[float, int]]) -> tuple[int, int]:
    """Return the span of the amounts within the margin; `amounts` is sorted.

    It is empty if the number is too large to compute the margin.
    """
    first = bisect_left(amounts, True, key=lambda other: amount - other[0] <= margin)
    return first, bisect_left(amounts, True, key=lambda other: other[0] - amount > margin)


def in_base_units(quantity: Quantity) -> Iterator[tuple[str, float]]:
    """Yield what a quantity may be, as its kind and its amount in the base unit of that kind."""
    for form, unit in product(quantity[0], quantity[1]):
        kind = unit.partition("-")[0]
        if unit == "temperature-fahrenheit":
            yield kind, (float(form) - 32) / 1.8
        elif unit in _IN_BASE_UNITS or kind == "temperature":
            yield kind, float(form) * _IN_BASE_UNITS.get(unit, 1.0)


def _margin(kind: str, amount: float, *, exact: bool = False) -> float:
    most = _EXACT if exact else (_MAX_ERROR, _MAX_DEGREES)
    return most[1] if kind == "temperature" else most[0] * abs(amount)


_MAX_ERROR, _MAX_DEGREES = 0.06, 6.0  # how far a converted number may be rounded
_EXACT = (0.01, 0.6)
# Each unit in grams, metres, litres, seconds, square metres or another base unit of its kind.
_IN_BASE_UNITS = {
    "mass-milligram": 0.001, "mass-gram": 1, "mass-kilogram": 1000, "mass-tonne": 1e6, "mass-ounce": 28.35,
    "mass-pound": 453.6, "length-millimeter": 0.001, "length-centimeter": 0.01, "length-meter": 1,
    "length-kilometer": 1000, "length-inch": 0.0254, "length-foot": 0.3048, "length-yard": 0.9144,
    "length-mile": 1609.3, "volume-milliliter": 0.001, "volume-centiliter": 0.01, "volume-deciliter": 0.1,
    "volume-liter": 1, "volume-gallon": 3.785, "volume-pint": 0.5, "volume-cup": 0.24, "volume-tablespoon": 0.015,
    "volume-teaspoon": 0.005, "volume-cubic-meter": 1000, "duration-second": 1, "duration-minute": 60,
    "duration-hour": 3600, "duration-day": 86400, "duration-week": 604800, "duration-month": 2629800,
    "duration-year": 31557600, "area-square-meter": 1, "area-square-kilometer": 1e6, "area-square-foot": 0.0929,
    "area-acre": 4046.9, "area-hectare": 10000, "speed-kilometer-per-hour": 1, "speed-mile-per-hour": 1.609,
    "speed-knot": 1.852, "power-watt": 1, "power-kilowatt": 1000, "power-megawatt": 1e6, "power-horsepower": 735.5,
    "energy-kilojoule": 1, "energy-kilocalorie": 4.184, "energy-kilowatt-hour": 3600,
}  # fmt: skip


def named_currencies(text: str, language: str) -> frozenset[str]:
    """Return the codes of the currencies that a text names by a code, a sign or a word."""
    codes = {code for sign, code in _SIGNS.items() if sign in text and code in CURRENCIES}
    named, folded = _named_currencies(language), fold(text)
    return frozenset(codes.union(*(named[match[0]] for match in _currency_names(language).finditer(folded))))


@cache
def _named_currencies(language: str) -> dict[str, frozenset[str]]:
    names = ((name, units.intersection(CURRENCIES)) for name, units in _table(language)[0].items())
    return {name: codes for name, codes in names if codes}


@cache
def _currency_names(language: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W\d_])(?:{alternation(_named_currencies(language))})(?![^\W\d_])")


@cache
def duration_names(language: str) -> dict[str, str]:
    """Return the names of the units of time with the unit in English: `heures` is `hour`."""
    named = ((name, unit.partition("-")) for name, units in _table(language)[0].items() for unit in units)
    return {name: unit for name, (kind, _, unit) in named if kind == "duration"}


Quantity = tuple[frozenset[str], frozenset[str], str]


@lru_cache(maxsize=CACHE_SIZE)
def quantities(text: str, language: str) -> tuple[Quantity, ...]:
    """Return each number with a unit: its plain forms, the units it may have (`pounds` are two), and both as written.

    `2 500 g` may be 2500 g or 500 g after a 2, unless the language groups digits this way.
    """
    return tuple(quantity for _, _, quantity in _located(text, language))


@lru_cache(maxsize=CACHE_SIZE)
def _located(text: str, language: str) -> tuple[tuple[int, int, Quantity], ...]:
    """Return each quantity with the places in the folded text where it begins and ends."""
    return tuple(_quantities(with_decimal_fractions(fold(text)), language))


def _quantities(folded: str, language: str) -> Iterator[tuple[int, int, Quantity]]:
    (names, behind), end, elsewhere = _table(language), 0, other_calendars(folded)
    for begun in _BEGINS.finditer(folded):  # a match can only start here, so most characters are skipped quickly
        if begun.start() < end or not (match := behind.match(folded, begun.start())):
            continue
        end = match.end()
        unit = names.get(match["unit"] or "") or frozenset((_SIGNS[match["sign"]],))
        if "duration-year" in unit and match.start("number") in elsewhere:  # 6年 of 令和6年 is no duration
            continue
        number = match["number"] or match["signed"]
        whole = _grouped(folded, match) if len(_POINT.split(number)[0]) <= 3 else number
        scaled = scaled_values(folded, *match.span("signed"), language) if match["signed"] else ()
        for forms in _forms(number):
            if whole != number:
                (grouped,) = _forms(re.sub(r"[^\d.,]", "", whole))
                forms = grouped if "'" in whole or groups_by_space(language) else forms | grouped
            yield match.start(), end, (forms.union(scaled), unit, match[0].strip().replace(number, whole, 1))


def _grouped(folded: str, match: re.Match[str]) -> str:
    """Return the number of a quantity with its groups of digits: those in front of a number before a unit (`1 500 m`),
    and those behind a number that follows a sign."""
    if number := match["number"]:
        start = match.start("number")
        head = (
            len(_POINT.split(number)[0]) == 3
            and folded[start - 1 : start] in _SEPARATORS
            and _HEAD.search(folded, max(0, start - _MAX_GROUPS), start)
        )
        return head[0] + number if head else number
    tail = _TAIL.match(folded, match.end("signed"))
    return match["signed"] + (tail[0] if tail else "")


_POINT, _SEPARATORS, _MAX_GROUPS = re.compile("[.,]"), (" ", "'"), 12  # group separators; maximum length of the groups
_HEAD, _TAIL = re.compile(r"(?<![\w.,])\d{1,3}(?:[ ']\d{3})*[ ']\Z"), re.compile(r"(?:[ ']\d{3})+(?!\d)")


@lru_cache(maxsize=4096)  # the same few numbers occur in many texts
def _forms(digits: str) -> tuple[frozenset[str], ...]:
    return tuple(number.forms for number in digit_numbers(digits))


@cache
def units_like_denials(language: str) -> re.Pattern[str]:
    """Return a pattern for units that are spelt like denials, such as `sem` in Portuguese: behind a number and before
    no word that may be denied, or behind a stroke."""
    known = lexicon(language)
    listed = alternation(known.words("negation") & duration_names(language).keys())
    ends = rf"\.|\s*(?:[^\w\s]|\d|\Z)|\s+(?:{alternation(known.stop)})(?!\w)"
    return re.compile(
        rf"(?:(?<=/)|(?<=\d)\s?(?=(?:{listed})(?:{ends})))(?:{listed})(?!\w)" if listed else NEVER.pattern
    )


# The มก of มกราคม (January) is no milligram, and the ม of ม.ค. no metre.
_NOT_IN_THAI_WORD = r"(?<![\d -][\u0e01-\u0e4e](?=\.?[\u0e01-\u0e4e]))(?<![\d -][\u0e01-\u0e4e]{2}(?=[\u0e01-\u0e4e]))"


@cache
def _table(language: str) -> tuple[dict[str, frozenset[str]], re.Pattern[str]]:
    names: dict[str, frozenset[str]] = {}
    for code in dict.fromkeys(("en", language)):
        for name, unit in (*_units(code), *_currencies(code)):
            spelt_out = re.sub(r"[\d.,\u0660-\u0669\s]+", " ", fold(name))
            plain = spelt_out.strip()
            letters = plain.isalpha() and (plain.isascii() or plain[:1] < "\u0e00")
            if plain in ("", _ORDINAL, _FROM) or (letters and len(plain) <= 2 and plain not in SHORT):
                continue
            for spelt in {plain, unaccented(plain)}:  # users leave out accents
                names[spelt] = names.get(spelt, frozenset()) | {unit}
    for unit, everyday in sections("any")["units"].items():
        for name in (fold(word).replace("_", " ") for word in everyday.split()):
            names[name] = names.get(name, frozenset()) | {unit}
    spelt = alternation(names)
    return names, re.compile(
        rf"(?<![a-z0-9_.,:万萬億亿千百만억천백])(?<![만억천백] )(?<!\d/)(?P<number>\d++(?:[.,]\d++)*+)[ \u00a0\u202f-]?"
        rf"(?P<unit>{spelt})(?![a-zß-öø-ÿа-я]){_NOT_IN_THAI_WORD}"
        rf"|(?P<sign>(?<!nt)(?<!hk)\$|[€£₹₺₩%])\s?(?P<signed>\d+(?:[.,]\d+)*)"
    )


def _units(language: str) -> Iterable[tuple[str, str]]:
    from babel import UnknownLocaleError
    from babel.units import UnknownUnitError, format_unit

    for unit in _UNITS.split():
        for length in _LENGTHS:
            for count in _COUNTS:
                try:
                    yield format_unit(count, unit, length=length, locale=language), unit  # type: ignore[arg-type]
                except (UnknownLocaleError, UnknownUnitError, ValueError):
                    break


def _currencies(language: str) -> Iterable[tuple[str, str]]:
    from babel import UnknownLocaleError
    from babel.numbers import get_currency_name, get_currency_symbol

    try:
        for currency in CURRENCIES:
            yield currency, currency
            yield get_currency_symbol(currency, locale=language), currency
            for count in _COUNTS:
                yield get_currency_name(currency, count=count, locale=language), currency
    except (UnknownLocaleError, ValueError):
        return
