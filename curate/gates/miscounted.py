"""Numbers of a record that are reckoned, or stand at another number's field. Not covered: fields with other names than
those of a quantity and a price, a price that the input says without its currency, a number that it says twice.

adds_up("Labour 320.00, materials 80.00", 400.0) is True
miscounted("30 chairs at 14 pounds each", {"quantity": 14, "unit_price": 30}, "en") == ("unit_price", 30)
miscounted("subtotal 200, VAT 21%", {"total": 221}, "en") == ("total", 221)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from curate.gates.folding import fold
from curate.gates.number_words import in_figures
from curate.gates.phrases import is_one_of
from curate.gates.phrases.worded import worded
from curate.gates.units import CURRENCIES, quantities

_AMOUNT = re.compile(r"(?<![\w.,/-])\d+(?:[.,]\d{1,2})?(?!\d|[.,/-]\d| ?%)")
_PERCENT = re.compile(r"(?<![\w.,])(\d+(?:[.,]\d+)?) ?%")
_FEW, _MOST = 12, 10**15  # amounts of an input that are added, and a number beyond which nothing is a sum of them


def _values(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number.replace(",", ".")) for number in pattern.findall(text)]


def adds_up(text: str, leaf: Any) -> bool:
    """Whether a number is the sum of two amounts of the input or of all, or the product of two of them."""
    if type(leaf) not in (int, float) or not 10 <= leaf < _MOST:
        return False
    amounts = _values(_AMOUNT, text)[:_FEW]
    pairs = [reckoned for a, b in combinations(amounts, 2) for reckoned in (a + b, a * b)]
    return any(abs(leaf - reckoned) < 0.006 for reckoned in (*pairs, sum(amounts)))


def miscounted(text: str, value: Any, language: str) -> tuple[str, Any] | None:
    """A field and its number: a price that has no currency in the input, where the quantity of the record has one; a
    quantity that is the number of a room or a table there, where another number is none; a total to which a percentage
    is added as if it were an amount. Or None."""
    fields = {k: v for k, v in value.items() if type(v) in (int, float)} if isinstance(value, Mapping) else {}
    if not fields:
        return None
    figures = fold(in_figures(text, language))
    if added := _added_percentage(figures, fields):
        return added
    counts = [key for key in fields if is_one_of("any", "fields_count", fold(key).replace("_", " "))]
    prices = [key for key in fields if is_one_of("any", "fields_price", fold(key).replace("_", " "))]
    paid = _paid(figures, language) if counts and prices else frozenset[str]()
    for count in counts:
        number = _plain(fields[count])
        once = len(re.findall(rf"(?<!\d){number}(?!\d)", figures)) == 1
        for price in prices if once and number in paid else ():
            if _plain(fields[price]) not in paid and _stands(figures, fields[price]):
                return price, fields[price]
        numbered = _numbering().findall(figures) if once else []
        others = set(re.findall(r"(?<![\d.,:])\d+(?![\d:]|[.,]\d)", figures)).difference(numbered)
        if numbered == [number] and len(others) == 1:
            return count, fields[count]
    return None


def _added_percentage(figures: str, fields: Mapping[str, Any]) -> tuple[str, Any] | None:
    rates, amounts = _values(_PERCENT, figures), _values(_AMOUNT, figures)[:_FEW]
    sums = [a + r for a in amounts for r in rates if r not in amounts and abs(a - 100) > 0.01]
    for key, number in fields.items():
        if any(abs(added - number) < 0.006 for added in sums) and not _stands(figures, number):
            return key, number
    return None


def _paid(figures: str, language: str) -> frozenset[str]:
    """The numbers with a currency."""
    return frozenset[str]().union(*(n for n, units, _ in quantities(figures, language) if units & set(CURRENCIES)))


def _plain(number: float) -> str:
    return format(number, "g")


def _stands(figures: str, number: float) -> bool:
    return re.search(rf"(?<![\d.,]){re.escape(_plain(number))}(?:[.,]0+)?(?![\d]|[.,]\d)", figures) is not None


# The number of a room or a table, with no word behind it: `table 4 persons` counts them.
_numbering = worded(r"(?<!\w){numbered_places}(?: ?{word_for_number})? ?(\d+)(?=\s*(?:[.,;:!?)]|\Z|\n))(?![.,:]\d)")
