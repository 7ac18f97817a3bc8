"""Checks a record against its text: values under the wrong field, empty fields, counted things, calculated numbers.

crossed_field("from: oslo. to: bergen.", {"from": "Bergen", "to": "Oslo"}) == ("from", "Bergen")
unfilled_field("test on monday, room 3", {"day": "Monday", "room": None}, "en") == "room"
misplaced_count("4 rolls and 9 croissants", [{"article": "rolls", "quantity": 9}]) == "4 rolls"
omitted_thing("2 hammers, 1 saw, 50 screws", [{"article": "hammers", "quantity": 2}]) == "1 saw"
is_computed("Labour 320.00, materials 80.00", 400.0) is True
miscounted_field("30 chairs at 14 pounds each", {"quantity": 14, "unit_price": 30}, "en") == ("unit_price", 30)
miscounted_field("subtotal 200, VAT 21%", {"total": 221}, "en") == ("total", 221)

Not covered: number fields with names other than those of a quantity and a price, a price without a currency in the
input, and a number that the input contains twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

from curate.gates.facts import CONTACT, clause_ends, is_date
from curate.gates.folding import fold, unaccented
from curate.gates.names import misspelt
from curate.gates.number_words import has_number_words, is_day_or_month, spelt_out_values, words_to_digits
from curate.gates.phrases import is_listed, lexicon, list_pattern, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.units import CURRENCIES, find_conversions, named_currencies, quantities
from curate.words import words

_SEPARATOR = r"[\s:\uff1a=\u2013-]{0,3}"  # between the name of a field and its value
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f]")
_MIN_FIELD_NAME, _ROOT_LETTERS = 3, 4  # minimum letters of a field's name; letters by which a word is recognised
_NAME = re.compile(r"(?<!\w)[^\W\d_a-z][^\W\d_A-Z]{2,}(?!\w)")


def crossed_field(folded: str, value: Any) -> tuple[str, str] | None:
    """Return a field with the value of another field, or None.

    In the input, the other value directly follows this field's name and its own does not, or `to` precedes the value of
    an origin field, or `from` that of a destination.
    """
    texts = {key: fold(inside) for key, inside in _text_fields(value)}
    for key, own in texts.items() if len(texts) > 1 else ():
        name = fold(key).replace("_", " ")
        behind = [folded[named.end() :] for named in re.finditer(rf"{re.escape(name)}{_SEPARATOR}", folded)]
        others = [text for other, text in texts.items() if other != key and text != own and len(text) > 1]
        another = any(rest.startswith(text) for rest in behind for text in others)
        before = any(folded[: named.start()].rstrip().endswith(own) for named in re.finditer(re.escape(name), folded))
        if another and not before and not any(rest.startswith(own) for rest in behind):
            return key, str(value[key])
        for field, wrong, right in (
            ("fields_from", "before_to", "before_from"),
            ("fields_to", "before_from", "before_to"),
        ):
            if (
                is_listed("any", field, name)
                and _occurs_after(wrong, own, folded)
                and not _occurs_after(right, own, folded)
            ):
                return key, str(value[key])
    return None


def _occurs_after(name: str, text: str, folded: str) -> bool:
    return re.search(rf"(?<!\w)(?:{alternation(words_of(name))}) {re.escape(text)}(?!\w)", folded) is not None


def partly_invented(text: str, value: Any, language: str) -> str:
    """Return a text of two or more names of which the input has only some, or one that it spells differently; or ''."""
    known = set(map(_root, words(text)))
    for _, inside in _text_fields(value):
        names = [name for name in _NAME.findall(inside) if name[0].isupper()]
        there = [_root(name) in known for name in names]
        if len(names) == len(inside.split()) > 1 and any(there) and not all(there):
            return inside
        if slip := misspelt(f"- {text}", f"- {inside}", language):
            return slip[1]
    return ""


def _root(word: str) -> str:
    return unaccented(fold(word)).replace("\u0451", "\u0435")[:_ROOT_LETTERS]


def unfilled_field(folded: str, value: Any, language: str) -> str:
    """Return an empty field that the input has a value for, or ''.

    The input has the field's name followed by a colon and a word, or by a number. A date field also counts if the input
    names a day and the record has none.
    """
    fields = value.items() if isinstance(value, Mapping) else ()
    empty = [
        key
        for key, inside in fields
        if inside in (None, "", []) or (isinstance(inside, str) and is_listed("any", "nothing", fold(inside).strip()))
    ]
    record = fold(json.dumps(value, ensure_ascii=False)) if empty else ""
    for key in empty:
        name = fold(key).replace("_", " ")
        sign = r"[:\uff1a=]\s?(?=\w)|\s?(?=\d)" if not value[key] else r"\s"
        for named in (
            re.finditer(rf"(?<!\w){re.escape(name)}(?:{sign})(\w+)", folded) if len(name) > _MIN_FIELD_NAME else ()
        ):
            filled = named[1] not in lexicon(language).stop and not is_listed("any", "unknown", named[1])
            if filled and named[1] not in record:
                return str(key)
        may_be_filled = is_listed("any", "fields_date", name) and _names_a_day(folded, language)
        if may_be_filled and not _names_a_day(record, language):
            return str(key)
    return ""


def _names_a_day(folded: str, language: str) -> bool:
    return _ISO.search(folded) is not None or any(
        len(word) > _MIN_FIELD_NAME and is_day_or_month(word, language) for word in words(folded)
    )


def _text_fields(value: Any) -> Iterator[tuple[str, str]]:
    for key, inside in value.items() if isinstance(value, dict) else ():
        if isinstance(inside, str) and inside.strip():
            yield key, inside


def contains_word(clause: str, word: str) -> bool:
    """Whether a clause contains a word with any ending. `pets` in `petsitting` is another word."""
    return re.search(rf"(?<!\w){re.escape(word[: max(5, len(word) - 2)])}\w{{0,3}}(?!\w)", clause) is not None


def answered_no(folded: str, named: Collection[str], language: str) -> str:
    """Return the name of a field and the denial that directly follows it (`breakfast: no`), or ''."""
    for match in _ANSWER.finditer(folded):
        denied = match[2] in words_of("field_denials") or says(language, "negation", match[2])
        if denied and any(contains_word(match[1], word) for word in named):
            return "" if list_pattern(language, "idioms").match(folded, match.start(2)) else match[0]
    return ""


# A name of up to three words, a colon or question mark, and an answer of one or two words.
_ANSWER = re.compile(
    r"(?<![^\W\d_])((?:[^\W\d_]+[ _-]){0,2}[^\W\d_]+) ?[:?\uff1a\uff1f] ?([^\W\d_]+)"
    r"(?=\s*(?:[^\w\s]|\Z)| \w+(?:[^\w\s]|\Z))"
)


_COUNTED = re.compile(r"(?<![\w.,])(\d+) ?(?:x |\u00d7 )?([^\W\d_]{3,})")
_MAX_ITEMS = 100  # maximum number of things and records to compare
_THING_LETTERS = 5  # letters by which a thing is recognised


def _is_same_thing(thing: str, word: str) -> bool:
    return thing.startswith(word[:_THING_LETTERS]) or word.startswith(thing[:_THING_LETTERS])


def misplaced_count(figures: str, value: Any) -> str:
    """Return a number with its thing in a text for which the record has the number of another thing, or ''.

    `figures` is a folded text with its numbers in digits. Exactly one thing must match the record.
    """
    counted = _counted(figures)
    for thing, number in _counts_of_records(value):
        own = [count for word, count in counted if _is_same_thing(thing, word)]
        if len(own) == 1 and number != own[0] and any(count == number for _, count in counted):
            return f"{own[0]} {thing}"
    return ""


def omitted_thing(figures: str, value: Any) -> str:
    """Return the first thing that the text counts and no record names, or ''.

    A record must name the first of three or more things, and none may name the last two.
    """
    counted, named = _counted(figures), [thing for thing, _ in _counts_of_records(value)]
    held = [any(_is_same_thing(thing, word) for thing in named) for word, _ in counted]
    if len(counted) < 3 or not held[0] or any(held[-2:]):
        return ""
    word, count = counted[held.index(False)]
    return f"{count} {word}"


def _counted(figures: str) -> Sequence[tuple[str, str]]:
    return [(match[2], match[1]) for match in islice(_COUNTED.finditer(figures), _MAX_ITEMS)]


def _counts_of_records(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the first word of the only text, and the only integer, of each record of a list."""
    lists = [one for one in value.values() if isinstance(one, list)] if isinstance(value, dict) else [value]
    for record in lists[0][:_MAX_ITEMS] if len(lists) == 1 and isinstance(lists[0], list) else ():
        inside = list(record.values()) if isinstance(record, dict) else []
        texts = [one for one in inside if isinstance(one, str) and one.strip()]
        numbers = [one for one in inside if type(one) is int]
        if len(texts) == len(numbers) == 1 and (named := fold(texts[0]).split()):
            yield named[0], str(numbers[0])


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


