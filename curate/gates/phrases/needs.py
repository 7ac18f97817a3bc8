"""What a text must hold for a pattern to find anything in it, read from the pattern: most texts hold none of it.

needs(r"\\bi (?:changed|rewrote) the\\b") == ("changed", "rewrote")
also(r"\\bi (?:changed|rewrote) the\\b") == (frozenset([" the"]),)
begins(r"\\A\\W*sure") is True                   # it is tried at the start of a text only
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_MOST, _SET, _LONG = 80, 8, 5  # strings to look for, characters of a set to take one by one, letters that are many
_TELLING = 4  # letters of a string that is worth looking for beside another


def needs(pattern: str) -> tuple[str, ...]:
    """Strings one of which stands in every text in which `pattern` finds something; empty if it names none."""
    return tuple(sorted(_of(_parsed(pattern)) or ()))


def also(pattern: str) -> tuple[frozenset[str], ...]:
    """The other strings that such a text holds, one of each set; long ones, for short ones stand in most texts."""
    parts = _parts(_parsed(pattern))
    return tuple(part for part in parts if part is not _rarest(parts) and min(map(len, part)) >= _TELLING)


def begins(pattern: str) -> bool:
    """Whether every match of `pattern` begins with the text."""
    return _at_start(_parsed(pattern))


def breaks(pattern: str) -> bool:
    """Whether every match of `pattern` goes over the end of a line."""
    return _breaks(_parsed(pattern))


@lru_cache(maxsize=1)  # all that is asked of a pattern is asked at once
def _parsed(pattern: str) -> Any:
    return _parser.parse(pattern)


def _breaks(items: Iterable[tuple[Any, Any]]) -> bool:
    return any(
        (kind is op.LITERAL and value == ord("\n"))
        or (kind is op.SUBPATTERN and _breaks(value[3]))
        or (kind is op.BRANCH and all(map(_breaks, value[1])))
        or (kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] > 0 and _breaks(value[2]))
        for kind, value in items
    )


def _of(items: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """The rarest strings of a sequence."""
    return _rarest(_parts(items))


def _rarest(parts: list[frozenset[str]]) -> frozenset[str] | None:
    """Of all parts that must be there, those with the longest shortest string."""
    return max(parts, key=lambda part: (min(_LONG, *map(len, part)), -len(part)), default=None)


def _parts(items: Iterable[tuple[Any, Any]]) -> list[frozenset[str]]:
    """Of each part of a sequence that must be there the strings one of which it is, or holds."""
    parts, run = list[frozenset[str] | None](), ""
    for kind, value in [*items, (None, None)]:
        if kind is op.LITERAL:
            run += chr(value)
            continue
        parts.append(frozenset((run,)) if run else None)
        run = ""
        if kind is op.IN:
            parts.append(_letters(value))
        elif kind is op.SUBPATTERN and not value[1] & re.IGNORECASE:
            parts.append(_of(value[3]))
        elif kind is op.SUBPATTERN:
            parts.append(_in_any_case(value[3]))
        elif kind is op.BRANCH:
            ways = [_of(way) for way in value[1]]
            parts.append(None if None in ways else frozenset().union(*filter(None, ways)))
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] > 0:
            parts.append(_doubled(value[2]) if value[0] > 1 else _of(value[2]))
    return [part for part in parts if part and len(part) <= _MOST and all(map(_is_rare, part))]


def _in_any_case(items: Iterable[tuple[Any, Any]]) -> frozenset[str] | None:
    """Three letters in a row of a sequence, in small letters or capitals; none that has more forms than two."""
    run = "".join(chr(value) if kind is op.LITERAL else " " for kind, value in items)
    letters = re.search(r"[a-hj-jl-rt-z]{3}", run)
    return letters and frozenset(map("".join, product(*({letter, letter.upper()} for letter in letters[0]))))


def _is_rare(string: str) -> bool:
    return len(string) > 1 or not string.isascii() or not (string.isalnum() or string.isspace())


def _letters(members: list[tuple[Any, Any]]) -> frozenset[str] | None:
    """The characters of a set that lists them, each as a string."""
    if len(members) > _SET or any(kind is not op.LITERAL for kind, _ in members):
        return None
    return frozenset(chr(value) for _, value in members)


def _doubled(items: Any) -> frozenset[str] | None:
    """Two in a row of a character that is repeated."""
    kind, value = items[0]
    if len(items) > 1 or kind not in (op.LITERAL, op.IN):
        return _of(items)
    letters = frozenset((chr(value),)) if kind is op.LITERAL else _letters(value)
    return letters and frozenset(one + other for one in letters for other in letters)


def _at_start(items: Iterable[tuple[Any, Any]]) -> bool:
    kind: Any
    value: Any
    kind, value = next(iter(items), (None, ()))
    if kind is op.SUBPATTERN:
        return _at_start(value[3])
    if kind is op.BRANCH:
        return all(map(_at_start, value[1]))
    return bool(kind is op.AT and value is op.AT_BEGINNING_STRING)
