"""Near-duplicates and leaks, by word bigrams: MinHash finds who might be alike, an exact Jaccard similarity decides.

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
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from schemas.records import Pair, Verdict, content_id

LEAK, DUPLICATE = "pool/leak@1", "pool/duplicate@1"

_PERMUTATIONS = 128
_RECALL = 0.999
# A Chinese or Japanese character counts as a word, since these scripts do not part words.
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


class Likeness:
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


def duplicates(pairs: Sequence[Pair], threshold: float) -> list[Verdict]:
    """A verdict for every pair, in order: the earlier of two alike stays, so put the ones you prefer first.

    `threshold` is the least Jaccard similarity of word bigrams at which texts are alike.
    """
    fingerprint = content_id("scope", [DUPLICATE, [pair.id for pair in pairs], threshold])
    index, kept = Likeness(threshold), list[Pair]()
    verdicts = []
    for pair in pairs:
        found = next((n for n in index.like(pair.output) if _same_row(pair, kept[n.number], threshold)), None)
        if found:
            reason = f"duplicate: {_percent(found)} like kept pair {kept[found.number].id}"
        else:
            reason = "unique"
            index.add(pair.output)
            kept.append(pair)
        score = found.similarity if found else None
        verdicts.append(
            Verdict(pair_id=pair.id, by=DUPLICATE, fingerprint=fingerprint, keep=not found, score=score, reason=reason)
        )
    return verdicts


def _same_row(pair: Pair, kept: Pair, threshold: float) -> bool:
    if pair.seed_id != kept.seed_id or pair.input == kept.input:
        return True
    return jaccard(bigrams(pair.input), bigrams(kept.input)) >= threshold


def leaks(pairs: Sequence[Pair], held_out: Mapping[str, str], threshold: float) -> list[Verdict]:
    """A verdict for every pair: a pair of a training or validation seed may not hold the text of a test seed.

    `held_out` maps the id of each test seed to its text; pairs of those seeds are what the test is made of, and pass.
    Both sides of a pair are compared with every test seed. No review overrules a leak: it would spoil the proof.
    """
    ids = list(held_out)
    fingerprint = content_id("scope", [LEAK, sorted(held_out.items()), threshold])
    index = Likeness(threshold)
    for text in held_out.values():
        index.add(text)
    verdicts = []
    for pair in pairs:
        keep, similarity, reason = True, None, "clean"
        sides = {} if pair.seed_id in held_out else {"input": pair.input, "output": pair.output}
        for side, text in sides.items():
            found = next(index.like(text), None)
            if found and keep:
                keep, similarity = False, found.similarity
                seed = ids[found.number]
                reason = f"leak: near-duplicate of test seed {seed} (its {side} text is {_percent(found)} like it)"
        verdicts.append(
            Verdict(pair_id=pair.id, by=LEAK, fingerprint=fingerprint, keep=keep, score=similarity, reason=reason)
        )
    return verdicts


class Twins(NamedTuple):
    """Two seeds, by their place in the list, whose texts are alike."""

    first: int
    second: int
    similarity: float


def twins(texts: Sequence[str], threshold: float) -> list[Twins]:
    """All pairs of texts that are alike."""
    index = Likeness(threshold)
    found = []
    for second, text in enumerate(texts):
        found += [Twins(near.number, second, near.similarity) for near in index.like(text)]
        index.add(text)
    return found


def _percent(near: Near) -> str:
    return f"{near.similarity:.0%}"
