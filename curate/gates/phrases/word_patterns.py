"""Regular expressions that include the words of phrase lists, and questions about lists that cost less than `says`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

from curate.gates.folding import fold
from curate.gates.phrases import list_finder, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.search import BIT

_LISTS = re.compile(r"\{([a-z_|]+)\}")


def word_pattern(template: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Return a function that compiles a pattern for folded text, in which `{name}` stands for the words of that list.

    `{greet}` is one of the words of that list in all languages; `{noon|midnight}` is one of two lists. The pattern is
    compiled on the first call, because the lists of all languages have to be read for it.
    """

    def words(lists: re.Match[str]) -> str:
        return f"(?:{alternation(word for name in lists[1].split('|') for word in words_of(name))})"

    return cache(lambda: re.compile(_LISTS.sub(words, template), flags))


@cache
def listed_values(name: str) -> dict[str, str]:
    """Return the words of a list of `word=value` in all languages, folded, with their values."""
    pairs = (pair.replace("_", " ").rpartition("=") for pair in words_of(name))
    return {fold(word): value for word, _, value in pairs}


def listed(name: str) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds the first word of a list in folded text, in any language and at any place in it."""
    pattern = word_pattern(rf"(?<!{LETTER}){{{name}}}(?!{LETTER})")
    return lambda folded: pattern().search(folded)


# A letter or digit of a script that puts spaces between words; 38元 is a number.
LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"


@lru_cache(maxsize=64)  # the style is the same for every row
def demands(style: str, name: str) -> bool:
    """Whether a style has a word of a list, in any language."""
    return says("any", name, fold(style)) is not None


def may_say(language: str, folded: str, *names: str) -> bool:
    """Whether a folded text may contain a word of one of the lists."""
    lists = list_finder(language)(folded).lists
    return any(lists & BIT[name] for name in names)
