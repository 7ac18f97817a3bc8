"""Near-duplicates and contamination, by word bigrams: `curate.set_join` finds every pair alike, none by luck.

A row goes only because it is alike to one row that stays, which the reason names: never along a chain of likenesses.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from curate.set_join import Alike, TokenSets, alike, jaccard
from curate.words import plain, words
from schemas.kinds import TaskKind

SHORT = 6  # words; a shorter text may stand in another one by chance, and is compared as a whole, by its letters
_LETTERS = 4
_PAIRS = 40  # a row; with more on both sides most rows are duplicates, and go as they are met
_NUMBER = re.compile(r"[0-9]+")
_CONTAINED = 0.8  # share of the word bigrams of a held-out text that a longer text may not hold


def duplicates(rows: Iterable[tuple[str, ...]], threshold: float) -> dict[int, Alike]:
    """Number of a row that goes -> the earlier row that it repeats. So put the rows you prefer first.

    Rows repeat each other if each of their texts has a Jaccard similarity of word bigrams >= `threshold`.
    """
    with TokenSets(rows) as sets:
        return _first_of(sets, threshold)


def _first_of(sets: TokenSets, threshold: float) -> dict[int, Alike]:
    return {pair.later: pair for pair in alike(sets, threshold, first=True)}


class HasTexts(Protocol):
    """What is asked and answered in a row: a Pair, or its texts."""

    @property
    def asked(self) -> str: ...
    @property
    def output(self) -> str: ...


class RepeatedRows(NamedTuple):
    """Number of a pair that goes -> the earlier pair that is the same row; and the numbers of pairs that are flagged
    with the word of `TaskKind.flag`."""

    of: dict[int, Alike]
    flagged: frozenset[int]


def repeated_rows(pairs: Callable[[], Iterable[HasTexts]], threshold: float, kind: TaskKind) -> RepeatedRows:
    """The pairs that are the same row as an earlier one, by the rule of their kind of task (`TaskKind.duplicate`);
    `pairs` reads them, in the same order each time it is called.

    Flagged are, by `TaskKind.flag`, a pair that stays and whose output is like an earlier one's (`one_output`), or two
    that are one row and have different outputs (`two_labels`).
    """
    flagged: set[int] = set()
    if kind.duplicate == "both exact":
        of = _exactly((pair.asked.strip(), pair.output.strip()) for pair in pairs())
    elif kind.duplicate == "input near":
        of = duplicates(((_numbered(pair, kind),) for pair in pairs()), threshold)
    else:
        with TokenSets((_numbered(pair, kind), pair.output) for pair in pairs()) as sets:
            of, outputs = _on_both(sets, threshold)
        flagged = outputs - of.keys() if kind.flag == "one_output" else flagged
    if kind.flag == "two_labels":
        labels = [pair.output for pair in pairs()]
        apart = [(one.later, one.earlier) for one in of.values() if labels[one.later] != labels[one.earlier]]
        flagged = {number for both in apart for number in both}
    return RepeatedRows(of, frozenset(flagged))


def _on_both(sets: TokenSets, threshold: float) -> tuple[dict[int, Alike], set[int]]:
    """`duplicates` of rows with two texts, and the rows whose second text repeats another one.

    A thousand replies by one template would each be compared with all, though no two answer the same message, and so
    would a thousand answers to one prompt. So pairs are looked for on the side that has fewer of them.
    """
    outputs, expected = set[int](), list[int]()
    for side in (0, 1):
        with sets.side(side) as texts:
            of = _first_of(texts, threshold)
        outputs = set(of)
        expected.append(sum(crowd * crowd for crowd in Counter(one.earlier for one in of.values()).values()))
    side = expected.index(min(expected))
    if not expected[side]:
        return {}, outputs
    if expected[side] > _PAIRS * len(sets):
        return _first_of(sets, threshold), outputs
    of = {}
    with sets.side(side) as texts:
        for pair in alike(texts, threshold):
            if pair.later in of or pair.earlier in of:
                continue
            similarity = sets.similarity(pair.later, pair.earlier)
            if similarity >= threshold:
                of[pair.later] = pair._replace(similarity=similarity)
    return of, outputs


def _exactly(rows: Iterable[tuple[str, ...]]) -> dict[int, Alike]:
    first: dict[tuple[str, ...], int] = {}
    numbers = ((number, first.setdefault(row, number)) for number, row in enumerate(rows))
    return {number: Alike(number, earlier, 1.0) for number, earlier in numbers if earlier != number}


def _numbered(pair: HasTexts, kind: TaskKind) -> str:
    """The input; where other numbers make another input, with them in each of its words, so that only inputs with the
    same numbers are alike."""
    numbers = numbers_in(pair.asked) if kind.equal_numbers else []
    if not numbers:
        return pair.asked
    mark = f"n{hashlib.sha256(' '.join(numbers).encode()).hexdigest()[:8]}"
    if pair.asked.isascii():
        return mark + f" {mark}".join(words(pair.asked))
    # In hexadecimal: what stands for a Chinese character has to stay one word with the mark.
    return " ".join(mark + (word if word.isascii() else word.encode().hex()) for word in words(pair.asked))


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in order, whichever digits it has."""
    return _NUMBER.findall(plain(text))