def in_main_unit(at: str, leaf: Any) -> float | None:
    """The amount that a field such as `amount_cents` has in hundredths, in its main unit; None for any other field."""
    unit = fold(at).replace("_", ".").rpartition(".")[2]
    is_amount = type(leaf) is int and abs(leaf) < _MAX_SUM
    return leaf / 100 if is_amount and is_listed("any", "fields_hundredths", unit) else None


def inferred_values(text: str, figures: str, value: Any, language: str) -> frozenset[str]:
    """Return the numbers of a record that are quantities of the text in another unit, which is beside them or in the
    name of their field, with that unit: `2.1 kW` as `{"value": 2100, "unit": "W"}` or `{"power_w": 2100}`; and "1" if
    that is a count, and the record has all numbers of the text, so that none of them can be it."""
    stated = list(islice(with_units(value), _MAX_ITEMS))
    kept, converted = find_conversions(text, " | ".join(stated), language, language, exact=True)
    units = {unit for number, _, unit in (one.partition(" ") for one in stated) if _plain(float(number)) in converted}
    inside = [value, *value] if isinstance(value, list) else [value]
    counts = [one.get(key) for one in inside if isinstance(one, dict) for key in one if _is_listed_count(key)]
    held = set(_ANY_NUMBER.findall(fold(json.dumps(value, ensure_ascii=False))))
    numbers = [number for number in _NUMBER.findall(figures) if number.replace(",", ".") not in kept]
    has_all = all(re.sub(r"\D", "", n) in held or held.issuperset(_ANY_NUMBER.findall(n)) for n in numbers)
    if 1 not in counts or not has_all or not has_number_words(language):
        return converted | units
    in_words = spelt_out_values(fold(text), language) - {"1"} or lexicon(language).hints.keys() & words(text)
    return converted | units | (frozenset() if in_words else frozenset("1"))


