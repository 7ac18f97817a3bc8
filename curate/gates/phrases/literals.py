"""Derives from a pattern which strings a text must contain for it to match. Most texts contain none of them.

required_strings(r"\\bi (?:changed|rewrote) the\\b") == ((frozenset(["i changed the", "i rewrote the"]),),)
required_strings(r"no, wait|\\bsorry\\W.*\\bnot\\b") == ((frozenset(["no, wait"]),), (frozenset(["sorry"]),))
only_at_start(r"\\A\\W*sure") is True                   # it can only match at the start of a text
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

Strings = frozenset[str]
# Strings to search for; characters of a set to list one by one; letters that make a string long.
_MAX_STRINGS, _MAX_SET, _LONG_ENOUGH = 80, 8, 5
_ENOUGH = 5  # letters after which a string need not be extended
_MIN_EXTRA, _MAX_EXTRA = 5, 16  # letters of strings worth searching for as well, and how many there may be
_NOTHING = frozenset([""])
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT)


def required_strings(pattern: str) -> tuple[tuple[Strings, ...], ...]:
    """Return the alternative conditions for a match of `pattern`.

    A text with a match meets at least one of them: it contains a string of each set of it. The rarest set comes first.
    An alternative that requires nothing has no sets.
    """
    items = _parse(pattern)
    if items.state.flags & re.IGNORECASE:
        return ((),)
    every = []
    for way in _alternatives(list(items)):
        parts = sorted(dict.fromkeys(_parts(way)), key=_rareness, reverse=True)
        telling = [part for part in parts[1:] if min(map(len, part)) >= _MIN_EXTRA and len(part) <= _MAX_EXTRA]
        every.append((*parts[:1], *telling[:1]))
    return tuple(dict.fromkeys(every))


def satisfies_any(ways: Iterable[tuple[Strings, ...]], held: Strings) -> bool:
    """Whether the strings in a text satisfy at least one of the alternatives."""
    for way in ways:  # a loop, because calls of `any` and `all` cost more than the tests themselves
        for strings in way:
            if strings.isdisjoint(held):
                break
        else:
            return True
    return False


def only_at_start(pattern: str) -> bool:
    """Whether every match of `pattern` starts at the start of the text."""
    return _at_start(_parse(pattern))


def spans_line_end(pattern: str) -> bool:
    """Whether every match of `pattern` spans the end of a line."""
    return _spans_lines(_parse(pattern))


@lru_cache(maxsize=1)  # all questions about a pattern are asked in a row
def _parse(pattern: str) -> Any:
    return _parser.parse(pattern)


def _spans_lines(items: Iterable[tuple[Any, Any]]) -> bool:
    return any(
        (kind is op.LITERAL and value == ord("\n"))
        or (kind is op.SUBPATTERN and _spans_lines(value[3]))
        or (kind is op.BRANCH and all(map(_spans_lines, value[1])))
        or (kind in _REPEATS and value[0] > 0 and _spans_lines(value[2]))
        for kind, value in items
    )


def _alternatives(items: list[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
    """Expand the first branch of a sequence whose strings are not all known into one sequence per alternative."""
    for at, (kind, value) in enumerate(items):
        if kind is op.BRANCH and _possible_strings(kind, value) is None:
            return [[*items[:at], *way, *items[at + 1 :]] for way in value[1]]
    return [items]


def _rareness(part: Strings) -> tuple[int, int]:
    """Sort key: a set is rarer the longer its shortest string is, and then the fewer strings it has."""
    return min(_LONG_ENOUGH, *map(len, part)), -len(part)


def _rarest(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    """Return the rarest strings of a sequence."""
    return max(_parts(items), key=_rareness, default=None)


def _parts(items: Iterable[tuple[Any, Any]]) -> list[Strings]:
    """Return, for each required part of a sequence, the strings of which it is or contains one.

    Adjacent items with few possible strings are combined into one part.
    """
    parts, run = list[Strings](), _NOTHING
    for kind, value in items:
        exact, again = _possible_strings(kind, value), _repeated(kind, value)
        longer = _concatenated(run, exact or again or _NOTHING)
        if exact and longer and (len(exact) == 1 or min(map(len, run)) < _ENOUGH):
            run = longer
            continue
        parts.append(longer if again and longer else run)
        run = exact or again or _NOTHING
        if exact is None:
            parts += _contained(kind, value)
    return [few for part in [*parts, run] if all(map(_is_rare, few := _minimal(part))) and len(few) <= _MAX_STRINGS]


def _repeated(kind: Any, value: Any) -> Strings | None:
    """Return the strings that a repeated item begins and ends with: one or, if there are at least two, two in a row."""
    once = _possible_strings_of_all(value[2]) if kind in _REPEATS and value[0] > 0 else None
    return once and (_concatenated(once, once) if value[0] > 1 else once)


def _contained(kind: Any, value: Any) -> list[Strings]:
    """Return the parts of an item that cannot be listed as a few strings."""
    if kind is op.SUBPATTERN and value[1] & re.IGNORECASE:
        return [few] if (few := _in_any_case(value[3])) else []
    if kind is op.SUBPATTERN:
        return _parts(value[3])
    if kind is op.BRANCH:
        each = [_rarest(way) for way in value[1]]
        return [] if None in each else [frozenset().union(*filter(None, each))]
    return _parts(value[2]) if kind in _REPEATS and value[0] > 0 else []


def _possible_strings(kind: Any, value: Any) -> Strings | None:
    """Return all strings that an item may match, including '' if it is optional; None if there are too many."""
    if kind is op.LITERAL:
        return frozenset((chr(value),))
    if kind is op.IN:
        return _characters(value)
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return _NOTHING
    if kind is op.SUBPATTERN and not value[1] & re.IGNORECASE:
        return _possible_strings_of_all(value[3])
    if kind is op.BRANCH:
        each = [_possible_strings_of_all(way) for way in value[1]]
        strings = frozenset[str]().union(*filter(None, each))
        return None if None in each or len(strings) > _MAX_STRINGS else strings
    if kind in _REPEATS and value[1] == 1 and (once := _possible_strings_of_all(value[2])):
        return once if value[0] else once | _NOTHING
    return None


def _possible_strings_of_all(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    strings: Strings | None = _NOTHING
    for kind, value in items:
        exact = _possible_strings(kind, value)
        strings = exact and strings and _concatenated(strings, exact)
        if strings is None:
            return None
    return strings


def _concatenated(first: Strings, then: Strings) -> Strings | None:
    """Return each string followed by each continuation; None if there are too many."""
    return frozenset(map("".join, product(first, then))) if len(first) * len(then) <= _MAX_STRINGS else None


def _minimal(part: Strings) -> Strings:
    """Drop the strings that contain another one of the set."""
    return frozenset(one for one in part if not any(other in one for other in part if other != one))


def _in_any_case(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    """Return the case variants of three consecutive letters of a sequence, without letters that have other forms."""
    run = "".join(chr(value) if kind is op.LITERAL else " " for kind, value in items)
    letters = re.search(r"[a-hj-jl-rt-z]{3}", run)
    return letters and frozenset(map("".join, product(*({letter, letter.upper()} for letter in letters[0]))))


def _is_rare(string: str) -> bool:
    return len(string) > 1 or (bool(string) and not (string.isascii() and (string.isalnum() or string.isspace())))


def _characters(members: list[tuple[Any, Any]]) -> Strings | None:
    """Return the characters of a set that lists them individually."""
    if len(members) > _MAX_SET or any(kind is not op.LITERAL for kind, _ in members):
        return None
    return frozenset(chr(value) for _, value in members)


def _at_start(items: Iterable[tuple[Any, Any]]) -> bool:
    kind: Any
    value: Any
    kind, value = next(iter(items), (None, ()))
    if kind is op.SUBPATTERN:
        return _at_start(value[3])
    if kind is op.BRANCH:
        return all(map(_at_start, value[1]))
    return bool(kind is op.AT and value is op.AT_BEGINNING_STRING)
