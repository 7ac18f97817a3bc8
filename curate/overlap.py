"""Find rows that repeat a held-out text by shared n-grams. Exact; each row is read once and not kept.

Written in plain Python without numpy, which the joins of `curate.set_join` need: generation runs this check on its
seeds before it pays for them, and would load numpy, a tenth of its memory, for nothing else.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence, Set
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import NamedTuple, TypeVar
from zlib import crc32

from curate.words import numbers_in, plain, words

SHORT = 6  # words; a shorter text may be part of another by chance, so it is compared as a whole, by character n-grams
_LETTERS = 4  # characters of an n-gram
_CONTAINED = 0.8  # a longer text with this share of a held-out text's word bigrams repeats it
_RECENT = 1_024  # held-out texts whose n-grams are kept: many rows are similar to texts from one template
_BUCKETS = 1 << 20  # grams in the same hash bucket count as equally frequent
NEARLY_ALL = 0.75  # share of such texts; similar texts often share some of what they fill in, too
_SAMPLED = 32  # similar texts of a held-out one that show what most of them share
TEMPLATE = 10  # similar texts of different inputs, from which on what most of them share is a template

Grams = frozenset[Hashable]
Token = TypeVar("Token")


class Overlap(NamedTuple):
    """A row that repeats a held-out text: the index of that text, the index of the text within the row, and the
    similarity (Jaccard, or the share of the held-out text that a longer text contains)."""

    held_out: int
    text: int
    similarity: float


def contaminated(
    rows: Callable[[], Iterable[tuple[str, ...]]],
    held_out: Sequence[str],
    threshold: float,
    equal_numbers: bool = False,
    inputs_only: Collection[int] = (),
) -> dict[int, Overlap]:
    """Map the index of each contaminated row to the most similar held-out text that it repeats. `rows` reads the rows,
    in the same order at every call; they are read a second time only if some are similar.

    Texts are similar by their word bigrams (Jaccard similarity >= `threshold`), or if a longer text contains 80 % of
    the bigrams of a held-out text of at least 6 words. Shorter texts are compared as wholes, by their 4-grams of
    characters. Paraphrases in other words are not found. With `equal_numbers`, a text repeats a held-out one only if it
    contains all its numbers: a question about invoice 12 does not repeat one about invoice 13. Held-out texts in
    `inputs_only` (indices) are only compared with the first text of a row.

    If TEMPLATE texts are similar, what most of them share is a template, which says nothing about where a text comes
    from (GPT-3's decontamination ignores n-grams of more than ten documents; Brown et al. 2020, appendix C). A text
    then repeats a held-out one only if it contains 80 % of that one's bigrams by their information, the logarithm of
    how rare they are among these texts, or if it is an edited copy.
    """
    matches = _matcher(held_out, threshold, equal_numbers, inputs_only)
    touches, templates = dict[int, Overlap](), _Templates(held_out)
    for number, row in enumerate(rows()):
        if of_row := matches(row):
            touches[number] = _nearest(of_row)
            templates.add(row, of_row)
    if touches and len(touches) + len(held_out) >= TEMPLATE:
        for text in held_out:
            templates.add((text,), [match for match in matches((text,)) if match.held_out in templates])
    if templates.any_large:
        for number, row in enumerate(rows()):
            if number in touches and not (
                repeated := [match for match in matches(row) if templates.repeats(row[match.text], match.held_out)]
            ):
                del touches[number]
            elif number in touches:
                touches[number] = _nearest(repeated)
    return touches


def _matcher(
    held_out: Sequence[str], threshold: float, equal_numbers: bool, inputs_only: Collection[int]
) -> Callable[[tuple[str, ...]], list[Overlap]]:
    """A function that finds the held-out texts to which the texts of a row are similar, whatever their template."""

    @lru_cache(_RECENT)
    def numbers_of(text: str) -> frozenset[str]:
        return frozenset(numbers_in(text) if equal_numbers else ())

    # Each index is built when it is first needed, which may be never.
    @cache
    def is_short() -> bytearray:
        return bytearray(len(words(text)) < SHORT for text in held_out)

    @cache
    def short() -> tuple[array[int], int]:
        numbers = array("I", (number for number, flag in enumerate(is_short()) if flag))
        return numbers, max((len(_in_letters(held_out[number])) for number in numbers), default=0)

    @cache
    def letter_index() -> _Index:
        return _Index(held_out, short()[0], numbers_of, _letter_grams, threshold)

    @cache
    def bigram_index() -> _Index:
        return _Index(held_out, range(len(held_out)), numbers_of, _bigrams, min(threshold, _CONTAINED))

    number_sets = _NumberSets(lambda: map(numbers_of, held_out))

    def matches_of(place: int, text: str, numbers: frozenset[str], sets: Sequence[frozenset[str]]) -> Iterator[Overlap]:
        is_longer = len(text) > 2 * short()[1] / threshold + 8  # too long to match a short text as a whole
        similar = [] if is_longer else list(letter_index().whole(text, sets, threshold))
        for number, ours, its in bigram_index().meeting(text, sets):
            both = len(ours & its)
            share = 0.0 if is_short()[number] else both / len(its)
            value = both / (len(ours) + len(its) - both)
            similar.append((number, max(value, share) if share >= _CONTAINED else value))
        for number, value in similar:
            if value >= threshold and numbers_of(held_out[number]) <= numbers and not (place and number in inputs_only):
                yield Overlap(number, place, value)

    def matches(row: tuple[str, ...]) -> list[Overlap]:
        return [
            match
            for place, text in enumerate(row)
            if (sets := number_sets.within(numbers := numbers_of(text)))
            for match in matches_of(place, text, numbers, sets)
        ]

    return matches


def is_edited_copy(one: Set[Token], other: Set[Token], frame: Set[Token]) -> bool:
    """Whether at least a third of the tokens in which two texts differ belong to what nearly all texts like them share.

    Two texts that fill in a template differ only in other tokens. A changed, added or lost word destroys one or two
    bigrams of this frame and adds at most two others.
    """
    differing = one ^ other
    return len(differing) <= 3 * len(differing & frame)


def _nearest(matches: Iterable[Overlap]) -> Overlap:
    return min(matches, key=lambda match: (-match.similarity, match.held_out, match.text))


class _Templates:
    """For each held-out text that others are similar to: how many, and how many of them lack each of its bigrams.

    Texts of one input count once, so that many answers to a question are no template.
    """

    def __init__(self, held_out: Sequence[str]) -> None:
        self._texts, self._inputs = held_out, set[int]()
        self._sizes, self._lacking = Counter[int](), dict[int, dict[Hashable, int]]()
        self._samples = dict[int, list[tuple[int, str]]]()  # similar texts, which do not depend on the order of rows
        self._information: dict[int, tuple[dict[Hashable, float], float]] = {}
        self._frames = dict[int, Grams]()
        self._grams_of = lru_cache(2 * _SAMPLED)(_bigrams)  # a text is compared with many held-out ones

    def __contains__(self, number: int) -> bool:
        return number in self._sizes

    @property
    def any_large(self) -> bool:
        return any(size >= TEMPLATE for size in self._sizes.values())

    def add(self, row: tuple[str, ...], matches: Sequence[Overlap]) -> None:
        """Add a row that is similar to held-out texts."""
        key = hash(tuple(words(row[0])))
        if not matches or key in self._inputs:
            return
        self._inputs.add(key)
        places = {match.text for match in matches}
        grams = {place: _bigrams(row[place]) for place in places}
        drawn = {place: (crc32(row[place].encode("utf-8", "surrogatepass")), row[place]) for place in places}
        for number, place in {match.held_out: match.text for match in matches}.items():
            if number not in self._lacking:
                self._lacking[number] = dict.fromkeys(_bigrams(self._texts[number]), 0)
                self._sizes[number] = 1
            lacking = self._lacking[number]
            if lacking.keys() != grams[place]:
                self._sizes[number] += 1
                sample = self._samples.setdefault(number, [])
                if len(sample) < _SAMPLED or drawn[place] < sample[-1]:
                    insort(sample, drawn[place])
                    del sample[_SAMPLED:]
                for gram in lacking.keys() - grams[place]:
                    lacking[gram] += 1

    def repeats(self, text: str, number: int) -> bool:
        """Whether a similar text also shares what distinguishes the held-out text from its template, if it has one."""
        size = self._sizes[number]
        if size < TEMPLATE:
            return True
        if number not in self._information:
            lacking = self._lacking[number].items()
            varying = {gram: math.log(size / (size - without)) for gram, without in lacking if without}
            self._information[number] = varying, sum(varying.values())
        varying, total = self._information[number]
        grams = self._grams_of(text)
        if sum(varying[gram] for gram in varying.keys() & grams) >= _CONTAINED * total - 1e-9:
            return True
        if number not in self._frames:
            sample = self._samples[number]
            counts = Counter(gram for _, similar in sample for gram in self._grams_of(similar))
            self._frames[number] = frozenset(
                gram for gram, count in counts.items() if count >= NEARLY_ALL * len(sample)
            )
        return is_edited_copy(grams, self._lacking[number].keys(), self._frames[number])


class _Chains:
    """A hash table with chaining: hash -> the indices added under it, last first. 20 to 28 bytes each."""

    def __init__(self) -> None:
        self._first, self._next, self._hashes = _zeros(1 << 10), array("I"), array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashed: int) -> None:
        """Add the next index under this hash."""
        if 2 * len(self) == len(self._first):
            places, self._first = 2 * len(self._first), _zeros(0)  # free the old table before allocating the new one
            self._first = _zeros(places)
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


def _zeros(count: int) -> array[int]:
    return array("I", (0,)) * count


class _NumberSets:
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


class _Index:
    """Held-out texts (`chosen`, their indices) by their n-grams. A text repeats another only with all its `numbers_of`.

    Two sets that share `share` of a held-out one have one of its rarest grams in common (prefix filter, as in
    `curate.set_join`). Entries are keyed by such a gram and the text's numbers, so thousands of texts from one template
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
        self._recent_grams = lru_cache(_RECENT)(lambda number: grams(texts[number]))
        approximate_words = sum(len(texts[number]) for number in chosen) >> 2
        self._counts = _zeros(min(_BUCKETS, 1 << approximate_words.bit_length()))
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


def _in_letters(text: str) -> str:
    return f" {' '.join(words(text))} "


def _letter_grams(text: str) -> Grams:
    characters = _in_letters(plain(text))
    return frozenset(characters[at : at + _LETTERS] for at in range(max(1, len(characters) - _LETTERS + 1)))


def _bigrams(text: str) -> Grams:
    """Hashes of the pairs of neighbouring words; of a single word, its own hash."""
    in_order = words(text)
    return frozenset(map(hash, pairwise(in_order) if in_order[1:] else in_order))
