"""How much of one text another one says, by the roots of its words: what tells two versions of a text from its parts.

share(roots("the boat is late", "en"), roots("late boats", "en")) == 1.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache, lru_cache

from curate.gates.folding import REMEMBERED, fold
from curate.gates.phrases import lexicon
from curate.gates.words import of_each_word, root_of, without_options, words

_UNSPACED = ("zh", "ja", "ko")
_LETTERS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+|[a-z0-9]+")
BEGINS = 4  # letters by which a word is known again, where the endings differ


@lru_cache(maxsize=REMEMBERED)
def roots(text: str, language: str) -> frozenset[str]:
    """What carries the content of a text: the beginnings of its words of weight, its numbers; pairs of characters in a
    language that writes no blanks, or joins endings to its words."""
    if language in _UNSPACED:
        runs = _LETTERS.findall(fold(text))
        return frozenset(run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1)))
    plain = without_options(text)
    begun = frozenset(filter(None, map(_root_or_number(language), words(plain))))
    return begun if plain is text else begun.union(filter(str.isdigit, words(text)))


@cache
def _root_or_number(language: str) -> Callable[[str], str]:
    root = root_of(language, BEGINS)
    return of_each_word(lambda word: word if word.isdigit() else root(word))


def share(of: frozenset[str], there: frozenset[str]) -> float:
    """The share of the roots `of` that are `there` too; 0 of none."""
    return len(of & there) / len(of) if of else 0.0


def most_twice(of: frozenset[str], text: str, language: str) -> float:
    """What no two parts of a text both exceed: the share of the roots `of` in either. Read from its words alone."""
    if language in _UNSPACED or "--" in text:
        return 1.0
    occurrences = sum(map(of.__contains__, map(_root_or_number(language), words(text))))
    return occurrences // 2 / len(of)


def said_again(text: str, language: str) -> float:
    """What no two parts of a text have more of in common: the number of its roots that it says again. Read from its
    words alone."""
    if language in _UNSPACED or "--" in text:
        return math.inf
    folded = text if text.isascii() else fold(text)  # as its sentences are
    every = list(filter(None, map(_root_or_number(language), words(folded))))
    return len(every) - len(frozenset(every))


def is_known_to(language: str) -> bool:
    """Whether the words of a language that carry no content are known, without which any two texts share some."""
    return language in _UNSPACED or bool(lexicon(language).stop)
