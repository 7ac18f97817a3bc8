"""Patterns with words of the lists in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from curate.gates.phrases import words_of
from curate.gates.phrases.lists import either

_LISTS = re.compile(r"\{([a-z_|]+)\}")


def worded(template: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """A pattern, for folded text, in which `{greet}` is one of the words of that list in all languages and
    `{noon|midnight}` one of two lists. It is compiled when it is first asked for: the lists of all languages are read
    for it."""

    def words(lists: re.Match[str]) -> str:
        return f"(?:{either(word for name in lists[1].split('|') for word in words_of(name))})"

    return cache(lambda: re.compile(_LISTS.sub(words, template), flags))