_ANY_NUMBER, _NUMBER = re.compile(r"\d+"), re.compile(r"\d+(?:[.,]\d+)*")


def with_units(value: Any, *, alone: bool = False) -> Iterator[str]:
    """Yield each number of a record with the short texts beside it and the last part of its field's name, any of which
    may be its unit. `alone`: only a number and a text that have nothing beside them."""
    inside = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else ()
    for one in inside:
        yield from with_units(one, alone=alone)
    texts = [text for text in inside if isinstance(text, str) and len(text) <= _UNIT_LETTERS]
    for key, number in value.items() if isinstance(value, dict) and not (alone and len(inside) != 2) else ():
        if type(number) in (int, float):
            yield from (f"{number} {unit}" for unit in (*texts, *(() if alone else (fold(key).rpartition("_")[2],))))


_UNIT_LETTERS = 12


def _is_listed_count(field: str) -> bool:
    return is_listed("any", "fields_count", fold(field).replace("_", " "))


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
    counts = list(filter(_is_listed_count, fields))
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


def missing_item(text: str, value: Any) -> str:
    """Return the first item of a list in the input that the record's list is missing, or ''.

    The record's list must have at least two of the items, and none of those after the missing one.
    """
    inside = value.values() if isinstance(value, dict) else [value]
    lists = [one for one in inside if isinstance(one, list)]
    held = fold(json.dumps(value, ensure_ascii=False))
    if len(lists) != 1 or len(lists[0]) < 2 or not all(isinstance(item, str) for item in lists[0]):
        return ""
    for sentence in _SENTENCE_END.split(fold(text)):  # a list that ends with its sentence is complete
        items = [item.strip(" .!") for item in clause_ends().split(sentence) if item.strip(" .!")]
        items = [item for item in items if any(len(word) > 2 for word in words(item))]  # S, M, L are in any text
        known = [any(word[:5] in held for word in words(item) if len(word) > 2) for item in items]
        begun = known.index(True) if True in known else 0  # after `list all who came:`
        items, known = items[begun:], known[begun:]
        if len(items) > 3 and known[:2] == [True, True] and not any(known[-2:]):
            return items[known.index(False)]
    return ""


def missing_contact(text: str, value: Any) -> tuple[str, str] | None:
    """Return an empty field named for a telephone number or an address, and one of that kind in the input; or None.

    The record must not have it in any field.
    """
    empty = [key for key, inside in value.items() if inside in (None, "")] if isinstance(value, dict) else []
    record = fold(json.dumps(value, ensure_ascii=False)) if empty else ""
    for match in CONTACT.finditer(text) if empty else ():
        named = (key for key in empty if says("any", f"named_{match.lastgroup}", fold(key).replace("_", " ")))
        if fold(match[0]) not in record and not is_date(match[0]) and (key := next(named, "")):
            return key, match[0]
    return None


def other_currency(text: str, value: Any, language: str) -> str:
    """Return the code of a currency that the text does not name, although it names others; or ''. Unlike other
    values that a schema lists, a currency is rarely inferred."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, str) and value in CURRENCIES:
        named = named_currencies(text, language)
        return value if named and value not in named else ""
    return next(filter(None, (other_currency(text, one, language) for one in inside)), "")
