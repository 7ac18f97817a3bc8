"""Numbers of a record that are calculated, or that are under the wrong key.

Not covered: fields with names other than those of a quantity and a price, a price without a currency in the input, and
a number that the input contains twice.

is_computed("Labour 320.00, materials 80.00", 400.0) is True
miscounted_field("30 chairs at 14 pounds each", {"quantity": 14, "unit_price": 30}, "en") == ("unit_price", 30)
miscounted_field("subtotal 200, VAT 21%", {"total": 221}, "en") == ("total", 221)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from curate.gates.folding import fold
from curate.gates.number_words import words_to_digits
from curate.gates.phrases import is_listed
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.units import CURRENCIES, quantities

_AMOUNT = re.compile(r"(?<![\w.,/-])\d+(?:[.,]\d{1,2})?(?!\d|[.,/-]\d| ?%)")
_PERCENT = re.compile(r"(?<![\w.,])(\d+(?:[.,]\d+)?) ?%")
# Maximum number of amounts of an input to add; a number above which nothing is a sum of them.
_MAX_AMOUNTS, _MAX_SUM = 12, 10**15


def _values(pattern: re.Pattern[str], text: str) -> list[float]:
    return [float(number.replace(",", ".")) for number in pattern.findall(text)]


def is_computed(text: str, leaf: Any) -> bool:
    """Whether a number is the sum of two or of all amounts of the input, or the product of two of them."""
    if type(leaf) not in (int, float) or not 10 <= leaf < _MAX_SUM:
        return False
    amounts = _values(_AMOUNT, text)[:_MAX_AMOUNTS]
    pairs = [result for a, b in combinations(amounts, 2) for result in (a + b, a * b)]
    return any(abs(leaf - result) < 0.006 for result in (*pairs, sum(amounts)))


def miscounted_field(text: str, value: Any, language: str) -> tuple[str, Any] | None:
    """Return a field with a wrong number, or None.

    This is one of the following: a price without a currency in the input, while the quantity of the record has one; a
    quantity that is the number of a room or table there, while another number is not; a total to which a percentage was
    added as if it were an amount.
    """
    fields = {k: v for k, v in value.items() if type(v) in (int, float)} if isinstance(value, Mapping) else {}
    if not fields:
        return None
    figures = fold(words_to_digits(text, language))
    if added := _added_percentage(figures, fields):
        return added
    counts = [key for key in fields if is_listed("any", "fields_count", fold(key).replace("_", " "))]
    prices = [key for key in fields if is_listed("any", "fields_price", fold(key).replace("_", " "))]
    with_currency = _numbers_with_currency(figures, language) if counts and prices else frozenset[str]()
    for count in counts:
        number = _plain(fields[count])
        once = len(re.findall(rf"(?<!\d){number}(?!\d)", figures)) == 1
        for price in prices if once and number in with_currency else ():
            if _plain(fields[price]) not in with_currency and _occurs(figures, fields[price]):
                return price, fields[price]
        numbered = _place_number().findall(figures) if once else []
        others = set(re.findall(r"(?<![\d.,:])\d+(?![\d:]|[.,]\d)", figures)).difference(numbered)
        if numbered == [number] and len(others) == 1:
            return count, fields[count]
    return None


def _added_percentage(figures: str, fields: Mapping[str, Any]) -> tuple[str, Any] | None:
    rates, amounts = _values(_PERCENT, figures), _values(_AMOUNT, figures)[:_MAX_AMOUNTS]
    sums = [a + r for a in amounts for r in rates if r not in amounts and abs(a - 100) > 0.01]
    for key, number in fields.items():
        if any(abs(added - number) < 0.006 for added in sums) and not _occurs(figures, number):
            return key, number
    return None


def _numbers_with_currency(figures: str, language: str) -> frozenset[str]:
    """Return the numbers with a currency."""
    return frozenset[str]().union(*(n for n, units, _ in quantities(figures, language) if units & set(CURRENCIES)))


def _plain(number: float) -> str:
    return format(number, "g")


def _occurs(figures: str, number: float) -> bool:
    return re.search(rf"(?<![\d.,]){re.escape(_plain(number))}(?:[.,]0+)?(?![\d]|[.,]\d)", figures) is not None


# The number of a room or table. It is not followed by a word, because `table 4 persons` counts persons.
_place_number = word_pattern(
    r"(?<!\w){numbered_places}(?: ?{word_for_number})? ?(\d+)(?=\s*(?:[.,;:!?)]|\Z|\n))(?![.,:]\d)"
)
