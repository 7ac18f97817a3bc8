"""Words that exclude each other: left and right, before and after, a mother and a father, a kilometre and a mile.

    contradicting_words("key under the left pot", "Der Schlüssel liegt rechts.", "en", "de") == ("left", "rechts")

The meanings of words are in the table of each language, under [concepts]; the concepts that exclude each other are in
any.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from curate.gates.folding import fold
from curate.gates.number_forms import Number
from curate.gates.number_words import words_to_digits
from curate.gates.numbers import number_mentions
from curate.gates.phrases import lexicon, says, sections
from curate.gates.phrases.search import string_finder
from curate.gates.sides import names_turned
from curate.gates.units import find_conversions
from curate.gates.words import cached_per_word, words

_UNSPACED = ("zh", "ja", "ko", "th")
_STATE, _CONTEST = "state", "contest"
_HALF, _AND_HALF = (Number("half", frozenset((digits,))) for digits in ("0.5", "1.5"))
_UNITS, _NUMBER = ("length", "mass", "money", "temperature", "period", "clock"), re.compile(r"\d+")
# Group -> the words of it in a text, with the concepts each may mean.
Meanings = dict[str, list[tuple[str, frozenset[str]]]]


class _Table(NamedTuple):
    """What words mean: whole words, beginnings of longer words, and parts (two or three words with spaces between)."""

    whole: dict[str, frozenset[str]]
    begun: dict[str, frozenset[str]]
    parts: dict[str, frozenset[str]]


def turns_into_opposite(before: str, after: str, source_language: str, language: str) -> bool:
    """Whether the second text has the opposite of a word of the first that can be denied: `not open` is closed."""
    here = _meanings_by_group(before, source_language)
    deniable = lexicon("any").words("deniable")  # not open is closed
    there = _meanings_by_group(after, language) if not here.keys().isdisjoint(deniable) else {}
    both = ((here[group], there[group]) for group in deniable if group in here and group in there)
    return any(
        frozenset().union(*(meant for _, meant in one)).isdisjoint(frozenset().union(*(meant for _, meant in other)))
        for one, other in both
    )


def contradicting_words(before: str, after: str, source_language: str, language: str) -> tuple[str, str] | None:
    """Return a word of `before` and a word of `after` that excludes it, or None.

    Each text must only have one meaning of their group.
    """
    here = _meanings_by_group(before, source_language)
    if not here:
        return None
    there = _meanings_by_group(after, language)
    for group, before_words in here.items():
        after_words = there.get(group)
        if not after_words or (
            group in lexicon("any").words("deniable")
            and (_are_denied(before_words, before, source_language) or _are_denied(after_words, after, language))
        ):
            continue
        if group == _STATE and any(
            bool(says(source_language, name, fold(before))) != bool(says(language, name, fold(after)))
            for name in ("until", "condition")
        ):
            continue  # open until six, closes at six; closed on Mondays, open every day except Monday
        if group == _CONTEST and names_turned(before, after):
            continue  # who lost to whom is who won against whom
        if group in _UNITS and _converted(before, after, source_language, language):
            continue
        meant, means = (frozenset.intersection(*(one for _, one in side)) for side in (before_words, after_words))
        may = frozenset().union(*(one for _, one in after_words))
        apart = frozenset().union(*(one for _, one in before_words)).isdisjoint(may)
        if meant and means and apart and not _is_remedy(meant, before, after, source_language, language):
            return before_words[0][0], after_words[0][0]
    return None


def _is_remedy(fault: frozenset[str], before: str, after: str, source_language: str, language: str) -> bool:
    """Whether `after` asks to end a fault that `before` only states: `too loud`, `please be quiet`."""
    return (
        fault <= lexicon("any").words("remedied")
        and _is_request(after, language)
        and not _is_request(before, source_language)
    )


def _is_request(text: str, language: str) -> bool:
    return any(says(language, name, fold(text)) for name in ("asks", "begs"))


def _are_denied(meant: list[tuple[str, frozenset[str]]], text: str, language: str) -> bool:
    """Whether a clause with one of the words denies something."""
    if not says(language, "denial", fold(text)):
        return False
    spoken = {word for word, _ in meant}
    clauses = (clause for clause in _CLAUSE.split(fold(text)) if any(word in clause for word in spoken))
    return any(says(language, "denial", clause) for clause in clauses)


_CLAUSE = re.compile(r"[.,;:!?\n\u3001\u3002\uff0c\uff1b\u060c\u2013\u2014]+(?:\s|(?<=[\u3001\u3002\uff0c\uff1b])|$)")


def _converted(before: str, after: str, source_language: str, language: str) -> bool:
    """Whether `after` gives a number of `before` in another unit, has only numbers that `before` does not mention, or
    a half for a number.

    Ten miles are 16 kilometres, half a mile is 800 metres, and six months are half a year.
    """
    if find_conversions(before, after, language, source_language)[0]:
        return True
    figures = words_to_digits(before, source_language), words_to_digits(after, language)
    there = set(_NUMBER.findall(figures[1]))
    if (there and _HALF in number_mentions(before, source_language)) or (
        _NUMBER.search(figures[0]) and _HALF in number_mentions(after, language)
    ):
        return True
    here = number_mentions(before, source_language)
    if (_AND_HALF in here) != (_AND_HALF in number_mentions(after, language)) and _NUMBER.search("".join(figures)):
        return True  # 18 months are a year and a half
    return bool(there) and all(Number(number, frozenset((number,))) not in here for number in there)


def _meanings_by_group(text: str, language: str) -> Meanings:
    meanings: Meanings = {}
    for word, concepts in _words_with_meaning(text, language):
        for group, of_group in _by_group(concepts).items():
            meanings.setdefault(group, []).append((word, of_group))
    return meanings


@cache
def _by_group(concepts: frozenset[str]) -> dict[str, frozenset[str]]:
    groups = sorted({group for concept in concepts for group in _groups_with()[concept]})
    return {group: frozenset(c for c in concepts if group in _groups_with()[c]) for group in groups}


def _words_with_meaning(text: str, language: str) -> Iterator[tuple[str, frozenset[str]]]:
    whole, begun, parts = _table(language)
    if language in _UNSPACED:
        held = _parts_finder(language)(fold(text))
        yield from ((part, concepts) for part, concepts in parts.items() if part in held)
        return
    tokens = words(text) if language != "hi" else tuple(word.strip("।,.!?") for word in fold(text).split())
    pairs, first = set[str](), _first_words(language)
    if not first.isdisjoint(tokens):
        starts = [at for at, token in enumerate(tokens) if token in first]
        several = (" ".join(tokens[at : at + n]) for at in starts for n in (2, 3))
        pairs.update(filter(parts.__contains__, several))
    for joined in sorted(pairs):
        yield joined, parts[joined]
    for word in filter(_may_mean(language), tokens):
        if word in whole and not (pairs and any(word in joined for joined in pairs)):
            yield word, whole[word]
        elif begun and (start := next((word[:n] for n in _lengths(language) if word[:n] in begun), "")):
            yield word, begun[start]


@cache
def _parts_finder(language: str) -> Callable[[str], frozenset[str]]:
    return string_finder(_table(language).parts)


@cache
def _first_words(language: str) -> frozenset[str]:
    """Return the words before the first space of two or three words that have a meaning together."""
    return frozenset(part.partition(" ")[0] for part in _table(language).parts)


@cache
def _may_mean(language: str) -> Callable[[str], bool]:
    """Return a function that returns whether a word has a meaning or begins like one that does; most do not."""
    whole, begun, _ = _table(language)
    return cached_per_word(lambda word: word in whole or any(word[:n] in begun for n in _lengths(language)))


@cache
def _lengths(language: str) -> tuple[int, ...]:
    return tuple(sorted({len(start) for start in _table(language).begun}, reverse=True))


@cache
def _groups_with() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group, concepts in sections("any")["groups"].items():
        for concept in concepts.split():
            groups.setdefault(concept, []).append(group)
    return groups


@cache
def _table(language: str) -> _Table:
    table = _Table({}, {}, {})
    for concept, listed in sections(language).get("concepts", {}).items():
        for spelt in listed.split():
            plain = fold(spelt).replace("_", " ").replace("-", " ")
            inside = " " in plain or language in _UNSPACED
            place = table.parts if inside else table.begun if plain.endswith("*") else table.whole
            plain = plain.rstrip("*")
            place[plain] = place.get(plain, frozenset()) | {concept}
    return table
