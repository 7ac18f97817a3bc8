"""Quantities in a text: a number and its unit or currency, by the Unicode CLDR tables of Babel.

quantities("5 pounds", "en") == (({"5"}, {"mass-pound", "GBP"}, "5 pounds"),)
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import product

from curate.gates.folding import REMEMBERED, fold, unaccented
from curate.gates.number_words import in_figures
from curate.gates.numbers import in_digits, is_grouped_by_blanks
from curate.gates.phrases import units_of
from curate.gates.phrases.lists import either

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
_DIGIT, _BEGINS = re.compile(r"\d"), re.compile(r"[0-9]+|[\d$€£₹₺₩%]")
_COUNTS = (1, 2, 5, 1.5)
_LENGTHS = ("long", "short", "narrow")
# Letters that are a unit behind a number in every text; others of two letters or less may be a word.
_SHORT = "g kg mg km cm mm ml cl dl ft lb oz h l kw gb mb tb kb w ha zł kč кг г км см мм ч л м т र"
SHORT = frozenset(_SHORT.split())
_ORDINAL = "°"  # 2° giorno: without a letter behind it, it may be no degree
_BEFORE = {"$": "USD", "€": "EUR", "£": "GBP", "₹": "INR", "₺": "TRY", "₩": "KRW", "%": "concentr-percent"}


def changed_unit(
    before: str, after: str, language: str, input_language: str, *, alike: bool = False
) -> tuple[str, str] | None:
    """A number and a unit that `after` gives it, where `before` gives the number another one and never this; as
    written there and here. `alike`: only one of the same kind that is no time (grams for kilograms)."""
    before, after = in_figures(before, input_language), in_figures(after, language)
    if not (_DIGIT.search(after) and _DIGIT.search(before)):
        return None
    if metres := _other_metres(before, after) or _other_metres(after, before):
        return metres
    given = quantities(before, input_language)
    if not given:
        return None
    of_form: dict[str, dict[tuple[frozenset[str], str], None]] = {}  # the units that the input gives a number
    for numbers, unit, written in given:
        for form in numbers:
            of_form.setdefault(form, {})[unit, written] = None
    for forms, unit, written in quantities(after, language):
        same = [one for form in sorted(forms) for one in of_form.get(form, ())]
        if not same or not all(other.isdisjoint(unit) for other, _ in same):
            continue
        only_alike = alike or _LONE.search(same[0][1]) or _LONE.search(written)
        if not only_alike or _kinds(unit) & _kinds(*(other for other, _ in same)):
            return same[0][1], written
    return None


def _other_metres(one: str, other: str) -> tuple[str, str] | None:
    """A number of metres of one text (`3 m`, which alone may be another thing) and the same one of a multiple or a part
    in the other, where neither has both; or None."""
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


_METRE = re.compile(r"m(?:(?<=\dm)|(?<=\d m)|(?<=\d[ckm]m)|(?<=\d [ckm]m))")  # stands in both of these
_METRES = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?) ?(m)(?![\w\u00b2\u00b3/'\u2019.])")
_PARTS = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?) ?([ckm]m)(?!\w)")
_LONE = re.compile(r"\d ?[cf]\Z")  # 34 f may be a woman


def _kinds(*units: frozenset[str]) -> frozenset[str]:
    """What units measure, but for time."""
    return frozenset(name.partition("-")[0] for unit in units for name in unit if "-" in name) - {"duration"}


def changed_quantity(before: str, after: str, language: str) -> tuple[str, str] | None:
    """A unit that both texts give to one number each, where it is another number of the input's own; as written there
    and here."""
    before, after = in_figures(before, language), in_figures(after, language)
    if len(_DIGIT.findall(before)) < 2 or not _DIGIT.search(after):
        return None
    given, numbered = quantities(before, language), quantities(after, language)
    if not given or not numbered:
        return None
    times, of_unit = Counter(name for _, unit, _ in given for name in unit), dict[str, list[int]]()
    for at, (_, unit, _) in enumerate(numbered):
        for name in unit:
            of_unit.setdefault(name, []).append(at)
    for forms, unit, written in (one for one in given if not _LONE.search(one[2])):
        there = (
            {at for name in unit for at in of_unit.get(name, [])[:2]} if all(times[name] == 1 for name in unit) else ()
        )
        if len(there) == 1 and (other := numbered[min(there)])[0].isdisjoint(forms):
            return written, other[2]
    return None


def converted(before: str, after: str, language: str, input_language: str) -> tuple[frozenset[str], frozenset[str]]:
    """The plain forms of the numbers of `before` that `after` tells in another unit of the same kind, and of those that
    tell them: 3 miles are 5 km."""
    if not _DIGIT.search(after) or not _DIGIT.search(before):
        return frozenset(), frozenset()
    here = quantities(in_figures(before, input_language), input_language)
    there = quantities(in_figures(after, language), language) if here else ()
    by_kind = dict[str, list[tuple[float, int]]]()  # of each kind how much the text says, and where
    for at, other in enumerate(there):
        for kind, amount in in_base(other):
            by_kind.setdefault(kind, []).append((amount, at))
    for amounts in by_kind.values():
        amounts.sort()
    kept, telling = set[str](), set[str]()
    for one in here:
        for kind, amount in in_base(one):
            for also, at in _near(amount, _margin(kind, amount), by_kind.get(kind, [])):
                if abs(amount - also) <= _margin(kind, amount) and one[1].isdisjoint(there[at][1]):
                    kept |= one[0]
                    telling |= there[at][0]
    return frozenset(kept), frozenset(telling)


def _near(amount: float, margin: float, amounts: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """The amounts, in order, that are so near to one; a number of hundreds of digits has no neighbours to tell."""
    low, high = amount - 1.01 * margin, amount + 1.01 * margin
    return amounts[bisect_left(amounts, (low,)) : bisect_left(amounts, (high, math.inf))] if low == low else amounts


def in_base(quantity: Quantity) -> Iterator[tuple[str, float]]:
    """What a quantity may be, each as its kind and how many of that kind's first unit."""
    for form, unit in product(quantity[0], quantity[1]):
        kind = unit.partition("-")[0]
        if unit == "temperature-fahrenheit":
            yield kind, (float(form) - 32) / 1.8
        elif unit in _OF_BASE or kind == "temperature":
            yield kind, float(form) * _OF_BASE.get(unit, 1.0)


