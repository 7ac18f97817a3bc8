"""Which of many strings stand in a text, found in one pass (Aho and Corasick 1975): most rules and lists need one that
does not.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import islice
from operator import or_
from typing import NamedTuple

from curate.gates.folding import REMEMBERED

_BREAK = re.compile(r"\W")
_BREAKS = bytes(ord(" ") if _BREAK.match(chr(number)) else number for number in range(128)) + bytes(128)


def finder(strings: Iterable[str], *, words: bool = False) -> Callable[[str], frozenset[str]]:
    """A function that finds those of `strings` that stand in a text, or in `apart` of it where they are `words`."""
    from ahocorasick_rs import AhoCorasick  # a command that only shows needs none

    search = AhoCorasick(sorted(set(strings)), store_patterns=True)

    @lru_cache(maxsize=REMEMBERED)
    def held(text: str) -> frozenset[str]:
        text = f" {apart(text)} " if words else text
        try:
            return frozenset(search.find_matches_as_strings(text, overlapping=True))
        except UnicodeEncodeError:
            return frozenset(search.find_matches_as_strings(_whole(text), overlapping=True))

    return held


def placer(strings: Sequence[str]) -> Callable[[str], list[tuple[int, int, int]]]:
    """A function that finds which of `strings` stand in `apart` of a text and where: the number of each, and the
    places in the text where it begins and ends; a blank before the text or behind it is found too."""
    from ahocorasick_rs import AhoCorasick

    search = AhoCorasick(strings, store_patterns=False)

    def placed(text: str) -> list[tuple[int, int, int]]:
        text = f" {apart(text)} "
        try:
            return search.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:
            return search.find_matches_as_indexes(_whole(text), overlapping=True)

    return placed


BIT: defaultdict[str, int] = defaultdict(lambda: 1 << len(BIT))  # of each list one, the same in every language


_NO: array[int] = array("I")


class Spoken(NamedTuple):
    """Of which lists a text may say a word, a BIT for each, and which of their strings stand in it, and where."""

    lists: int
    strings: array[int]  # their numbers
    starts: array[int]


def listener(strings: Mapping[str, Mapping[str, bool]], usual: Iterable[str]) -> Callable[[str], Spoken]:
    """A function that finds of which lists a text may say a word: the `usual` ones, and those of the `strings` in it,
    as `strings_for` gives them."""
    placed, always = placer(list(strings)), reduce(or_, map(BIT.__getitem__, usual))
    lists_of = [reduce(or_, map(BIT.__getitem__, lists)) for lists in strings.values()]

    @lru_cache(maxsize=REMEMBERED)
    def spoken(text: str) -> Spoken:
        places = placed(text)
        numbers, starts = (array("I", side) for side in islice(zip(*places, strict=True), 2)) if places else (_NO, _NO)
        return Spoken(reduce(or_, map(lists_of.__getitem__, numbers), always), numbers, starts)

    return spoken


def strings_for(lists: Mapping[str, Iterable[str]], *, alone: bool) -> dict[str, dict[str, bool]]:
    """What to look for in a text: strings, the lists each is for, and whether a word of the list begins with it."""
    strings = dict[str, dict[str, bool]]()
    for name, words in lists.items():
        for word in words:
            if word[0] != "!":
                of = strings.setdefault(spelt(word, alone=alone), {})
                of[name] = of.get(name, alone) and leads(word, alone=alone)
    return strings


def strings_of(strings: Mapping[str, Mapping[str, bool]], name: str) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of the strings of one list: those that a word begins with, and those that stand within one."""
    leads = {number: lists[name] for number, lists in enumerate(strings.values()) if name in lists}
    leading = frozenset(number for number in leads if leads[number])
    return leading, frozenset(leads.keys() - leading)


def matches(pattern: re.Pattern[str], text: str, starts: Iterable[int]) -> Iterator[re.Match[str]]:
    """What `pattern.finditer(text)` gives, if every match begins at one of `starts`."""
    end = 0
    for start in sorted(starts):
        if start >= end and (match := pattern.match(text, start)):
            yield match
            end = match.end()


def _whole(text: str) -> str:
    """`text` with a mark for each half of a character, which JSON can escape, and which stands in no string."""
    return text.encode("utf-8", "replace").decode()


def apart(text: str) -> str:
    """`text` with a blank for each character that is no part of a word."""
    return text.encode().translate(_BREAKS).decode() if text.isascii() else _BREAK.sub(" ", text)


def spelt(word: str, *, alone: bool) -> str:
    """The longest string in `apart` of every text that holds a word of a list, in which `_` is a blank and `*` any
    letters; `alone`: no letter stands beside it."""
    return max(_parts(word, alone=alone), key=lambda part: (not part.isspace(), len(part))) or " "


def leads(word: str, *, alone: bool) -> bool:
    """Whether a word of a list begins with what `spelt` gives of it, behind a blank if it stands alone."""
    first, *_ = parts = _parts(word, alone=alone)
    return bool(first.strip()) and len(first) == max(map(len, parts))


def _parts(word: str, *, alone: bool) -> list[str]:
    edge = " " if alone else ""
    return [apart(part.replace("_", " ")) for part in f"{edge}{word}{edge}".split("*")]
