"""Near-duplicates and contamination, by word bigrams: MinHash finds candidates, an exact Jaccard similarity decides.

What is compared is what makes a row worth having. **Two pairs are duplicates if their outputs are alike and,
where both come from the same seed, their inputs are alike too.** So candidates of one input are compared by
what was generated; the simple versions that backward generation makes of one excellent output share their target by
design and are compared by their input; and two seeds that led to the same output give one row.

A row goes only because it is alike to one row that stays, which the reason names: never on an unverified hash,
never along a chain of likenesses. The hash finds 99.9 % of those exactly at the threshold, more above it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from schemas.records import Pair

_PERMUTATIONS = 128
_RECALL = 0.999
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
    """A pair, and the earlier one that it repeats with the exact similarity (None: it is unlike all that stay)."""

    pair: Pair
    of: Pair | None
    similarity: float | None


def duplicates(pairs: Iterable[Pair], threshold: float) -> Iterator[Duplicate]:
    """Of two pairs alike the earlier one stays, so put the ones you prefer first. One answer a pair, in order.

    `threshold` is the least Jaccard similarity of word bigrams at which texts are alike. Texts that stay are held in
    memory as sets of bigrams, some 6 kB for 50 words.
    """
    index, stays = NearDuplicateIndex(threshold), list[Pair]()
    for pair in pairs:
        near = next((n for n in index.like(pair.output) if _same_row(pair, stays[n.number], threshold)), None)
        if near:
            yield Duplicate(pair, stays[near.number], near.similarity)
            continue
        index.add(pair.output)
        stays.append(pair)
        yield Duplicate(pair, None, None)


def _same_row(pair: Pair, earlier: Pair, threshold: float) -> bool:
    if pair.seed_id != earlier.seed_id or pair.input == earlier.input:
        return True
    return jaccard(bigrams(pair.input), bigrams(earlier.input)) >= threshold


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