def _margin(kind: str, amount: float) -> float:
    return _DEGREES if kind == "temperature" else _ROUGHLY * abs(amount)


_ROUGHLY, _DEGREES = 0.06, 6.0  # how far a number may be rounded when it is converted
# Of a unit how many grams, metres, litres, seconds or square metres it is.
_OF_BASE = {
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


def currencies(text: str, language: str) -> frozenset[str]:
    """The currencies that a text names by a code, a sign or a word, as their codes."""
    codes = {code for sign, code in _BEFORE.items() if sign in text and code in CURRENCIES}
    named, folded = _named_currencies(language), fold(text)
    return frozenset(codes.union(*(named[match[0]] for match in _currency_names(language).finditer(folded))))


@cache
def _named_currencies(language: str) -> dict[str, frozenset[str]]:
    names = ((name, units.intersection(CURRENCIES)) for name, units in _table(language)[0].items())
    return {name: codes for name, codes in names if codes}


@cache
def _currency_names(language: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W\d_])(?:{either(_named_currencies(language))})(?![^\W\d_])")


Quantity = tuple[frozenset[str], frozenset[str], str]


@lru_cache(maxsize=REMEMBERED)
def quantities(text: str, language: str) -> tuple[Quantity, ...]:
    """Each number with a unit: its plain forms, what the unit may be (`pounds` are two), both as written. `2 500 g` may
    be 2500 g or two of 500, but where the language groups digits so."""
    return tuple(_quantities(fold(text), language))


def _quantities(folded: str, language: str) -> Iterator[Quantity]:
    (names, behind), end = _table(language), 0
    for begun in _BEGINS.finditer(folded):  # where every match does: so most characters are passed over at once
        if begun.start() < end or not (match := behind.match(folded, begun.start())):
            continue
        end = match.end()
        unit = names.get(match["unit"] or "") or frozenset((_BEFORE[match["sign"]],))
        number = match["number"] or match["signed"]
        whole = _grouped(folded, match) if len(number) <= 3 else number
        for forms in _forms(number):
            if whole != number:
                (grouped,) = _forms(re.sub(r"\D", "", whole))
                forms = grouped if "'" in whole or is_grouped_by_blanks(language) else forms | grouped
            yield forms, unit, match[0].strip().replace(number, whole, 1)


def _grouped(folded: str, match: re.Match[str]) -> str:
    """A number of a quantity with the groups of digits that stand in front of it, or of one behind a sign with those
    behind it: of `1 500 m` the `1 500`."""
    if number := match["number"]:
        start = match.start("number")
        head = (
            len(number) == 3
            and folded[start - 1 : start] in _MARKS
            and _HEAD.search(folded, max(0, start - _FAR), start)
        )
        return head[0] + number if head else number
    tail = _TAIL.match(folded, match.end("signed"))
    return match["signed"] + (tail[0] if tail else "")


_MARKS, _FAR = (" ", "'"), 12  # characters of groups
_HEAD, _TAIL = re.compile(r"(?<![\w.,])\d{1,3}(?:[ ']\d{3})*[ ']\Z"), re.compile(r"(?:[ ']\d{3})+(?!\d)")


@lru_cache(maxsize=4096)  # the same few numbers are in many texts
def _forms(digits: str) -> tuple[frozenset[str], ...]:
    return tuple(number.forms for number in in_digits(digits))


@cache
def _table(language: str) -> tuple[dict[str, frozenset[str]], re.Pattern[str]]:
    names: dict[str, frozenset[str]] = {}
    for code in dict.fromkeys(("en", language)):
        for name, unit in (*_units(code), *_currencies(code)):
            spelt_out = re.sub(r"[\d.,\u0660-\u0669\s]+", " ", fold(name))
            plain = spelt_out.strip()
            letters = plain.isalpha() and (plain.isascii() or plain[:1] < "\u0e00")
            if plain in ("", _ORDINAL) or (letters and len(plain) <= 2 and plain not in SHORT):
                continue
            for spelt in {plain, unaccented(plain)}:  # people leave accents out
                names[spelt] = names.get(spelt, frozenset()) | {unit}
    for name, unit in units_of():
        names[name] = names.get(name, frozenset()) | {unit}
    spelt = either(names)
    return names, re.compile(
        rf"(?<![a-z0-9_.,:])(?P<number>\d++(?:[.,]\d++)*+)[ \u00a0\u202f-]?(?P<unit>{spelt})(?![a-zß-öø-ÿа-я])"
        rf"|(?P<sign>[$€£₹₺₩%])\s?(?P<signed>\d+(?:[.,]\d+)*)"
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
