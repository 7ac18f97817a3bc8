"""Which of many strings stand in a text, found in one pass (Aho and Corasick 1975): most rules and lists need one that
does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from curate.gates.folding import REMEMBERED

_BREAK = re.compile(r"\W")
_BREAKS = {number: " " for number in range(128) if _BREAK.match(chr(number))}


def finder(strings: Iterable[str], *, words: bool = False) -> Callable[[str], frozenset[str]]:
    """A function that finds those of `strings` that stand in a text, or in `apart` of it where they are `words`."""
    from ahocorasick_rs import AhoCorasick  # a command that only shows needs none

    search = AhoCorasick(sorted(set(strings)), store_patterns=True)

    @lru_cache(maxsize=REMEMBERED)
    def held(text: str) -> frozenset[str]:
        text = f" {apart(text)} " if words else text
        try:
            return frozenset(search.find_matches_as_strings(text, overlapping=True))
        except UnicodeEncodeError:  # half a character, which JSON can escape, stands in no string
            whole = text.encode("utf-8", "replace").decode()
            return frozenset(search.find_matches_as_strings(whole, overlapping=True))

    return held


def apart(text: str) -> str:
    """`text` with a blank for each character that is no part of a word."""
    return text.translate(_BREAKS) if text.isascii() else _BREAK.sub(" ", text)


def spelt(word: str, *, alone: bool) -> str:
    """The longest string in `apart` of every text that holds a word of a list, in which `_` is a blank and `*` any
    letters; `alone`: no letter stands beside it."""
    edge = " " if alone else ""
    parts = (apart(part.replace("_", " ")) for part in f"{edge}{word}{edge}".split("*"))
    return max(parts, key=len) or " "
