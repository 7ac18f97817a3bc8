"""Near-duplicates and contamination, by word bigrams: MinHash finds candidates, an exact Jaccard similarity decides.

**A duplicate is a duplicate row, and what makes two rows one hangs on the kind of task** (schemas/kinds.py). Where
texts are written, both sides have to be alike: so candidates of one input are compared by what was generated, the
inputs that backward generation makes of one excellent output are compared by themselves, and a hundred replies by one
template to a hundred messages are a hundred rows. Where a text is labelled or read, the input alone counts. Inputs that
say other numbers are other inputs, unless a label is all that is wanted.

A row goes only because it is alike to one row that stays, which the reason names: never on an unverified hash,
never along a chain of likenesses. The hash finds 99.9 % of those exactly at the threshold, more above it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

from schemas.kinds import KINDS, Kind
from schemas.records import Pair

_PERMUTATIONS = 128
_RECALL = 0.999
_CROWD = 16
_NUMBER = re.compile(r"\d+")
# A Chinese or Japanese character counts as a word, since these scripts do not separate words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_]+")


def normalised(text: str) -> str:
    """The words of a text without case and punctuation; a text without words stays as it is."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def bigrams(text: str) -> frozenset[str]:
    """The set of word bigrams; of a text with at most one word, that word."""
    words = normalised(text).split()
    if len(words) < 2:
        return frozenset(words)
    return frozenset(f"{a} {b}" for a, b in pairwise(words))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a and b| / |a or b|; 1 for two empty sets."""
    both = len(a & b)
    union = len(a) + len(b) - both
    return both / union if union else 1.0


class Near(NamedTuple):
    """An indexed text that is alike: its number, in the order of adding, and the exact Jaccard similarity."""

    number: int
    similarity: float


class NearDuplicateIndex:
    """An index of texts that answers which of them have Jaccard similarity >= `threshold` with a given one."""

    def __init__(self, threshold: float) -> None:
        import rensa

        self._threshold, self._rensa = threshold, rensa
        self._lsh = rensa.RMinHashLSH(threshold, _PERMUTATIONS, _bands(threshold))
        self._sets: list[frozenset[str]] = []
        self._exact: dict[str, list[int]] = {}

    def add(self, text: str) -> None:
        number, grams = len(self._sets), bigrams(text)
        self._lsh.insert(number, self._minhash(grams))
        self._sets.append(grams)
        self._exact.setdefault(normalised(text), []).append(number)

    def like(self, text: str) -> Iterator[Near]:
        """The texts alike, exact duplicates first, then by number."""
        same = self._exact.get(normalised(text), [])
        yield from (Near(number, 1.0) for number in same)
        grams = bigrams(text)
        for number in sorted(set(self._lsh.query(self._minhash(grams))).difference(same)):
            similarity = jaccard(grams, self._sets[number])
            if similarity >= self._threshold:
                yield Near(number, similarity)

    def _minhash(self, grams: frozenset[str]) -> object:
        minhash = self._rensa.RMinHash(_PERMUTATIONS, 42)
        minhash.update(sorted(grams))
        return minhash


def _bands(threshold: float) -> int:
    """The fewest bands with which a pair exactly at the threshold is found with a probability of at least 99.9 %.

    With r rows in each of b bands that is 1 - (1 - s^r)^b (Leskovec et al., Mining of Massive Datasets, 3.4.2).
    """
    for rows in (64, 32, 16, 8, 4, 2):
        if 1 - (1 - threshold**rows) ** (_PERMUTATIONS // rows) >= _RECALL:
            return _PERMUTATIONS // rows
    return _PERMUTATIONS


class Duplicate(NamedTuple):
    """A pair, and the earlier one that is the same row, with their similarity (None: it is like none that stays).

    `flag`: the word of `Kind.flag` where it applies to a pair that stays, or to the two that are one row.
    """

    pair: Pair
    of: Pair | None
    similarity: float | None
    flag: str | None = None


def duplicates(pairs: Iterable[Pair], threshold: float, kind: Kind = KINDS["rewrite"]) -> Iterator[Duplicate]:
    """Of two pairs that are one row the earlier one stays, so put the ones you prefer first. One answer a pair, in
    order.

    Which pairs are one row is the kind's to say (`Kind.duplicate`). `threshold` is the least Jaccard similarity of word
    bigrams at which texts are alike; the similarity told is the lesser one where both sides count. Texts that stay are
    held in memory as sets of bigrams, some 6 kB for 50 words.
    """
    if kind.duplicate == "both exact":
        yield from _exact(pairs)
        return
    kept, written = _Kept(threshold, kind), NearDuplicateIndex(threshold)
    for pair in pairs:
        of, similarity = kept.same_row(pair)
        flag = kind.flag if kind.flag == "two_labels" and of and of.output != pair.output else None
        if of is None and kind.flag == "one_output":
            if next(written.like(pair.output), None):
                flag = kind.flag
            else:  # one of many alike is enough to find the next by
                written.add(pair.output)
        yield Duplicate(pair, of, similarity, flag)


class _Kept:
    """The pairs that stay, by their inputs; of more than `_CROWD` inputs alike, the others by their outputs, or to find
    one row among a thousand answers to one prompt each would be compared with all."""

    def __init__(self, threshold: float, kind: Kind) -> None:
        self._threshold, self._kind = threshold, kind
        self._by_input, self._inputs = NearDuplicateIndex(threshold), list[Pair]()
        self._by_output, self._outputs = NearDuplicateIndex(threshold), list[Pair]()

    def same_row(self, pair: Pair) -> tuple[Pair | None, float | None]:
        """The pair that stays and is the same row as this one, and the similarity; else this one stays from now on."""
        input, both = self._key(pair), self._kind.duplicate == "input and output near"
        crowd = 0
        for number, similarity in self._by_input.like(input):
            earlier, crowd = self._inputs[number], crowd + 1
            similarity = min(similarity, _similarity(pair.output, earlier.output)) if both else similarity
            if similarity >= self._threshold:
                return earlier, similarity
        for number, similarity in self._by_output.like(pair.output) if self._outputs else ():
            earlier = self._outputs[number]
            similarity = min(similarity, _similarity(input, self._key(earlier)))
            if similarity >= self._threshold:
                return earlier, similarity
        if crowd < _CROWD:
            self._by_input.add(input)
            self._inputs.append(pair)
        else:
            self._by_output.add(pair.output)
            self._outputs.append(pair)
        return None, None

    def _key(self, pair: Pair) -> str:
        """The input; where other numbers make another input, each word with the numbers, so that only texts with the
        same ones are alike."""
        numbers = _NUMBER.findall(pair.input) if self._kind.equal_numbers else None
        if not numbers:
            return pair.input
        mark = "".join(f"n{number}" for number in numbers)
        return " ".join(f"{mark}{word}" for word in normalised(pair.input).split())


def _similarity(one: str, other: str) -> float:
    return 1.0 if one == other else jaccard(_bigrams(one), _bigrams(other))


_bigrams = lru_cache(maxsize=64)(bigrams)  # one text is compared with a crowd


def _exact(pairs: Iterable[Pair]) -> Iterator[Duplicate]:
    stays: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        of = stays.setdefault((pair.input.strip(), pair.output.strip()), pair)
        yield Duplicate(pair, None, None) if of is pair else Duplicate(pair, of, 1.0)


class Contamination(NamedTuple):
    """A pair, and the held-out seed that one of its sides repeats with the exact similarity (None: it is clean)."""

    pair: Pair
    seed_id: str | None
    side: Literal["input", "output"] | None
    similarity: float | None


def contaminations(pairs: Iterable[Pair], held_out: Mapping[str, str], threshold: float) -> Iterator[Contamination]:
    """The pairs that hold the text of a held-out seed on either side. One answer a pair, in order.

    `held_out` maps the id of each seed of the test split to its text; pairs of those seeds are what the test is made
    of, and are clean.
    """
    ids, index = list(held_out), NearDuplicateIndex(threshold)
    for text in held_out.values():
        index.add(text)
    for pair in pairs:
        sides: dict[Literal["input", "output"], str] = {"input": pair.input, "output": pair.output}
        met = (
            Contamination(pair, ids[near.number], side, near.similarity)
            for side, text in sides.items()
            if pair.seed_id not in held_out
            for near in index.like(text)
        )
        yield next(met, Contamination(pair, None, None, None))


class SimilarPair(NamedTuple):
    """Two seeds, by their place in the list, whose texts are alike."""

    first: int
    second: int
    similarity: float


def similar_pairs(texts: Sequence[str], threshold: float) -> list[SimilarPair]:
    """All pairs of texts that are alike."""
    index = NearDuplicateIndex(threshold)
    similar = []
    for second, text in enumerate(texts):
        similar += [SimilarPair(near.number, second, near.similarity) for near in index.like(text)]
        index.add(text)
    return similar
