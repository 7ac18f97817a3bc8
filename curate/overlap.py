"""Which rows repeat a held-out text, by the n-grams that both have: exact, and each row is read once and not kept.

In plain Python, without the library of arrays that the joins of `curate.set_join` need: a generation asks this of its
seeds before it pays for them, and has no other use for a tenth of its memory.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from curate.words import numbers_in, plain, words

SHORT = 6  # words; a shorter text may stand in another one by chance, and is compared as a whole, by its letters
_LETTERS = 4
_CONTAINED = 0.8  # share of the word bigrams of a held-out text that a longer text may not hold
_BUCKETS = 1 << 20  # grams of one bucket count as equally frequent

Grams = frozenset[Hashable]


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
    theirs = [frozenset(numbers_in(text) if equal_numbers else ()) for text in held_out]
    every = _by_least(set(theirs))
    short = [number for number, text in enumerate(held_out) if len(words(text)) < SHORT]
    letters = _Index(held_out, short, theirs, _letter_grams, threshold)
    bigrams = _Index(held_out, range(len(held_out)), theirs, _bigrams, min(threshold, _CONTAINED))
    brief = frozenset(short)
    touches: dict[int, Touch] = {}

    def touched(place: int, text: str) -> Iterator[Touch]:
        numbers = frozenset(numbers_in(text) if equal_numbers else ())
        among = _among(every, numbers)
        if not among:
            return
        similar = list(letters.whole(text, among, threshold))
        for number, ours, its in bigrams.meeting(text, among):
            both = len(ours & its)
            share = 0.0 if number in brief else both / len(its)
            value = both / (len(ours) + len(its) - both)
            similar.append((number, max(value, share) if share >= _CONTAINED else value))
        for number, value in similar:
            if value >= threshold and theirs[number] <= numbers and not (place and number in inputs_only):
                yield Touch(number, place, value)

    for number, row in enumerate(rows):
        like = [touch for place, text in enumerate(row) for touch in touched(place, text)]
        if like:
            touches[number] = min(like, key=lambda touch: (-touch.similarity, touch.held_out, touch.text))
    return touches


class _Index:
    """Held-out texts (`chosen`, their numbers) by their grams; `numbers` are those that a text has to have to repeat
    each.

    Sets that share `share` of a held-out one have one of its rarest grams in common (prefix filter, as in
    `curate.set_join`). Texts meet by such a gram and by their numbers: thousands of texts by one template, which differ
    in a number, are not each compared with all.
    """

    def __init__(
        self,
        texts: Sequence[str],
        chosen: Sequence[int],
        numbers: Sequence[frozenset[str]],
        grams: Callable[[str], Grams],
        share: float,
    ) -> None:
        self._texts, self._grams, self._share = texts, grams, share
        letters = sum(len(texts[number]) for number in chosen)
        self._counts = array("I", bytes(4 * min(_BUCKETS, max(1 << 10, 1 << letters.bit_length()))))
        # The grams of a text take a hundred times its own memory, so they are made again where they are needed.
        for number in chosen:
            for gram in grams(texts[number]):
                self._counts[hash(gram) & (len(self._counts) - 1)] += 1
        # By a hash of numbers and gram, in its order: the number of a text, how many grams it has, and how many are
        # left. A collision is compared in vain.
        hashes, entries, self._longest = array("q"), array("I"), 0
        for number in chosen:
            its = grams(texts[number])
            self._longest = max(self._longest, len(its))
            for gram, left in self._rarest(its):
                hashes.append(hash((numbers[number], gram)))
                entries.extend((number, len(its), left))
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        self._hashes = array("q", map(hashes.__getitem__, order))
        self._entries = array("I", (entries[3 * place + nth] for place in order for nth in range(3)))
        self._known = bytearray(1 << (8 * len(hashes)).bit_length())  # most grams of a row are of no text, told at once
        self._mask = len(self._known) - 1
        for key in hashes:
            self._known[key & self._mask] = 1

    def _rarest(self, grams: Grams) -> list[tuple[Hashable, int]]:
        """As many of the rarest grams as cannot all be missed by a set that is alike, each with the number of grams
        that are left from it on."""
        counts, mask = self._counts, len(self._counts) - 1
        ordered = sorted(grams, key=lambda gram: (counts[hash(gram) & mask], hash(gram)))
        count = len(ordered) - math.ceil(self._share * len(ordered) - 1e-9) + 1
        return list(zip(ordered[:count], range(len(ordered), 0, -1), strict=False))

    def _at(self, key: int) -> Iterator[tuple[int, int, int]]:
        place = bisect_left(self._hashes, key)
        while place < len(self._hashes) and self._hashes[place] == key:
            number, size, left = self._entries[3 * place : 3 * (place + 1)]
            yield number, size, left
            place += 1

    def whole(self, text: str, among: Sequence[frozenset[str]], threshold: float) -> Iterator[tuple[int, float]]:
        """The texts with one of these sets of numbers that `text` as a whole is alike to, and how much."""
        if len(text) > 2 * self._longest / threshold + 8:
            return
        grams, share = self._grams(text), threshold / (1 + threshold)
        others = {
            number
            for gram, ours in self._rarest(grams)
            for numbers in among
            if self._known[(key := hash((numbers, gram))) & self._mask]
            for number, size, left in self._at(key)
            if min(ours, left) >= share * (len(grams) + size) - 1e-9
        }
        for number in sorted(others):
            its = self._grams(self._texts[number])
            yield number, len(grams & its) / len(grams | its)

    def meeting(self, text: str, among: Sequence[frozenset[str]]) -> Iterator[tuple[int, Grams, Grams]]:
        """The texts of which `text` may hold the share, the grams of `text`, and theirs."""
        grams, known, mask = self._grams(text), self._known, self._mask
        keys = [key for numbers in among for gram in grams if known[(key := hash((numbers, gram))) & mask]]
        for number in sorted({number for key in keys for number, _, _ in self._at(key)}):
            yield number, grams, self._grams(self._texts[number])


def _by_least(sets: Iterable[frozenset[str]]) -> dict[str, list[frozenset[str]]]:
    """Sets of numbers by the least of each; '' for the empty one."""
    by_least: dict[str, list[frozenset[str]]] = {}
    for numbers in sets:
        by_least.setdefault(min(numbers, default=""), []).append(numbers)
    return by_least


def _among(every: Mapping[str, list[frozenset[str]]], numbers: frozenset[str]) -> list[frozenset[str]]:
    """Those of `_by_least` that `numbers` hold."""
    return [theirs for least in ("", *numbers) for theirs in every.get(least, ()) if theirs <= numbers]


def _letter_grams(text: str) -> Grams:
    whole = f" {' '.join(words(plain(text)))} "
    return frozenset(whole[at : at + _LETTERS] for at in range(max(1, len(whole) - _LETTERS + 1)))


def _bigrams(text: str) -> Grams:
    """The pairs of neighbouring words, by a hash; of a single word that word."""
    in_order = words(text)
    return frozenset(map(hash, pairwise(in_order) if in_order[1:] else in_order))
