"""Indices of texts by their rarest n-grams and by their numbers. In plain Python, as `overlap` explains."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise

from curate.words import plain, words
from schemas.id_map import zeros

RECENT = 1_024  # held-out texts whose n-grams are kept: many rows are similar to texts from one template
_LETTERS = 4  # characters of an n-gram
_BUCKETS = 1 << 20  # grams in the same hash bucket count as equally frequent

Grams = frozenset[Hashable]


class _Chains:
    """A hash table with chaining: hash -> the indices added under it, last first. 20 to 28 bytes each."""

    def __init__(self) -> None:
        self._first, self._next, self._hashes = zeros(1 << 10), array("I"), array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashed: int) -> None:
        """Add the next index under this hash."""
        if 2 * len(self) == len(self._first):
            places, self._first = 2 * len(self._first), zeros(0)  # free the old table before allocating the new one
            self._first = zeros(places)
            for number, known in enumerate(self._hashes):
                self._link(number, known)
        self._hashes.append(hashed)
        self._next.append(0)
        self._link(len(self) - 1, hashed)

    def _link(self, number: int, hashed: int) -> None:
        place = hashed & (len(self._first) - 1)
        self._next[number], self._first[place] = self._first[place], number + 1

    def known(self, hashes: Iterable[int]) -> list[int]:
        """The hashes that may have an index."""
        first, mask = self._first, len(self._first) - 1
        return [hashed for hashed in hashes if first[hashed & mask]]

    def of(self, hashed: int) -> Iterator[int]:
        """The indices under a hash."""
        place = self._first[hashed & (len(self._first) - 1)]
        while place:
            if self._hashes[place - 1] == hashed:
                yield place - 1
            place = self._next[place - 1]


class NumberSets:
    """The distinct sets of numbers in texts, each filed under its rarest number.

    Under a common one, such as a 1 that thousands of texts contain, every text with a 1 would be compared with
    thousands.
    """

    def __init__(self, sets: Callable[[], Iterable[frozenset[str]]]) -> None:
        known, self._by_rarest = _Chains(), dict[str, list[tuple[str, ...]]]()
        times = Counter(chain.from_iterable(sets()))
        for numbers in sets():
            if not any(True for _ in known.of(hash(numbers))):
                known.add(hash(numbers))
                rarest = min(numbers, key=lambda number: (times[number], number), default="")
                self._by_rarest.setdefault(rarest, []).append(tuple(numbers))

    def within(self, numbers: frozenset[str]) -> list[frozenset[str]]:
        """The sets that are subsets of `numbers`."""
        candidates = [its for number in ("", *numbers) for its in self._by_rarest.get(number, ())]
        return [frozenset(its) for its in candidates if numbers.issuperset(its)]


class GramIndex:
    """Held-out texts (`chosen`, their indices) by their n-grams. A text repeats another only with all its `numbers_of`.

    Two sets that share `share` of a held-out one have one of its rarest grams in common (prefix filter, as in
    `set_join`). Entries are keyed by such a gram and the text's numbers, so thousands of texts from one template
    that differ in a number are not all compared with each other.
    """

    def __init__(
        self,
        texts: Sequence[str],
        chosen: Sequence[int],
        numbers_of: Callable[[str], frozenset[str]],
        grams: Callable[[str], Grams],
        share: float,
    ) -> None:
        self._texts, self._grams, self._share = texts, grams, share
        self._recent_grams = lru_cache(RECENT)(lambda number: grams(texts[number]))
        approximate_words = sum(len(texts[number]) for number in chosen) >> 2
        self._counts = zeros(min(_BUCKETS, 1 << approximate_words.bit_length()))
        # The grams of a text take a hundred times its own memory, so they are recomputed where needed.
        for number in chosen:
            for gram in grams(texts[number]):
                self._counts[hash(gram) & (len(self._counts) - 1)] += 1
        # `_chains` maps a hash of (numbers, gram) to entries, `_entries` an entry to an index in `chosen`. Per text,
        # `_firsts` holds its first entry and `_sizes` the number of its grams.
        self._chosen, self._entries, self._chains = chosen, array("I"), _Chains()
        self._firsts, self._sizes = array("I"), array("I")
        for place, number in enumerate(chosen):
            its, numbers = grams(texts[number]), numbers_of(texts[number])
            self._firsts.append(len(self._entries))
            self._sizes.append(len(its))
            for gram, _ in self._rarest(its):
                self._chains.add(hash((numbers, gram)))
                self._entries.append(place)

    def _rarest(self, grams: Grams) -> list[tuple[Hashable, int]]:
        """The prefix: the rarest grams, as many as a similar set cannot all miss, each with the number of grams from it
        on."""
        counts, mask = self._counts, len(self._counts) - 1
        ordered = sorted(grams, key=lambda gram: (counts[hash(gram) & mask], hash(gram)))
        count = len(ordered) - math.ceil(self._share * len(ordered) - 1e-9) + 1
        return list(zip(ordered[:count], range(len(ordered), 0, -1), strict=False))

    def whole(self, text: str, among: Sequence[frozenset[str]], threshold: float) -> Iterator[tuple[int, float]]:
        """The texts, with one of these sets of numbers, to which `text` as a whole is similar, and the similarity."""
        grams, share = self._grams(text), threshold / (1 + threshold)
        others = set[int]()
        for gram, ours in self._rarest(grams):
            for entry in (entry for numbers in among for entry in self._chains.of(hash((numbers, gram)))):
                place = self._entries[entry]
                left = self._sizes[place] - (entry - self._firsts[place])  # the number of its grams from this one on
                if min(ours, left) >= share * (len(grams) + self._sizes[place]) - 1e-9:
                    others.add(self._chosen[place])
        for number in sorted(others):
            its = self._recent_grams(number)
            yield number, len(grams & its) / len(grams | its)

    def meeting(self, text: str, among: Sequence[frozenset[str]]) -> Iterator[tuple[int, Grams, Grams]]:
        """The texts of which `text` may contain the share, as (index, grams of `text`, grams of that text)."""
        grams = self._grams(text)
        hashes = self._chains.known(hash((numbers, gram)) for numbers in among for gram in grams)
        places = {self._entries[entry] for hashed in hashes for entry in self._chains.of(hashed)}
        for number in sorted(self._chosen[place] for place in places):
            yield number, grams, self._recent_grams(number)


def in_letters(text: str) -> str:
    return f" {' '.join(words(text))} "


def letter_grams(text: str) -> Grams:
    characters = in_letters(plain(text))
    return frozenset(characters[at : at + _LETTERS] for at in range(max(1, len(characters) - _LETTERS + 1)))


def bigrams(text: str) -> Grams:
    """Hashes of the pairs of neighbouring words; of a single word, its own hash."""
    in_order = words(text)
    return frozenset(map(hash, pairwise(in_order) if in_order[1:] else in_order))
