"""Finds which of many strings occur in a text, in one pass (Aho and Corasick 1975).

Most rules and lists need a string that most texts do not contain, so this avoids most searches.
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

from curate.gates.folding import CACHE_SIZE

_BREAK = re.compile(r"\W")
_BREAKS = bytes(ord(" ") if _BREAK.match(chr(number)) else number for number in range(128)) + bytes(128)


def string_finder(strings: Iterable[str], *, words: bool = False) -> Callable[[str], frozenset[str]]:
    """Return a function that returns those of `strings` that occur in a text.

    With `words`, they are searched for in the text with a space in place of each non-word character.
    """
    from ahocorasick_rs import AhoCorasick  # imported here because commands that only display results do not need it

    search = AhoCorasick(sorted(set(strings)), store_patterns=True)

    @lru_cache(maxsize=CACHE_SIZE)
    def held(text: str) -> frozenset[str]:
        text = f" {spaced(text)} " if words else text
        try:
            return frozenset(search.find_matches_as_strings(text, overlapping=True))
        except UnicodeEncodeError:
            return frozenset(search.find_matches_as_strings(_without_surrogates(text), overlapping=True))

    return held


def string_locator(strings: Sequence[str]) -> Callable[[str], list[tuple[int, int, int]]]:
    """Return a function that locates `strings` in a text, with a space in place of each non-word character.

    It returns the index of each string, and its start and end in the text; a space before or after the text counts as
    part of it.
    """
    from ahocorasick_rs import AhoCorasick

    search = AhoCorasick(strings, store_patterns=False)

    def locate(text: str) -> list[tuple[int, int, int]]:
        text = f" {spaced(text)} "
        try:
            return search.find_matches_as_indexes(text, overlapping=True)
        except UnicodeEncodeError:
            return search.find_matches_as_indexes(_without_surrogates(text), overlapping=True)

    return locate


BIT: defaultdict[str, int] = defaultdict(lambda: 1 << len(BIT))  # one bit per list, the same in every language


_EMPTY: array[int] = array("I")


class ListHits(NamedTuple):
    """The lists that a text may contain a word of, as a mask of BIT, and the strings that occur in it and where."""

    lists: int
    strings: array[int]  # their indexes
    starts: array[int]


def hits_finder(strings: Mapping[str, Mapping[str, bool]], usual: Iterable[str]) -> Callable[[str], ListHits]:
    """Return a function that finds the lists that a text may contain a word of.

    These are the `usual` lists, and those of the `strings` (as returned by `strings_for`) that occur in it.
    """
    locate, always = string_locator(list(strings)), reduce(or_, map(BIT.__getitem__, usual))
    lists_of = [reduce(or_, map(BIT.__getitem__, lists)) for lists in strings.values()]

    @lru_cache(maxsize=CACHE_SIZE)
    def find_hits(text: str) -> ListHits:
        places = locate(text)
        numbers, starts = (
            (array("I", side) for side in islice(zip(*places, strict=True), 2)) if places else (_EMPTY, _EMPTY)
        )
        return ListHits(reduce(or_, map(lists_of.__getitem__, numbers), always), numbers, starts)

    return find_hits


def strings_for(lists: Mapping[str, Iterable[str]], *, alone: bool) -> dict[str, dict[str, bool]]:
    """Return the strings to search a text for, each with its lists.

    The value of a list is True if each of its words with this string begins with it.
    """
    strings = dict[str, dict[str, bool]]()
    for name, words in lists.items():
        for word in words:
            if word[0] != "!":
                lists_of_string = strings.setdefault(longest_literal(word, alone=alone), {})
                lists_of_string[name] = lists_of_string.get(name, alone) and starts_with_literal(word, alone=alone)
    return strings


def strings_of(strings: Mapping[str, Mapping[str, bool]], name: str) -> tuple[frozenset[int], frozenset[int]]:
    """Return the indexes of the strings of one list: those at the start of its words, and those inside them."""
    leads = {number: lists[name] for number, lists in enumerate(strings.values()) if name in lists}
    leading = frozenset(number for number in leads if leads[number])
    return leading, frozenset(leads.keys() - leading)


def matches(pattern: re.Pattern[str], text: str, starts: Iterable[int]) -> Iterator[re.Match[str]]:
    """Yield what `pattern.finditer(text)` does, provided that every match begins at one of `starts`."""
    end = 0
    for start in sorted(starts):
        if start >= end and (match := pattern.match(text, start)):
            yield match
            end = match.end()


def _without_surrogates(text: str) -> str:
    """Replace each unpaired surrogate in `text` by a question mark, which occurs in none of the strings.

    JSON can escape such halves of a character.
    """
    return text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=CACHE_SIZE)
def spaced(text: str) -> str:
    """Return `text` with a space in place of each character that is not part of a word."""
    return text.encode().translate(_BREAKS).decode() if text.isascii() else _BREAK.sub(" ", text)


def longest_literal(word: str, *, alone: bool) -> str:
    """Return the longest string that every text with the word contains, after `spaced`.

    `word` is in list syntax, where `_` is a space and `*` any letters. With `alone`, it has no letter on either side.
    """
    return max(_literals(word, alone=alone), key=lambda part: (not part.isspace(), len(part))) or " "


def starts_with_literal(word: str, *, alone: bool) -> bool:
    """Whether a word of a list begins with what `longest_literal` returns for it, after a space if it stands alone."""
    first, *_ = parts = _literals(word, alone=alone)
    return bool(first.strip()) and len(first) == max(map(len, parts))


def _literals(word: str, *, alone: bool) -> list[str]:
    edge = " " if alone else ""
    return [spaced(part.replace("_", " ")) for part in f"{edge}{word}{edge}".split("*")]
