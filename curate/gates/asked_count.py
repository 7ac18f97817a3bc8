"""The number of items that an instruction asks for, and lists with another number of items.

wrong_item_count("name three spices.", "Cumin, turmeric, paprika, clove", "en") == "name three spices."
wrong_item_count("nenne fünf flüsse", "Inn, Isar und Lech.", "de") == "nenne fünf flüsse"
"""

from __future__ import annotations

import re

from curate.gates.number_words import words_to_digits
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words

_ITEM = re.compile(r"(?m)^(?:[-*\u2022]|\(?\d{1,2}[.)])\s+\S")
_SEPARATOR = re.compile(r"\s*[,;\u3001\uff0c\u060c]\s*")
_MAX_ITEMS, _MAX_ITEM_WORDS = 12, 4  # maximum number of items to check; words of an item in a list on one line


def wrong_item_count(folded: str, text: str, language: str) -> str:
    """Return the start of an instruction that asks for a number of things, if the text lists more or fewer; or ''.

    An instruction with a second number, `at least` or `up to` is not binding, and a text that is not a list is not
    checked.
    """
    asked = _counted().match(words_to_digits(folded, language)) if _begins().match(folded) else None
    if not asked or len(re.findall(r"\d+", asked.string)) > 1 or _bounds().search(asked.string):
        return ""
    wanted, listed = int(asked["number"]), _count_items(text)
    return folded[:40].strip() if 1 < wanted <= _MAX_ITEMS and listed > 1 and listed != wanted else ""


def _count_items(text: str) -> int:
    """Count the items of a text that is nothing but a list, on lines or on one line; 0 for any other text."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if len(lines) > 1:
        return len(lines) if all(map(_ITEM.match, lines)) else 0
    line = text.strip().rstrip(".\u3002")
    parts = [part for piece in _SEPARATOR.split(line) for part in _joined().split(piece) if part.strip()]
    whole = len(parts) > 1 and not re.search(r"[.!?:\u3002\uff01\uff1f\uff1a(]", line)
    return len(parts) if whole and all(count_words(part) <= _MAX_ITEM_WORDS for part in parts) else 0


_begins = word_pattern(r"\W*{count_verbs}(?!\w)")
_joined = word_pattern(r"\s+{listing}\s+")
_counted = word_pattern(
    r"\W*(?:{count_verbs}\s+)(?:{form_small}\s+)?(?P<number>\d{1,2})\s+(?!{of_a_text}(?!\w))[^\W\d_]{2,}"
)
_bounds = word_pattern(r"(?<!\w){at_most|at_least}(?!\w)")
