"""Which language a text is in: by a trained identifier (py3langid), by script, by letters that only one language has,
and by stop words."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection
from copy import copy
from functools import cache, lru_cache
from itertools import chain, repeat
from typing import Any

from curate.gates.folding import CACHE_SIZE
from curate.gates.phrases import FOLDER, lexicon, unique_letters
from curate.gates.words import words
from schemas.errors import SpecError

# Languages that a teacher is likely to slip into. The model knows 140; the small ones only take probability away in a
# short text, so they are left out unless the task asks for one.
WRITTEN = """
af ar bg bn ca cs cy da de el en es et eu fa fi fr gl he hi hr hu id it ja ka ko lt lv mk ms nl no pl pt ro ru sk sl sq
sr sv sw ta te th tl tr uk ur vi zh
"""
# Languages that the model cannot distinguish in short texts count as one.
_SIBLINGS = ("no nn da", "hr sr bs", "es gl ca", "id ms", "cs sk", "bg mk", "zh yue wuu", "nl af", "hi mr ne")
NON_LATIN = {
    "CYRILLIC": "ru uk bg mk sr be kk ky mn tg tt ba",
    "ARABIC": "ar fa ur ps ug ku sdh arz ary",
    "CJK": "zh ja ko wuu yue", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko",
    "DEVANAGARI": "hi mr ne sa gom", "GREEK": "el grc", "HEBREW": "he hbo", "THAI": "th", "BENGALI": "bn as",
    "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka", "ARMENIAN": "hy", "GUJARATI": "gu", "KANNADA": "kn",
    "MALAYALAM": "ml", "GURMUKHI": "pa", "ORIYA": "or", "SINHALA": "si", "KHMER": "km", "LAO": "lo", "MYANMAR": "my",
    "ETHIOPIC": "am", "TIBETAN": "dz",
}  # fmt: skip
MIN_LETTERS = 60  # of a text that is identified
SURE, UNLIKELY = 0.95, 0.001  # probabilities of another language and of the expected one, to reject a text
_EVIDENT_SHARE = 0.25  # of stop words


def check_language(code: str) -> None:
    """Raises SpecError if the identifier does not know the language `code`."""
    if not is_known(code):
        raise SpecError(
            f"'task.language': the language gate does not know '{code}'.",
            why="It could not distinguish texts in this language from others.",
            fix="Use a two-letter ISO 639-1 code such as 'en' or 'de', or set curate.gates.language = false.",
        )


def is_known(code: str) -> bool:
    """Whether the identifier knows a language. For widely written ones its model (100 MB) is not loaded to find out."""
    if code in WRITTEN.split():
        return True
    try:
        _identifier(code)
    except ValueError:
        return False
    return True


@cache
def relatives(code: str) -> frozenset[str]:
    return frozenset({code}.union(*(group.split() for group in _SIBLINGS if code in group.split())))


@cache
def shared_identifier() -> Any:  # of all languages; to restrict it, copy it
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _identifier(code: str) -> Any:
    """Return the identifier restricted to the candidates for a task in `code`; their probabilities sum to one."""
    identifier = copy(shared_identifier())  # shares the model's tables
    identifier.set_languages({*WRITTEN.split(), *relatives(code)} & {*identifier.labels, code})
    return identifier


def identified(text: str, codes: Collection[str]) -> str:
    """Return which of the languages `codes` a text is in, if that is certain; else ''."""
    known = {code for code in codes if is_known(code)}
    if len(known) < 2 or len(letters_of(text)) < 12:
        return ""
    identifier = copy(shared_identifier())
    identifier.set_languages(known)
    best = max(identifier.rank(text), key=lambda one: float(one[1]))
    return str(best[0]) if best[1] >= SURE else ""


@lru_cache(maxsize=CACHE_SIZE)
def own_and_best_other(text: str, code: str) -> tuple[float, float, str]:
    """Return the probability of `code`, that of the likeliest other language, and its code; relatives are included."""
    left = dict(_identifier(code).rank(text))
    expected = math.fsum(left.pop(lang, 0.0) for lang in relatives(code))
    best = max(left, key=lambda lang: left[lang])
    return expected, math.fsum(left.get(lang, 0.0) for lang in relatives(best)), best


@lru_cache(maxsize=CACHE_SIZE)
def letters_of(text: str) -> str:
    if text.isascii():
        return text.encode().translate(None, _NO_LETTERS).decode()
    return "".join(filter(str.isalpha, text))


_NO_LETTERS = bytes(number for number in range(128) if not chr(number).isalpha())


@cache
def script(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]


def foreign_script(letters: str, code: str, least: int = MIN_LETTERS) -> str:
    """Return the script, not of `code`, of more than half of the letters and at least four; or ''."""
    if letters.isascii():
        return "LATIN" if writes_no_latin(code) and len(letters) >= least else ""
    scripts = Counter(map(script, letters))
    foreign = {s: n for s, n in scripts.items() if s in NON_LATIN and code not in NON_LATIN[s].split()}
    total = sum(foreign.values())
    return max(foreign, key=lambda s: foreign[s]) if total >= 4 and 2 * total > len(letters) else ""


@cache
def writes_no_latin(code: str) -> bool:
    return code != "sr" and any(code in codes.split() for codes in NON_LATIN.values())


def language_of_letters(text: str, code: str, given: str, least: int = 2) -> str:
    """Return the language whose unique letters occur in a text without any of `code`, or ''.

    Two letters that are not in the input are needed, or `least` in a longer text.
    """
    own = unique_letters()
    if code not in own or text.isascii() or not own[code].isdisjoint(text):
        return ""
    for other in MIXED_WITH[code]:
        foreign = [letter for letter in text if letter in own[other] and letter not in given]
        if foreign and len(text) <= _MAX_LABEL and code == "ja" and script(text[0]) != "LATIN":
            return other
        if (
            len(set(foreign)) > 1
            or (len(foreign) >= least and len(text) >= _MIN_WITHOUT_OWN)
            or (foreign and len(text) > 2 * _MIN_WITHOUT_OWN)
            or (foreign and code == "ja" and len(text) >= _MIN_CLAUSE)
        ):
            return other
    return ""


# Languages whose unique letters do not belong in a text of the other language.
MIXED_WITH = {"ja": ("zh",), "zh": ("ja",), "uk": ("ru",), "ru": ("uk",), "cs": ("sk",), "sk": ("cs",)}
_MAX_LABEL, _MIN_CLAUSE = 6, 10  # characters of a label without kana; characters of a clause without kana
_MIN_WITHOUT_OWN = 20  # characters of a text without a letter unique to its language


@lru_cache(maxsize=CACHE_SIZE)
def is_evident(text: str, code: str, least: int = 5) -> bool:
    """Whether a text has so many stop words of `code`, and few of other languages, that it need not be identified."""
    counts = count_stop_words(text)
    own = counts[code]
    if own < least or own < _EVIDENT_SHARE * len(words(text)):
        return False
    return own >= 2 * [0, *sorted(counts.values())][-2]  # if another language has more, it is one of the last two


@lru_cache(maxsize=CACHE_SIZE)
def count_stop_words(text: str) -> Counter[str]:
    """Count the stop words of each language in a text."""
    return Counter(chain.from_iterable(map(languages_of_stop_words().get, words(text), repeat(()))))


@cache
def languages_of_stop_words() -> dict[str, tuple[str, ...]]:
    """Map each stop word to the languages that have it."""
    tables = {path.stem: lexicon(path.stem).stop for path in FOLDER.glob("*.toml")}
    return {
        word: tuple(code for code, stop in tables.items() if word in stop)
        for word in frozenset().union(*tables.values())
    }
