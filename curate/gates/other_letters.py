"""Words of a language of the Latin script in letters that its own texts do not write, Polish ones in Czech; and what of
another language is right in a text: one that the input names, names of its source.

spelt_otherwise("Prosím vracejte je, dziękujemy za pomoc.", "cs", "") == "dziękujemy"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import FOLDER, letters_of
from curate.gates.words import words

_SMALL_WORD = re.compile(r"(?<![\w.@/'\u2019-])[^\W\d_A-Z]{4,}(?![\w@/'\u2019-])")
# Letters that words borrowed from French, Spanish, Portuguese, German and the languages of the north keep anywhere.
_BORROWED = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüœßÿ")


def spelt_otherwise(text: str, code: str, given: str) -> str:
    """A word in small letters, which `given` does not say, with a letter that neither `code` writes nor a borrowed word
    keeps; or ''. English borrows too freely."""
    if text.isascii() or code == "en" or not letters_of(code):
        return ""
    foreign = _telling(code).intersection(text)
    if not foreign:
        return ""
    words = (word for word in _SMALL_WORD.findall(text) if word.islower() and not foreign.isdisjoint(word))
    return next((word for word in words if fold(word) not in given), "")


@cache
def _telling(code: str) -> frozenset[str]:
    """The letters of other alphabets that tell a text of another language from one in `code`."""
    every = frozenset[str]().union(*(letters_of(path.stem) for path in FOLDER.glob("*.toml")))
    return every - letters_of(code) - _BORROWED - frozenset("abcdefghijklmnopqrstuvwxyz'")


def is_named(code: str, given: str, language: str) -> bool:
    """Whether an input names a language, as its own names it: two lines for a Spanish neighbour may be in Spanish."""
    from babel import Locale, UnknownLocaleError

    try:
        name = fold(Locale.parse(language).languages.get(code, ""))
    except (UnknownLocaleError, ValueError):
        return False
    return len(name) > 1 and name[: max(4, len(name) - 2)] in fold(given)


def keeps_words(given: str, text: str) -> bool:
    """Whether half of the words of a translation are those of its source: names of dishes are of no other language."""
    kept = set(words(text))
    return 2 * len(kept.intersection(words(given))) >= len(kept)
