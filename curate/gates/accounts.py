"""Checks the arithmetic of a record: lines of an invoice, their total, net and tax, and the sign of a number.

A text may be wrong, and its record right. A number is therefore only doubted where the text states the right one.

wrong_line("2 x Lamp 35.00 70.00", {"quantity": 2, "unit_price": 35, "amount": 35}) == ("amount", 35, "70")
wrong_total("10 and 20, VAT 6, subtotal 30", {"total": 6}, [{"amount": 10}, {"amount": 20}]) == ("total", 6, "30")
wrong_gross("net 100, VAT 19, total 119", {"net": 100, "tax": 19, "gross": 100}) == ("gross", 100, "119")
omitted_line("2 x Lamp 35 70; 3 x Rug 10 30; total 100", {"total": 100}, [{"amount": 30}]) == "2, 35, 70"
lost_sign("It was -7 degrees.", {"temperature": 7}) == ("temperature", 7)

Not covered: numbers in words, and an amount that a discount, a fee or a rate of the text may explain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.judgement import quote
from curate.gates.numbers import with_ascii_digits
from curate.gates.phrases import is_listed, says

_CLOSE, _MAX_NUMBERS, _MAX_ITEMS, _UNIT_LETTERS = 0.011, 60, 60, 3
_MAX_AMOUNT = 10**15  # more is no amount, and too long to compute with
_NUMBER = re.compile(r"(?<![\d.,])\d{1,12}(?:[.,]\d{3})*(?:[.,]\d{1,4})?(?![\d]|[.,]\d)")
_RATE = re.compile(r"(\d{1,2}(?:[.,]\d{1,2})?) ?%|% ?(\d{1,2}(?:[.,]\d{1,2})?)")
_LINE = re.compile(r"\n|;\s|[.\u3002](?:\s|\Z)")
Wrong = tuple[str, float, str]


def wrong_accounts(text: str, value: Any) -> Iterator[str]:
    """Yield what is wrong with the numbers of a record and of the records inside it."""
    for record in _records(value):
        items = _items(record)
        wrong = wrong_line(text, record) or wrong_gross(text, record) or wrong_total(text, record, items)
        if wrong:
            yield f"{wrong[0]} is {wrong[1]:g}, but the numbers beside it make {wrong[2]}, as in the input"
        if omitted := omitted_line(text, record, items):
            yield f"a list is missing the line {quote(omitted)}"
        if unsigned := lost_sign(text, record):
            yield f"{unsigned[0]} is {unsigned[1]:g}, which the input has with a minus only"


def wrong_line(text: str, record: Mapping[str, Any]) -> Wrong | None:
    """Return the amount of a line that is not its quantity times its price.

    A line of the text must have the quantity, the price and their product, and not the amount.
    """
    count, price, amount = (_only(record, name) for name in ("fields_count", "fields_price", "fields_amount"))
    if count is None or price is None or amount is None or min(count[1], price[1]) <= 0:
        return None
    product = count[1] * price[1]
    if _is(product, abs(amount[1])) or count[1] == 1:
        return None
    stated = [line for line in _numbers_by_line(text) if _has(line, count[1]) and _has(line, price[1])]
    if len(stated) != 1 or not _has(stated[0], product):
        return None
    if _has(stated[0], amount[1]) and not _is(amount[1], price[1]):
        return None
    is_price = _is(amount[1], price[1])
    explained = not is_price and _is_explained(text, amount[1] - product, (product, amount[1]))
    return None if explained else (*amount, _plain(product))


def wrong_total(text: str, record: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Wrong | None:
    """Return the total of a record that is not the sum of its lines, which the text states."""
    total, added = _only(record, "fields_total"), _sum(items)
    if total is None or added is None or _is(total[1], added) or not _states(text, added):
        return None
    return (
        None if _is_explained(text, total[1] - added, (added, total[1], *_amounts(items))) else (*total, _plain(added))
    )


def wrong_gross(text: str, record: Mapping[str, Any]) -> Wrong | None:
    """Return the gross amount of a record that is not its net amount and tax, whose sum the text states."""
    net, tax, gross = (_only(record, name) for name in ("fields_net", "fields_tax", "fields_gross"))
    if net is None or tax is None or gross is None or _is(net[1] + tax[1], gross[1]):
        return None
    right = net[1] + tax[1]
    if _is(gross[1] + tax[1], net[1]) or _is(gross[1] + net[1], tax[1]):  # the three changed places
        return (*gross, _plain(right)) if tax[1] > 0 else None
    if not _states(text, right):
        return None
    return None if _is_explained(text, gross[1] - right, (right, gross[1], net[1], tax[1])) else (*gross, _plain(right))


def omitted_line(text: str, record: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> str:
    """Return the quantity, price and amount of the only line of a text that a record lacks, or ''.

    The total of the record is larger by just that amount than the sum of its lines. A tax or a fee is no line.
    """
    total, added = _only(record, "fields_total") or _only(record, "fields_net"), _sum(items)
    if total is None or added is None or total[1] - added < _CLOSE:
        return ""
    lacking = total[1] - added
    held = [number for item in items for number in item.values() if _is_amount(number)]
    of_goods = "\n".join(line for line in _LINE.split(text) if not says("any", "charges", fold(line)))
    for line in _numbers_by_line(of_goods) if not _has(held, lacking) else ():
        pairs = ((a, b) for a, b in combinations(line, 2) if min(a, b) > 1 and float(min(a, b)).is_integer())
        factors = next(((a, b) for a, b in pairs if _has(line, lacking) and _is(a * b, lacking)), None)
        if factors:
            return ", ".join(map(_plain, (*factors, lacking)))
    return ""


def lost_sign(text: str, record: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return a field whose sign matters (`temperature`, `balance`) and its number, which the text has only with a
    minus; or None."""
    figures = with_ascii_digits(text)
    for key, number in record.items():
        if not _is_amount(number) or number <= 0 or not _is_named(key, "fields_signed"):
            continue
        written = [match for match in _NUMBER.finditer(figures) if _has(_values(match[0]), number)]
        if written and all(_MINUS.search(figures[max(0, match.start() - 3) : match.start()]) for match in written):
            return key, number
    return None


