"""Checks a record against its text: values under the wrong field, and fields that are empty.

crossed_field("from: oslo. to: bergen.", {"from": "Bergen", "to": "Oslo"}) == ("from", "Bergen")
unfilled_field("test on monday, room 3", {"day": "Monday", "room": None}, "en") == "room"
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from curate.gates.folding import fold, unaccented
from curate.gates.misspelt_names import misspelt
from curate.gates.number_words import is_day_or_month
from curate.gates.phrases import is_listed, lexicon, list_pattern, says, words_of
from curate.gates.phrases.lists import alternation
from curate.words import words

_SEPARATOR = r"[\s:\uff1a=\u2013-]{0,3}"  # between the name of a field and its value
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
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
    empty = [key for key, inside in fields if inside in (None, "", []) or _is_empty_word(inside)]
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
        if (
            is_listed("any", "fields_date", name)
            and _names_a_day(folded, language)
            and not _names_a_day(record, language)
        ):
            return str(key)
    return ""


def _names_a_day(folded: str, language: str) -> bool:
    return _ISO.search(folded) is not None or any(
        len(word) > _MIN_FIELD_NAME and is_day_or_month(word, language) for word in words(folded)
    )


def _is_empty_word(inside: Any) -> bool:
    return isinstance(inside, str) and is_listed("any", "nothing", fold(inside).strip())


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