def similar_pairs(texts: Iterable[str], threshold: float) -> list[Alike]:
    """All pairs of texts that are alike."""
    with TokenSets((text,) for text in texts) as sets:
        return list(alike(sets, threshold))


class Touch(NamedTuple):
    """A row that holds a held-out text: the number of that text, the number of the row's text, and how similar they
    are: the Jaccard similarity, or the share of the held-out text that stands in a longer one."""

    held_out: int
    text: int
    similarity: float


def contaminated(
    rows: Iterable[tuple[str, ...]],
    held_out: Sequence[str],
    threshold: float,
    equal_numbers: bool = False,
    inputs_only: Collection[int] = (),
) -> dict[int, Touch]:
    """Number of a row -> the held-out text that one of its texts repeats, the most similar one.

    Texts are alike by their word bigrams (Jaccard similarity >= `threshold`), or if 80 % of the bigrams of a held-out
    text of at least 6 words stand in a longer one; shorter ones by their 4-grams of letters, as wholes. What says the
    same in other words is not found. With `equal_numbers` a text repeats a held-out one only if it has all its numbers,
    so what is asked of invoice 12 is no repetition of what is asked of invoice 13. Held-out texts of `inputs_only`
    (their numbers) are compared with the first text of a row alone.
    """
    touches: dict[int, Touch] = {}
    theirs = [frozenset(numbers_in(text) if equal_numbers else ()) for text in held_out]
    short, every = _Short(held_out, theirs, threshold), _by_least(set(theirs))
    ours: dict[tuple[int, int], frozenset[str]] = {}  # of texts that have all numbers of a held-out one

    def comparable(number: int, text: int, other: int) -> bool:
        return theirs[other] <= ours.get((number, text), frozenset()) and not (text and other in inputs_only)

    def keep(number: int, touch: Touch) -> None:
        if number not in touches or touch.similarity > touches[number].similarity:
            touches[number] = touch

    def seen() -> Iterator[tuple[str, ...]]:
        for number, row in enumerate(rows):
            for place, text in enumerate(row):
                numbers = frozenset(numbers_in(text) if equal_numbers else ())
                among = _among(every, numbers)
                if any(among):
                    ours[number, place] = numbers
                for touch in short.touched(text, place, among):
                    if comparable(number, place, touch.held_out):
                        keep(number, touch)
            yield row

    long = [len(words(text)) >= SHORT for text in held_out]
    with TokenSets((text,) for text in held_out) as held, TokenSets(seen()) as sets:
        for number, other, place in sets.meeting(held, min(threshold, _CONTAINED)):
            if not comparable(number, place, other):
                continue
            one, its = sets[number][place], held[other][0]
            similarity = jaccard(one, its)
            if long[other] and (share := len(one & its) / len(its)) >= _CONTAINED:
                similarity = max(similarity, share)
            if similarity >= threshold:
                keep(number, Touch(other, place, similarity))
    return touches


