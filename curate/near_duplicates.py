"""Near-duplicates, by word bigrams: `curate.set_join` finds every pair alike, none by luck.

A row goes only because it is alike to one row that stays, which the reason names: never along a chain of likenesses.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from curate.set_join import Alike, TokenSets, alike
from curate.words import numbers_in, words
from schemas.kinds import TaskKind

_PAIRS = 40  # a row; with more on both sides most rows are duplicates, and go as they are met


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


def similar_pairs(texts: Iterable[str], threshold: float) -> list[Alike]:
    """All pairs of texts that are alike."""
    with TokenSets((text,) for text in texts) as sets:
        return list(alike(sets, threshold))
