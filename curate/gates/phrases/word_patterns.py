"""Regular expressions that include the words of phrase lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from curate.gates.phrases import words_of
from curate.gates.phrases.lists import alternation

_LISTS = re.compile(r"\{([a-z_|]+)\}")


def word_pattern(template: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Return a function that compiles a pattern for folded text, in which `{name}` stands for the words of that list.

    `{greet}` is one of the words of that list in all languages; `{noon|midnight}` is one of two lists. The pattern is
    compiled on the first call, because the lists of all languages have to be read for it.
    """

    def words(lists: re.Match[str]) -> str:
        return f"(?:{alternation(word for name in lists[1].split('|') for word in words_of(name))})"

    return cache(lambda: re.compile(_LISTS.sub(words, template), flags))
