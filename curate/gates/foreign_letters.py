"""Detects words with letters that a language in Latin script does not use, such as Polish words in a Czech text.

It also recognises legitimate text in another language: one that the input names, or names from the source.

foreign_spelling("Prosím vracejte je, dziękujemy za pomoc.", "cs", "") == "dziękujemy"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import FOLDER, extra_letters, lexicon
from curate.gates.words import words

_WORD = re.compile(r"(?<![\w.@/'\u2019-])[^\W\d_]{3,}(?![\w@/'\u2019-])")
# Letters that loanwords from French, Spanish, Portuguese, German and the Nordic languages keep in any language.
_BORROWED = frozenset("abcdefghijklmnopqrstuvwxyz'àáâãäåæçèéêëìíîïñòóôõöøùúûüœßÿ")


def foreign_spelling(text: str, code: str, given: str) -> str:
    """Return a courtesy or stop word of another language with a letter foreign to `code`, or ''.

    The letter is one that neither `code` nor loanwords use, and `given` does not contain the word. Dishes and names
    with such letters do not count, because no list has them all.
    """
    if text.isascii() or not extra_letters(code):
        return ""
    letters, others = _distinctive_letters(code)
    if letters.isdisjoint(text):
        return ""
    return next((word for word in _WORD.findall(fold(text)) if word in others and word not in given), "")


@cache
def _distinctive_letters(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the letters that distinguish other languages from `code`, and plain words that contain one."""
    codes = [path.stem for path in FOLDER.glob("*.toml") if path.stem != "any"]
    lexicons = [lexicon(other) for other in codes if other != code]
    listed = frozenset[str]().union(*((*one.stop, *one.words("courtesy"), *one.words("thanks")) for one in lexicons))
    letters = frozenset[str]().union(*map(extra_letters, codes)) - extra_letters(code) - _BORROWED
    words = frozenset(word for word in map(fold, listed) if word.isalpha() and not letters.isdisjoint(word))
    return letters | frozenset(map(str.upper, letters)), words


def names_other_language(given: str, language: str, code: str) -> bool:
    """Whether an input names a language other than `code`: `how do I say thank you in Polish?`"""
    codes = (path.stem for path in FOLDER.glob("*.toml"))
    return any(names_language(other, given, language) for other in codes if other not in ("any", code))


def names_language(code: str, given: str, language: str) -> bool:
    """Whether an input names a language in its own words: two lines for a Spanish neighbour may be in Spanish."""
    name = _language_name(code, language)
    return name is not None and name.search(fold(given)) is not None


@cache
def _language_name(code: str, language: str) -> re.Pattern[str] | None:
    """Return a pattern for the start of a language's name in another language.

    A name of one word may be inflected, so it is matched without its last letters.
    """
    from babel import Locale, UnknownLocaleError

    try:
        name = fold(Locale.parse(language).languages.get(code, ""))
    except (UnknownLocaleError, ValueError):
        return None
    stem = name if " " in name else name[: max(_MIN_NAME, len(name) - 2)]
    return re.compile((r"(?<!\w)" if name[:1] < "\u0e00" else "") + re.escape(stem)) if len(name) > 1 else None


_MIN_NAME = 5


def keeps_source_words(given: str, text: str) -> bool:
    """Whether at least half of the words of a translation are also in its source, such as names of dishes."""
    kept = set(words(text))
    return 2 * len(kept.intersection(words(given))) >= len(kept)
