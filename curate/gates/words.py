"""Words of a text as the gates compare them: folded, inflections allowed for.

The words of a language (stop words, irregular forms) stand in curate/gates/phrases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import SequenceMatcher
from functools import cache, cached_property, lru_cache
from itertools import chain, pairwise
from operator import add
from typing import TYPE_CHECKING, TypeVar

from curate.gates.folding import REMEMBERED, fold
from curate.gates.phrases import lexicon
from curate.words import SIGNS

if TYPE_CHECKING:
    from Stemmer import Stemmer

Of = TypeVar("Of")

# Scripts written without spaces: every character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_LETTER = rf"[^\W_{_UNSPACED}]"
_RUN = rf"(?:{_LETTER}|[{SIGNS}]){_LETTER}*+(?:[{SIGNS}]++{_LETTER}*+)*+"  # of letters, and of signs of vowels
_WORD = re.compile(rf"[{_UNSPACED}]|{_RUN}(?:'{_RUN})*")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
# `--ar 16:9`: an option of the image model, not a word of the description.
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


@lru_cache(maxsize=REMEMBERED)
def words(text: str) -> tuple[str, ...]:
    """The folded words in order; hyphenated words are split, and a character of an unspaced script is a word."""
    folded = fold(text)
    if not folded.isascii():
        return tuple(_WORD.findall(folded))
    split = folded.encode().translate(_NO_WORD).decode().split()  # which takes a tenth of the time
    if "'" not in folded:
        return tuple(split)
    return tuple(chain.from_iterable([_WORD.findall(one) if "'" in one else (one,) for one in split]))


_NO_WORD = bytes(n if chr(n).isalnum() or chr(n) == "'" else ord(" ") for n in range(128)) + bytes(128)


def without_options(text: str) -> str:
    """`text` without options such as `--ar 16:9`."""
    return OPTION.sub(" , ", text) if "--" in text else text


@lru_cache(maxsize=REMEMBERED)
def count_words(text: str) -> int:
    """Words as a word counter counts them (runs without white space), unspaced scripts by character."""
    if text.isascii():
        return len(text.split())
    unspaced = len(_UNSPACED_CHARACTER.findall(text))
    return len((_UNSPACED_CHARACTER.sub(" ", text) if unspaced else text).split()) + unspaced


def content_words(text: str, language: str = "en") -> list[str]:
    """The distinct words of `text` that carry its content: no stop words, no words about the asking, no numbers.

    In a language without a list of stop words only the rule "longer than one letter" thins the words out.
    """
    return list(dict.fromkeys(filter(None, map(_content_of(language), words(without_options(text))))))


@cache
def _content_of(language: str) -> Callable[[str], str]:
    """What of a word carries content; '' of most words."""
    stop, weightless = lexicon(language).stop, filler(language)

    def content(word: str) -> str:
        plain = word.removesuffix("'s")
        light = word in weightless or len(plain) < 2 or plain in stop or any(map(str.isdigit, word))
        return "" if light else plain

    return of_each_word(content)


@cache
def root_of(language: str, letters: int) -> Callable[[str], str]:
    """The letters that the stem of a word of content begins with; '' of another word."""
    content, stem = _content_of(language), stem_of(language)
    return of_each_word(lambda word: stem(content(word))[:letters] if content(word) else "")


@cache
def filler(language: str) -> frozenset[str]:
    """The words of a language without content, and those about the asking."""
    return lexicon(language).stop | lexicon(language).words("asking")


def has_stemmer(language: str) -> bool:
    """True if inflected forms of a word of `language` are known to be one word."""
    return _stemmer(language) is not None


def stem(word: str, language: str = "en") -> str:
    """The part that the inflected forms of a word share: irregular forms by table, else the Snowball stem.

    The word itself in a language without a stemmer.
    """
    return stem_of(language)(word)


@cache
def stem_of(language: str) -> Callable[[str], str]:
    """`stem` in one language, for many words."""
    irregular, stemmer = lexicon(language).irregular, _stemmer(language)

    def stem(word: str) -> str:
        plain = word.removesuffix("'s")
        plain = irregular.get(plain, plain)
        return str(stemmer.stemWord(plain)) if stemmer else plain

    return of_each_word(stem)


def of_each_word(function: Callable[[str], Of]) -> Callable[[str], Of]:
    """`function` of a word, which is asked once for all texts that say the word."""
    return _Remembered(function).__getitem__


class _Remembered(dict[str, Of]):
    """Words and what a function gives of them; forgotten before they are too many, and long ones, such as a file in
    base64, are not remembered."""

    def __init__(self, function: Callable[[str], Of]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, word: str) -> Of:
        of_word = self._function(word)
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[word] = of_word
        return of_word


_REMEMBERED_WORDS, _LONGEST_REMEMBERED = 1 << 15, 64  # words, and letters of one


@cache
def _stemmer(language: str) -> Stemmer | None:
    from Stemmer import Stemmer

    name = _STEMMERS.get(language)
    return Stemmer(name, 0) if name else None  # 0: `stem` has a cache of its own


_ALIKE = 2  # letters that a compound and its inflections begin with


class Vocabulary:
    """The words of one text in `language`, asked whether another text's word survives in it."""

    def __init__(self, text: str, language: str = "en") -> None:
        self.words = words(text)
        self.language = language
        self._distinct = frozenset(self.words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(map(stem_of(self.language), self._distinct))

    @cached_property
    def _joined(self) -> str:
        """Neighbours written as one (`lighthouse` of `light house`), a line for each."""
        return "\n".join(("", *map(add, self.words, self.words[1:]), ""))

    def _joined_like(self, word: str) -> Iterator[str]:
        """The neighbours that begin with the same two letters as a word; none like a word of one."""
        begins = f"\n{word[:_ALIKE]}"
        at = self._joined.find(begins) if len(word) >= _ALIKE else -1
        while at >= 0:
            end = self._joined.index("\n", at + 1)
            yield self._joined[at + 1 : end]
            at = self._joined.find(begins, end)

    def inflected(self, words: Iterable[str]) -> set[str]:
        """Those of `words` a form of which is there. Where no word begins like one no form of it is."""
        lines, stem, stems = "\n".join(("", *self.words)), stem_of(self.language), self._stems
        return {word for word in words if f"\n{word[:_ALIKE]}" in lines and stem(word) in stems}

    def __contains__(self, word: str) -> bool:
        """True for the word itself, an inflection, its two halves side by side, its abbreviation or its misspelling.

        A longer word that begins with it is another word (`lighthouse` is no `light`), and so is a shorter one.
        Synonyms and derived words (`baker` for `bake`) are not covered.
        """
        if word in self._distinct:
            return True
        stem = stem_of(self.language)
        root = stem(word)
        if root in self._stems or any(stem(one) == root for one in self._joined_like(word)):
            return True
        return _abbreviated(word, self._distinct) or (
            len(word) >= 6 and _misspelt(word, self._by_letter.get(word[0], ()))
        )

    @cached_property
    def _by_letter(self) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {}
        for word in self._distinct:
            words.setdefault(word[0], []).append(word)
        return words


def joined(gone: Collection[str], text: str, vocabulary: Vocabulary) -> set[str]:
    """The words of `text`, `gone` ones and their neighbours, that `vocabulary` writes as one with another: `light
    house` in `lighthouse`."""
    neighbours = [pair for pair in pairwise(words(without_options(text))) if pair[0] in gone or pair[1] in gone]
    there = vocabulary.inflected(map("".join, neighbours))
    return {word for pair in neighbours if "".join(pair) in there for word in pair} if there else there


_VOWELS = frozenset("aeiouy")


def _abbreviated(word: str, vocabulary: Collection[str]) -> bool:
    """`acct` for account, `dmgd` for damaged: hardly a vowel after the first letter, all letters in order.

    Only in Latin letters, the only ones whose vowels are known here.
    """
    if not 2 <= len(word) <= 6 or not word.isascii() or not _VOWELS.isdisjoint(word[1:]):
        return False
    return any(len(w) > len(word) and w[0] == word[0] and _in_order(word, w) for w in vocabulary)


def _in_order(letters: str, word: str) -> bool:
    rest = iter(word)
    return all(letter in rest for letter in letters)


def _misspelt(word: str, vocabulary: Collection[str]) -> bool:
    """A word of about the same length and at least 85 % of the letters in order; all begin with the same letter."""
    letters = set(word)
    near = (w for w in vocabulary if abs(len(w) - len(word)) <= 2 and _may_be_alike(word, letters, w))
    matchers = (SequenceMatcher(None, word, w, autojunk=False) for w in near)
    return any(matcher.quick_ratio() >= _LIKE and matcher.ratio() >= _LIKE for matcher in matchers)


_LIKE = 0.85


def _may_be_alike(word: str, letters: set[str], other: str) -> bool:
    """Whether so few of the letters of a word are missing in another one that their ratio may be _LIKE."""
    return 2 * (len(word) - len(letters.difference(other))) >= _LIKE * (len(word) + len(other))
