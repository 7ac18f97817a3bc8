"""Questions about lists of words that cost less than `says`, for styles and for texts that are searched for others."""

from __future__ import annotations

from functools import lru_cache

from curate.gates.folding import fold
from curate.gates.phrases import list_finder, says
from curate.gates.phrases.search import BIT


@lru_cache(maxsize=64)  # the style is the same for every row
def demands(style: str, name: str) -> bool:
    """Whether a style has a word of a list, in any language."""
    return says("any", name, fold(style)) is not None


def may_say(language: str, folded: str, *names: str) -> bool:
    """Whether a folded text may contain a word of one of the lists."""
    lists = list_finder(language)(folded).lists
    return any(lists & BIT[name] for name in names)
