"""What a text must hold for a pattern to find anything in it, read from the pattern: most texts hold none of it.

needs(r"\\bi (?:changed|rewrote) the\\b") == ("changed", "rewrote")
begins(r"\\A\\W*sure") is True                   # it is tried at the start of a text only
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_MOST, _LEAST = 60, 2  # strings to look for, and letters in one


def needs(pattern: str) -> tuple[str, ...]:
    """Strings one of which stands in every text in which `pattern` finds something; empty if it names none."""
    return tuple(sorted(_of(_parser.parse(pattern)) or ()))


def begins(pattern: str) -> bool:
    """Whether every match of `pattern` begins with the text."""
    return _at_start(_parser.parse(pattern))


def _of(items: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """The rarest strings of a sequence: of all its parts that must be there, those with the longest shortest one."""
    parts, run = list[frozenset[str] | None](), ""
    for kind, value in [*items, (None, None)]:
        if kind is op.LITERAL:
            run += chr(value)
            continue
        parts.append(frozenset((run,)) if run else None)
        run = ""
        if kind is op.SUBPATTERN and not value[1] & re.IGNORECASE:
            parts.append(_of(value[3]))
        elif kind is op.BRANCH:
            ways = [_of(way) for way in value[1]]
            parts.append(None if None in ways else frozenset().union(*filter(None, ways)))
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] > 0:
            parts.append(_of(value[2]))
    usable = [part for part in parts if part and len(part) <= _MOST and min(map(len, part)) >= _LEAST]
    return max(usable, key=lambda part: (min(map(len, part)), -len(part)), default=None)


def _at_start(items: Iterable[tuple[Any, Any]]) -> bool:
    kind: Any
    value: Any
    kind, value = next(iter(items), (None, ()))
    if kind is op.SUBPATTERN:
        return _at_start(value[3])
    if kind is op.BRANCH:
        return all(map(_at_start, value[1]))
    return bool(kind is op.AT and value is op.AT_BEGINNING_STRING)
