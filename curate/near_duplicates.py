"""Near-duplicates by word bigrams: `curate.set_join` finds every similar pair exactly.

A row is removed only for being similar to one row that stays, which the reason names, and never because of a chain of
similar rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from curate.set_join import SimilarRows, TokenSets, find_similar_rows
from curate.words import numbers_in, words
from schemas.kinds import TaskKind

_PAIRS = 40  # per row; above this on both sides, most rows are duplicates and both texts are joined at once


def duplicates(rows: Iterable[tuple[str, ...]], threshold: float) -> dict[int, SimilarRows]:
    """Map the index of each duplicate row to the earlier row that it repeats. The first row of several stays, so put
    the preferred ones first.

    Rows repeat each other if each of their texts has a Jaccard similarity of word bigrams >= `threshold`.
    """
    with TokenSets(rows) as sets:
        return _first_matches(sets, threshold)


def _first_matches(sets: TokenSets, threshold: float) -> dict[int, SimilarRows]:
    return {pair.later: pair for pair in find_similar_rows(sets, threshold, first=True)}


class HasTexts(Protocol):
    """The input and output of a row: a Pair, or its texts."""

    @property
    def asked(self) -> str: ...
    @property
    def output(self) -> str: ...


class RepeatedRows(NamedTuple):
    """`of` maps the index of each duplicate pair to the earlier pair that is the same row; `flagged` holds the indices
    of the pairs that get the flag `TaskKind.flag`."""

    of: dict[int, SimilarRows]
    flagged: frozenset[int]


def find_repeated_rows(pairs: Callable[[], Iterable[HasTexts]], threshold: float, kind: TaskKind) -> RepeatedRows:
    """Find the pairs that are the same row as an earlier one, by the rule of their task kind (`TaskKind.duplicate`).

    `pairs` reads them, in the same order at every call. Depending on `TaskKind.flag`, flagged are pairs that stay but
    whose output is like an earlier one's (`one_output`), or two pairs that are the same row with different outputs
    (`two_labels`).
    """
    flagged: set[int] = set()
    if kind.duplicate == "both exact":
        of = _exact_duplicates((pair.asked.strip(), pair.output.strip()) for pair in pairs())
    elif kind.duplicate == "input near":
        of = duplicates(((_with_numbers(pair, kind),) for pair in pairs()), threshold)
    else:
        with TokenSets((_with_numbers(pair, kind), pair.output) for pair in pairs()) as sets:
            of, outputs = _duplicates_on_both_sides(sets, threshold)
        flagged = outputs - of.keys() if kind.flag == "one_output" else flagged
    if kind.flag == "two_labels":
        labels = [pair.output for pair in pairs()]
        conflicting = [(one.later, one.earlier) for one in of.values() if labels[one.later] != labels[one.earlier]]
        flagged = {number for both in conflicting for number in both}
    return RepeatedRows(of, frozenset(flagged))


def _duplicates_on_both_sides(sets: TokenSets, threshold: float) -> tuple[dict[int, SimilarRows], set[int]]:
    """`duplicates` of rows with two texts, and the rows whose second text repeats another one.

    A thousand replies from one template would all be compared with each other although no two answer the same message,
    and so would a thousand answers to one prompt. So candidates are searched on the side with fewer similar texts.
    """
    outputs, comparisons = set[int](), list[int]()
    for side in (0, 1):
        with sets.side(side) as texts:
            of = _first_matches(texts, threshold)
        outputs = set(of)
        comparisons.append(
            sum(cluster_size * cluster_size for cluster_size in Counter(one.earlier for one in of.values()).values())
        )
    side = comparisons.index(min(comparisons))
    if not comparisons[side]:
        return {}, outputs
    if comparisons[side] > _PAIRS * len(sets):
        return _first_matches(sets, threshold), outputs
    of = {}
    with sets.side(side) as texts:
        for pair in find_similar_rows(texts, threshold):
            if pair.later in of or pair.earlier in of:
                continue
            similarity = sets.similarity(pair.later, pair.earlier)
            if similarity >= threshold:
                of[pair.later] = pair._replace(similarity=similarity)
    return of, outputs


def _exact_duplicates(rows: Iterable[tuple[str, ...]]) -> dict[int, SimilarRows]:
    first: dict[tuple[str, ...], int] = {}
    numbers = ((number, first.setdefault(row, number)) for number, row in enumerate(rows))
    return {number: SimilarRows(number, earlier, 1.0) for number, earlier in numbers if earlier != number}


def _with_numbers(pair: HasTexts, kind: TaskKind) -> str:
    """The input. If other numbers make it a different input, each word is prefixed with a hash of all its numbers, so
    that only inputs with the same numbers can be similar."""
    numbers = numbers_in(pair.asked) if kind.equal_numbers else []
    if not numbers:
        return pair.asked
    mark = f"n{hashlib.sha256(' '.join(numbers).encode()).hexdigest()[:8]}"
    if pair.asked.isascii():
        return mark + f" {mark}".join(words(pair.asked))
    # In hexadecimal, because a Chinese character has to form a single word with the mark.
    return " ".join(mark + (word if word.isascii() else word.encode().hex()) for word in words(pair.asked))
