"""Words of a language of the Latin script in letters that its own texts do not write, Polish ones in Czech; and what of
another language is right in a text: one that the input names, names of its source.

spelt_otherwise("Prosím vracejte je, dziękujemy za pomoc.", "cs", "") == "dziękujemy"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import FOLDER, letters_of, lexicon
from curate.gates.words import words

_WORD = re.compile(r"(?<![\w.@/'\u2019-])[^\W\d_]{3,}(?![\w@/'\u2019-])")
# Letters that words borrowed from French, Spanish, Portuguese, German and the languages of the north keep anywhere.
_BORROWED = frozenset("abcdefghijklmnopqrstuvwxyz'àáâãäåæçèéêëìíîïñòóôõöøùúûüœßÿ")


def spelt_otherwise(text: str, code: str, given: str) -> str:
    """A word of courtesy or a stop word of another language, which `given` does not say, with a letter that neither
    `code` writes nor a borrowed word keeps; or ''. A dish or a name in such letters is none: no list has them all."""
    if text.isascii() or not letters_of(code):
        return ""
    letters, others = _telling(code)
    if letters.isdisjoint(text):
        return ""
    return next((word for word in _WORD.findall(fold(text)) if word in others and word not in given), "")


@cache
def _telling(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """The letters of other alphabets that tell a text of another language from one in `code`, and plain words that have
    one."""
    codes = [path.stem for path in FOLDER.glob("*.toml") if path.stem != "any"]
    lexicons = [lexicon(other) for other in codes if other != code]
    listed = frozenset[str]().union(*((*one.stop, *one.words("courtesy"), *one.words("thanks")) for one in lexicons))
    letters = frozenset[str]().union(*map(letters_of, codes)) - letters_of(code) - _BORROWED
    words = frozenset(word for word in map(fold, listed) if word.isalpha() and not letters.isdisjoint(word))
    return letters | frozenset(map(str.upper, letters)), words


def names_another(given: str, language: str, code: str) -> bool:
    """Whether an input names a language other than `code`: `how do I say thank you in Polish?`"""
    codes = (path.stem for path in FOLDER.glob("*.toml"))
    return any(is_named(other, given, language) for other in codes if other not in ("any", code))


def is_named(code: str, given: str, language: str) -> bool:
    """Whether an input names a language, as its own names it: two lines for a Spanish neighbour may be in Spanish."""
    name = _named(code, language)
    return name is not None and name.search(fold(given)) is not None


@cache
def _named(code: str, language: str) -> re.Pattern[str] | None:
    """The start of a language's name in another: of one word in any case, so less its last letters."""
    from babel import Locale, UnknownLocaleError

    try:
        name = fold(Locale.parse(language).languages.get(code, ""))
    except (UnknownLocaleError, ValueError):
        return None
    stem = name if " " in name else name[: max(_LETTERS, len(name) - 2)]
    return re.compile((r"(?<!\w)" if name[:1] < "\u0e00" else "") + re.escape(stem)) if len(name) > 1 else None


_LETTERS = 5


def keeps_words(given: str, text: str) -> bool:
    """Whether half of the words of a translation are those of its source: names of dishes are of no other language."""
    kept = set(words(text))
    return 2 * len(kept.intersection(words(given))) >= len(kept)
