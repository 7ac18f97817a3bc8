"""What a text must hold for a pattern to find anything in it, read from the pattern: most texts hold none of it.

ways(r"\\bi (?:changed|rewrote) the\\b") == ((frozenset(["i changed the", "i rewrote the"]),),)
ways(r"no, wait|\\bsorry\\W.*\\bnot\\b") == ((frozenset(["no, wait"]),), (frozenset(["sorry"]),))
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

Strings = frozenset[str]
_MOST, _SET, _LONG = 80, 8, 5  # strings to look for, characters of a set to take one by one, letters that are many
_ENOUGH = 5  # letters of a string that need not be made longer
_TELLING, _FEW = 5, 16  # letters of strings that are worth looking for beside others, and how many they may be
_NOTHING = frozenset([""])
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT)


def ways(pattern: str) -> tuple[tuple[Strings, ...], ...]:
    """The ways in which `pattern` may match: of one of them, a text in which it finds something holds a string of each
    set, the rarest first. No sets where a way names none."""
    items = _parsed(pattern)
    if items.state.flags & re.IGNORECASE:
        return ((),)
    every = []
    for way in _alternatives(list(items)):
        parts = sorted(dict.fromkeys(_parts(way)), key=_rareness, reverse=True)
        telling = [part for part in parts[1:] if min(map(len, part)) >= _TELLING and len(part) <= _FEW]
        every.append((*parts[:1], *telling[:1]))
    return tuple(dict.fromkeys(every))


def holds_one(ways: Iterable[tuple[Strings, ...]], held: Strings) -> bool:
    """Whether the strings that a text holds are enough for one of some ways."""
    for way in ways:  # in place of `any` and `all`, which cost more than what they ask
        for strings in way:
            if strings.isdisjoint(held):
                break
        else:
            return True
    return False


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
        or (kind in _REPEATS and value[0] > 0 and _breaks(value[2]))
        for kind, value in items
    )


def _alternatives(items: list[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
    """A sequence once for each way through the first of its branches whose strings are not all known."""
    for at, (kind, value) in enumerate(items):
        if kind is op.BRANCH and _exactly(kind, value) is None:
            return [[*items[:at], *way, *items[at + 1 :]] for way in value[1]]
    return [items]


def _rareness(part: Strings) -> tuple[int, int]:
    """Those are rarest whose shortest string is longest, and which are few."""
    return min(_LONG, *map(len, part)), -len(part)


def _of(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    """The rarest strings of a sequence."""
    return max(_parts(items), key=_rareness, default=None)


def _parts(items: Iterable[tuple[Any, Any]]) -> list[Strings]:
    """Of each part of a sequence that must be there the strings one of which it is, or holds. Neighbours of which each
    is one of a few strings are a part together."""
    parts, run = list[Strings](), _NOTHING
    for kind, value in items:
        exact, again = _exactly(kind, value), _again(kind, value)
        longer = _joined(run, exact or again or _NOTHING)
        if exact and longer and (len(exact) == 1 or min(map(len, run)) < _ENOUGH):
            run = longer
            continue
        parts.append(longer if again and longer else run)
        run = exact or again or _NOTHING
        if exact is None:
            parts += _held(kind, value)
    return [few for part in [*parts, run] if all(map(_is_rare, few := _fewest(part))) and len(few) <= _MOST]


def _again(kind: Any, value: Any) -> Strings | None:
    """What an item that repeats some strings begins and ends with: one of them, or two where it has two at least."""
    once = _exactly_all(value[2]) if kind in _REPEATS and value[0] > 0 else None
    return once and (_joined(once, once) if value[0] > 1 else once)


def _held(kind: Any, value: Any) -> list[Strings]:
    """The parts of an item that is none of a few strings."""
    if kind is op.SUBPATTERN and value[1] & re.IGNORECASE:
        return [few] if (few := _in_any_case(value[3])) else []
    if kind is op.SUBPATTERN:
        return _parts(value[3])
    if kind is op.BRANCH:
        each = [_of(way) for way in value[1]]
        return [] if None in each else [frozenset().union(*filter(None, each))]
    return _parts(value[2]) if kind in _REPEATS and value[0] > 0 else []


def _exactly(kind: Any, value: Any) -> Strings | None:
    """The strings one of which an item is, '' among them where it may be left out; None if they are many."""
    if kind is op.LITERAL:
        return frozenset((chr(value),))
    if kind is op.IN:
        return _letters(value)
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return _NOTHING
    if kind is op.SUBPATTERN and not value[1] & re.IGNORECASE:
        return _exactly_all(value[3])
    if kind is op.BRANCH:
        each = [_exactly_all(way) for way in value[1]]
        strings = frozenset[str]().union(*filter(None, each))
        return None if None in each or len(strings) > _MOST else strings
    if kind in _REPEATS and value[1] == 1 and (once := _exactly_all(value[2])):
        return once if value[0] else once | _NOTHING
    return None


def _exactly_all(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    strings: Strings | None = _NOTHING
    for kind, value in items:
        exact = _exactly(kind, value)
        strings = exact and strings and _joined(strings, exact)
        if strings is None:
            return None
    return strings


def _joined(first: Strings, then: Strings) -> Strings | None:
    """Each string with each that may follow; None if they are many."""
    return frozenset(map("".join, product(first, then))) if len(first) * len(then) <= _MOST else None


def _fewest(part: Strings) -> Strings:
    """The strings of which every other one holds one."""
    return frozenset(one for one in part if not any(other in one for other in part if other != one))


def _in_any_case(items: Iterable[tuple[Any, Any]]) -> Strings | None:
    """Three letters in a row of a sequence, in small letters or capitals; none that has more forms than two."""
    run = "".join(chr(value) if kind is op.LITERAL else " " for kind, value in items)
    letters = re.search(r"[a-hj-jl-rt-z]{3}", run)
    return letters and frozenset(map("".join, product(*({letter, letter.upper()} for letter in letters[0]))))


def _is_rare(string: str) -> bool:
    return len(string) > 1 or (bool(string) and not (string.isascii() and (string.isalnum() or string.isspace())))


def _letters(members: list[tuple[Any, Any]]) -> Strings | None:
    """The characters of a set that lists them, each as a string."""
    if len(members) > _SET or any(kind is not op.LITERAL for kind, _ in members):
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