_MINUS = re.compile(r"(?:\A|[\s:(=\uff1a\u0600-\u9fff\uac00-\ud7a3])[-\u2212\u2013][$\u20ac\u00a3\u00a5]?\Z")


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every record inside a value, itself included."""
    if isinstance(value, dict):
        yield value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from chain.from_iterable(map(_records, inside))


def _items(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the lines of a record: its only list of records with an amount."""
    lists = [one for one in record.values() if isinstance(one, list) and one and all(isinstance(i, dict) for i in one)]
    lists = [one for one in lists if all(_only(item, "fields_amount") for item in one)]
    return lists[0][:_MAX_ITEMS] if len(lists) == 1 else []


def _sum(items: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(_amounts(items)) if items else None


def _amounts(items: Sequence[Mapping[str, Any]]) -> list[float]:
    return [amount[1] for item in items if (amount := _only(item, "fields_amount"))]


def _only(record: Mapping[str, Any], name: str) -> tuple[str, float] | None:
    """Return the only field with a name of a list, and its number."""
    named = [(key, number) for key, number in record.items() if _is_amount(number) and _is_named(key, name)]
    return named[0] if len(named) == 1 else None


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MAX_AMOUNT


def _is_named(key: str, name: str) -> bool:
    named = fold(key).replace("_", " ")
    thing, _, unit = named.rpartition(" ")
    return is_listed("any", name, named) or (len(unit) <= _UNIT_LETTERS and is_listed("any", name, thing))


@lru_cache(maxsize=CACHE_SIZE)
def _numbers_by_line(text: str) -> tuple[tuple[float, ...], ...]:
    """Return the numbers of each line or clause of a text, in every reading."""
    lines = _LINE.split(with_ascii_digits(text))
    return tuple(tuple(v for n in _NUMBER.findall(line)[:_MAX_NUMBERS] for v in _values(n)) for line in lines)


def _values(number: str) -> tuple[float, ...]:
    """Return the values that a number may have: 1.250 is 1250 or 1.25."""
    at = max(number.rfind("."), number.rfind(","))
    whole, fraction = (number[:at], number[at + 1 :]) if at > 0 else (number, "")
    digits = re.sub(r"\D", "", whole)
    joined = (float(digits + fraction),) if len(fraction) == 3 or not fraction else ()
    return joined + ((float(f"{digits}.{fraction}"),) if fraction else ())


def _states(text: str, number: float) -> bool:
    return any(_has(line, number) for line in _numbers_by_line(text))


def _is_explained(text: str, difference: float, sides: Sequence[float]) -> bool:
    """Whether a difference is a number that the text has besides those on its sides, the sum of two, or a rate of the
    first side."""
    numbers = [n for line in _numbers_by_line(text) for n in line][:_MAX_NUMBERS]
    for side in sides:
        if (at := next((at for at, n in enumerate(numbers) if _is(n, abs(side))), None)) is not None:
            del numbers[at]
    rates = [float((a or b).replace(",", ".")) for a, b in _RATE.findall(with_ascii_digits(text))]
    shares = (sides[0] * rate / 100 for rate in rates)
    two = (a + b for a, b in combinations(numbers, 2))
    return any(_is(abs(difference), one) for one in chain(numbers, shares, two))


def _has(numbers: Sequence[float], number: float) -> bool:
    return any(_is(one, abs(number)) for one in numbers)


def _is(one: float, other: float) -> bool:
    return abs(one - other) < _CLOSE


def _plain(number: float) -> str:
    return format(round(number, 2), "g")
