"""How much of one text is contained in another, measured by word roots.

This distinguishes two versions of a text from two parts of one.

share(roots("the boat is late", "en"), roots("late boats", "en")) == 1.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache, lru_cache

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.phrases import lexicon
from curate.gates.words import cached_per_word, root_finder, without_options, words

_UNSPACED = ("zh", "ja", "ko")
_LETTERS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+|[a-z0-9]+")
ROOT_LETTERS = 4  # letters by which a word is recognised when its ending differs


@lru_cache(maxsize=CACHE_SIZE)
def roots(text: str, language: str) -> frozenset[str]:
    """Return what carries the content of a text: the beginnings of its content words, and its numbers.

    In a language that writes no spaces, or attaches endings to its words, these are pairs of characters.
    """
    if language in _UNSPACED:
        runs = _LETTERS.findall(fold(text))
        return frozenset(run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1)))
    plain = without_options(text)
    word_roots = frozenset(filter(None, map(_root_or_number(language), words(plain))))
    return word_roots if plain is text else word_roots.union(filter(str.isdigit, words(text)))


@cache
def _root_or_number(language: str) -> Callable[[str], str]:
    root = root_finder(language, ROOT_LETTERS)
    return cached_per_word(lambda word: word if word.isdigit() else root(word))


def share(of: frozenset[str], there: frozenset[str]) -> float:
    """Return the share of the roots `of` that are also in `there`; 0 if `of` is empty."""
    return len(of & there) / len(of) if of else 0.0


def max_share_in_two_parts(of: frozenset[str], text: str, language: str) -> float:
    """Return an upper bound for the share of the roots `of` that two different parts of a text can both contain.

    It is computed from the words of the whole text alone.
    """
    if language in _UNSPACED or "--" in text:
        return 1.0
    occurrences = sum(map(of.__contains__, map(_root_or_number(language), words(text))))
    return occurrences // 2 / len(of)


def count_repeated_roots(text: str, language: str) -> float:
    """Return an upper bound for the number of roots that two different parts of a text can have in common.

    It is the number of repeated roots, computed from the words of the whole text alone.
    """
    if language in _UNSPACED or "--" in text:
        return math.inf
    folded = text if text.isascii() else fold(text)  # like its sentences
    every = list(filter(None, map(_root_or_number(language), words(folded))))
    return len(every) - len(frozenset(every))


def has_known_stop_words(language: str) -> bool:
    """Whether the stop words of a language are known; without them any two texts have words in common."""
    return language in _UNSPACED or bool(lexicon(language).stop)