class _Short:
    """Held-out texts of few words, by their letters; `numbers` are those that a text has to have to repeat each.

    Sets of which `threshold` is shared have one of their rarest grams in common, and no more than both still hold from
    there on (prefix and positional filter, as in `curate.set_join`). They meet by such a gram and by their numbers:
    thousands of texts by one template, which differ in a number, are not each compared with all.
    """

    def __init__(self, texts: Sequence[str], numbers: Sequence[frozenset[str]], threshold: float) -> None:
        self._threshold, self._texts = threshold, texts
        short = [number for number, text in enumerate(texts) if len(words(text)) < SHORT]
        # The grams of a text take a hundred times its own memory, so they are made again where they are needed.
        self._counts = Counter(gram for number in short for gram in _letter_grams(texts[number]))
        # By a hash of both, in its order: the number of a text, how many grams it has, and how many are left. A
        # collision is compared in vain.
        hashes, entries, longest = array("q"), array("I"), 0
        for number in short:
            grams = _letter_grams(texts[number])
            longest = max(longest, len(grams))
            for gram, left in self._rarest(grams):
                hashes.append(hash((numbers[number], gram)))
                entries.extend((number, len(grams), left))
        order = np.argsort(np.array(hashes, np.int64))
        self._hashes = array("q", np.array(hashes, np.int64)[order].tobytes())
        self._entries = array("I", np.array(entries, np.uint32).reshape(-1, 3)[order].tobytes())
        self._longest = longest / threshold

    def _rarest(self, grams: frozenset[str]) -> list[tuple[str, int]]:
        """As many of the rarest grams as cannot all be missed by a set that is alike, each with the number of grams
        that are left from it on."""
        ordered = sorted(grams, key=lambda gram: (self._counts[gram], gram))
        count = len(ordered) - math.ceil(self._threshold * len(ordered) - 1e-9) + 1
        return list(zip(ordered[:count], range(len(ordered), 0, -1), strict=False))

    def _with(self, key: int) -> Iterator[tuple[int, int, int]]:
        place = bisect_left(self._hashes, key)
        while place < len(self._hashes) and self._hashes[place] == key:
            number, size, left = self._entries[3 * place : 3 * (place + 1)]
            yield number, size, left
            place += 1

    def touched(self, text: str, place: int, among: Sequence[frozenset[str]]) -> Iterator[Touch]:
        """The held-out texts with one of these sets of numbers that `text` as a whole is alike to."""
        if not among or len(text) > 2 * self._longest + 8:
            return
        grams, share = _letter_grams(text), self._threshold / (1 + self._threshold)
        others = {
            number
            for gram, ours in self._rarest(grams)
            for theirs in among
            for number, size, left in self._with(hash((theirs, gram)))
            if min(ours, left) >= share * (len(grams) + size) - 1e-9
        }
        for number in sorted(others):
            its = _letter_grams(self._texts[number])
            similarity = len(grams & its) / len(grams | its)
            if similarity >= self._threshold:
                yield Touch(number, place, similarity)


def _by_least(sets: Iterable[frozenset[str]]) -> dict[str, list[frozenset[str]]]:
    """Sets of numbers by the least of each; '' for the empty one."""
    by_least: dict[str, list[frozenset[str]]] = {}
    for numbers in sets:
        by_least.setdefault(min(numbers, default=""), []).append(numbers)
    return by_least


def _among(every: Mapping[str, list[frozenset[str]]], numbers: frozenset[str]) -> list[frozenset[str]]:
    """Those of `_by_least` that `numbers` hold."""
    return [theirs for least in ("", *numbers) for theirs in every.get(least, ()) if theirs <= numbers]


def _letter_grams(text: str) -> frozenset[str]:
    whole = f" {' '.join(words(plain(text)))} "
    return frozenset(whole[at : at + _LETTERS] for at in range(max(1, len(whole) - _LETTERS + 1)))
