"""Checks lists of records that have one number each against a text that counts things: `2 hammers, 1 saw, 50 screws`.

misplaced_count("4 rolls and 9 croissants", [{"article": "rolls", "quantity": 9}]) == "4 rolls"
omitted_thing("2 hammers, 1 saw, 50 screws", [{"article": "hammers", "quantity": 2}]) == "1 saw"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from curate.gates.folding import fold

_COUNTED = re.compile(r"(?<![\w.,])(\d+) ?(?:x |\u00d7 )?([^\W\d_]{3,})")
_MAX_ITEMS = 100  # maximum number of things and records to compare
_ROOT_LETTERS = 5  # letters by which a thing is recognised


def misplaced_count(figures: str, value: Any) -> str:
    """Return a number with its thing in a text for which the record has the number of another thing, or ''.

    `figures` is a folded text with its numbers in digits. Exactly one thing must match the record.
    """
    counted = _counted(figures)
    for thing, number in _records(value):
        own = [
            count
            for word, count in counted
            if thing.startswith(word[:_ROOT_LETTERS]) or word.startswith(thing[:_ROOT_LETTERS])
        ]
        if len(own) == 1 and number != own[0] and any(count == number for _, count in counted):
            return f"{own[0]} {thing}"
    return ""


def omitted_thing(figures: str, value: Any) -> str:
    """Return the first thing that the text counts and no record names, or ''.

    A record must name the first of three or more things, and none may name the last two.
    """
    counted, named = _counted(figures), [thing for thing, _ in _records(value)]
    held = [
        any(thing.startswith(word[:_ROOT_LETTERS]) or word.startswith(thing[:_ROOT_LETTERS]) for thing in named)
        for word, _ in counted
    ]
    if len(counted) < 3 or not held[0] or any(held[-2:]):
        return ""
    word, count = counted[held.index(False)]
    return f"{count} {word}"


def _counted(figures: str) -> Sequence[tuple[str, str]]:
    return [(match[2], match[1]) for match in islice(_COUNTED.finditer(figures), _MAX_ITEMS)]


def _records(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the first word of the only text, and the only integer, of each record of a list."""
    lists = [one for one in value.values() if isinstance(one, list)] if isinstance(value, dict) else [value]
    for record in lists[0][:_MAX_ITEMS] if len(lists) == 1 and isinstance(lists[0], list) else ():
        inside = list(record.values()) if isinstance(record, dict) else []
        texts = [one for one in inside if isinstance(one, str) and one.strip()]
        numbers = [one for one in inside if type(one) is int]
        if len(texts) == len(numbers) == 1 and (named := fold(texts[0]).split()):
            yield named[0], str(numbers[0])
