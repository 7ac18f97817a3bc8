"""Words of a text as the gates compare them: folded, and with inflections taken into account.

The words of a language (stop words, irregular forms) are in curate/gates/phrases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from difflib import SequenceMatcher
from functools import cache, cached_property, lru_cache
from itertools import chain, pairwise
from operator import add
from typing import TYPE_CHECKING, TypeVar

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.phrases import lexicon
from curate.words import SIGNS

if TYPE_CHECKING:
    from Stemmer import Stemmer

Result = TypeVar("Result")

# Scripts written without spaces: every character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_LETTER = rf"[^\W_{_UNSPACED}]"
_RUN = rf"(?:{_LETTER}|[{SIGNS}]){_LETTER}*+(?:[{SIGNS}]++{_LETTER}*+)*+"  # letters and vowel signs
_WORD = re.compile(rf"[{_UNSPACED}]|{_RUN}(?:'{_RUN})*")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
# `--ar 16:9` is an option of the image model, not a word of the description.
OPTION = re.compile(r"(?<!\S)--[a-z]\w*(?:[ =][\d.:/]+(?=[,;]?(?:\s|\Z))|[ =]\S+(?=\s+--|\s*$))?")

# ISO 639-1 -> the Snowball algorithm.
_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


@lru_cache(maxsize=CACHE_SIZE)
def words(text: str) -> tuple[str, ...]:
    """Return the folded words in order.

    Hyphenated words are split. In a script without spaces each character is a word.
    """
    folded = text if text.isascii() else fold(text)
    if not folded.isascii():
        return tuple(_WORD.findall(folded))
    split = folded.encode().translate(_FOLDED_OR_SPACE).decode().split()  # ten times faster
    if "'" not in folded:
        return tuple(split)
    return tuple(chain.from_iterable([_WORD.findall(one) if "'" in one else (one,) for one in split]))


_FOLDED_OR_SPACE = bytes(ord(c.lower()) if c.isalnum() or c == "'" else 32 for c in map(chr, range(128))) + bytes(128)


def without_options(text: str) -> str:
    """Return `text` without options such as `--ar 16:9`."""
    return OPTION.sub(" , ", text) if "--" in text else text


@lru_cache(maxsize=CACHE_SIZE)
def count_words(text: str) -> int:
    """Count words as a word counter does: runs without whitespace, and single characters in scripts without spaces."""
    if text.isascii():
        return len(text.split())
    unspaced = len(_UNSPACED_CHARACTER.findall(text))
    return len((_UNSPACED_CHARACTER.sub(" ", text) if unspaced else text).split()) + unspaced


def content_words(text: str, language: str = "en") -> list[str]:
    """Return the distinct words of `text` that carry content: no stop words, no words about the request, no numbers.

    In a language without a stop word list, only the rule "longer than one letter" filters the words.
    """
    return list(dict.fromkeys(filter(None, map(_content_of(language), words(without_options(text))))))


@cache
def _content_of(language: str) -> Callable[[str], str]:
    """Return a function that returns the content part of a word, which is '' for most words."""
    stop, filler_words = lexicon(language).stop, filler(language)

    def content(word: str) -> str:
        plain = word.removesuffix("'s")
        light = word in filler_words or len(plain) < 2 or plain in stop or any(map(str.isdigit, word))
        return "" if light else plain

    return cached_per_word(content)


@cache
def root_finder(language: str, letters: int) -> Callable[[str], str]:
    """Return a function that returns the first letters of the stem of a content word, and '' for other words."""
    content, stem = _content_of(language), stemmer_for(language)
    return cached_per_word(lambda word: stem(content(word))[:letters] if content(word) else "")


@cache
def filler(language: str) -> frozenset[str]:
    """Return the words of a language that carry no content, and those about the request."""
    return lexicon(language).stop | lexicon(language).words("asking")


def has_stemmer(language: str) -> bool:
    """Whether inflected forms of a word of `language` can be recognised as the same word."""
    return _stemmer(language) is not None


@cache
def stemmer_for(language: str) -> Callable[[str], str]:
    """Return a function that returns what the inflected forms of a word have in common: by table for irregular forms,
    else the Snowball stem.

    In a language without a stemmer this is the word itself.
    """
    irregular, stemmer = lexicon(language).irregular, _stemmer(language)

    def stem(word: str) -> str:
        plain = word.removesuffix("'s")
        plain = irregular.get(plain, plain)
        return str(stemmer.stemWord(plain)) if stemmer else plain

    return cached_per_word(stem)


def cached_per_word(function: Callable[[str], Result]) -> Callable[[str], Result]:
    """Return a cached version of a `function` of a word: each distinct word is computed once for all texts."""
    return _WordCache(function).__getitem__


class _WordCache(dict[str, Result]):
    """A bounded cache of a function of a word.

    It is cleared when it holds too many words. Long words, such as a file in base64, are not cached.
    """

    def __init__(self, function: Callable[[str], Result]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, word: str) -> Result:
        result = self._function(word)
        if len(word) <= _LONGEST_CACHED_WORD:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = result
        return result


_MAX_CACHED_WORDS, _LONGEST_CACHED_WORD = 1 << 15, 64  # number of words; letters of one


@cache
def _stemmer(language: str) -> Stemmer | None:
    from Stemmer import Stemmer

    name = _STEMMERS.get(language)
    return Stemmer(name, 0) if name else None  # 0: `stem` has its own cache


_MAX_RESEMBLED = 3_000  # distinct words of a text that are compared letter by letter
_SAME_START = 2  # letters that a compound and its inflections share at the start


class Vocabulary:
    """The words of one text in `language`, with a test for whether a word of another text survives in it."""

    def __init__(self, text: str, language: str = "en") -> None:
        self.words = words(text)
        self.language = language
        self._distinct = frozenset(self.words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(map(stemmer_for(self.language), self._distinct))

    @cached_property
    def _joined(self) -> str:
        """Adjacent words written as one (`lighthouse` for `light house`), one per line."""
        return "\n".join(("", *map(add, self.words, self.words[1:]), ""))

    def _is_joined(self, word: str, root: str) -> bool:
        """Whether joined neighbours that begin with the same two letters as a word have its stem, `root`."""
        begins, stem = f"\n{word[:_SAME_START]}", stemmer_for(self.language)
        at = self._joined.find(begins) if len(word) >= _SAME_START else -1
        while at >= 0:
            end = self._joined.index("\n", at + 1)
            if stem(self._joined[at + 1 : end]) == root:
                return True
            at = self._joined.find(begins, end)
        return False

    def inflected(self, words: Iterable[str]) -> set[str]:
        """Return those of `words` that occur in some form. A word is skipped if no word of the text begins like it."""
        lines, stem, stems = "\n".join(("", *self.words)), stemmer_for(self.language), self._stems
        return {word for word in words if f"\n{word[:_SAME_START]}" in lines and stem(word) in stems}

    def __contains__(self, word: str) -> bool:
        """True for the word itself, an inflection, its two halves side by side, its abbreviation or its misspelling.

        A longer word that begins with it is another word (`lighthouse` is not `light`), and so is a shorter one.
        Not covered: synonyms and derived words (`baker` for `bake`), and in a text of more than 3,000 distinct words,
        where nearly any word has one that resembles it, all but inflections.
        """
        if word in self._distinct:
            return True
        root = stemmer_for(self.language)(word)
        if root in self._stems:
            return True
        if len(self._distinct) > _MAX_RESEMBLED:
            return False
        return (
            self._is_joined(word, root)
            or _abbreviated(word, self._distinct)
            or (len(word) >= 6 and _misspelt(word, self._by_letter.get(word[0], ())))
        )

    @cached_property
    def _by_letter(self) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {}
        for word in self._distinct:
            words.setdefault(word[0], []).append(word)
        return words


def joined_neighbours(gone: Collection[str], text: str, vocabulary: Vocabulary) -> set[str]:
    """Return the words of `text` that `vocabulary` writes together with a neighbour: `light house` as `lighthouse`.

    Only words of `gone` and their neighbours are considered.
    """
    neighbours = [pair for pair in pairwise(words(without_options(text))) if pair[0] in gone or pair[1] in gone]
    there = vocabulary.inflected(map("".join, neighbours))
    return {word for pair in neighbours if "".join(pair) in there for word in pair} if there else there


_VOWELS = frozenset("aeiouy")


def _abbreviated(word: str, vocabulary: Collection[str]) -> bool:
    """Whether a word may be an abbreviation: `acct` for account, `dmgd` for damaged.

    It has hardly any vowel after the first letter, and all its letters occur in order. Latin letters only, because the
    vowels of other scripts are not known here.
    """
    if not 2 <= len(word) <= 6 or not word.isascii() or not _VOWELS.isdisjoint(word[1:]):
        return False
    return any(len(w) > len(word) and w[0] == word[0] and _in_order(word, w) for w in vocabulary)


def _in_order(letters: str, word: str) -> bool:
    rest = iter(word)
    return all(letter in rest for letter in letters)


def _misspelt(word: str, vocabulary: Collection[str]) -> bool:
    """Whether a word is similar to one of a vocabulary: of about the same length, with 85 % of the letters in order.

    All words of the vocabulary begin with the same letter.
    """
    letters = set(word)
    near = (w for w in vocabulary if abs(len(w) - len(word)) <= 2 and _may_be_alike(word, letters, w))
    matchers = (SequenceMatcher(None, word, w, autojunk=False) for w in near)
    return any(matcher.quick_ratio() >= _MIN_RATIO and matcher.ratio() >= _MIN_RATIO for matcher in matchers)


_MIN_RATIO = 0.85


def _may_be_alike(word: str, letters: set[str], other: str) -> bool:
    """Whether few enough letters of a word are missing in another one for their ratio to reach _MIN_RATIO."""
    return 2 * (len(word) - len(letters.difference(other))) >= _MIN_RATIO * (len(word) + len(other))
