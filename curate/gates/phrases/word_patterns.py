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


def listed(name: str) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds the first word of a list in folded text, in any language and at any place in it."""
    pattern = word_pattern(rf"(?<!{_LETTER}){{{name}}}(?!{_LETTER})")
    return lambda folded: pattern().search(folded)


# A letter of a script that puts spaces between words.
_LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
