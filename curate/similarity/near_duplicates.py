"""Near-duplicates by word bigrams: `curate.similarity.set_join` finds every similar pair exactly.

A row is removed only for being similar to one row that stays, which the reason names, and never because of a chain of
similar rows. Of many similar rows, only those are removed that also agree in what is not a template of theirs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from curate.similarity.overlap import FEW, NEARLY_ALL, TEMPLATE, is_edited_copy, is_whole
from curate.similarity.set_join import SimilarRows, TokenSets, find_similar_rows
from curate.words import numbers_in, words
from schemas.progress import Progress, unseen

if TYPE_CHECKING:
    from schemas.kinds import TaskKind

_COUNTED = 1_000  # rows of a cluster that show what its template is
_NO_TEMPLATE = frozenset[int](), frozenset[int]()
_PAIRS = 40  # per row; above this on both sides, most rows are duplicates and both texts are joined at once


def duplicates(
    rows: Iterable[tuple[str, ...]], threshold: float, progress: Progress = unseen
) -> dict[int, SimilarRows]:
    """Map the index of each duplicate row to the earlier row that it repeats. The first row of several stays, so put
    the preferred ones first.

    Rows repeat each other if each of their texts has a Jaccard similarity of word bigrams >= `threshold`.
    """
    with TokenSets(rows) as sets:
        return _first_matches(sets, threshold, progress)


def _first_matches(sets: TokenSets, threshold: float, progress: Progress = unseen) -> dict[int, SimilarRows]:
    return {pair.later: pair for pair in find_similar_rows(sets, threshold, first=True, progress=progress)}


class HasTexts(Protocol):
    """The input and output of a row: a Pair, or its texts."""

    @property
    def asked(self) -> str: ...
    @property
    def output(self) -> str: ...


class RepeatedRows(NamedTuple):
    """`of` maps the index of each duplicate pair to the earlier pair that is the same row; `flagged` holds the indices
    of the pairs that get the flag `TaskKind.flag`, `other_labels` says which label the other row has, for each
    that is flagged for that."""

    of: dict[int, SimilarRows]
    flagged: frozenset[int]
    other_labels: dict[int, str]


def find_repeated_rows(
    pairs: Callable[[], Iterable[HasTexts]], threshold: float, kind: TaskKind, progress: Progress = unseen
) -> RepeatedRows:
    """Find the pairs that are the same row as an earlier one, by the rule of their task kind (`TaskKind.duplicate`).

    `pairs` reads them, in the same order at every call. Depending on `TaskKind.flag`, flagged are pairs that stay but
    whose output is like an earlier one's (`one_output`), or two pairs that are the same row with different outputs
    (`two_labels`).
    """
    flagged, other_labels = set[int](), dict[int, str]()
    if kind.duplicate == "both exact":
        of = _exact_duplicates((pair.asked.strip(), pair.output.strip()) for pair in pairs())
    elif kind.duplicate == "input near":
        with TokenSets((_with_numbers(pair, kind),) for pair in pairs()) as sets:
            of = _without_templates(sets, _first_matches(sets, threshold, progress), threshold, progress)
    else:
        with TokenSets((_with_numbers(pair, kind), pair.output) for pair in pairs()) as sets:
            of, outputs = _duplicates_on_both_sides(sets, threshold, progress)
            of = _without_templates(sets, of, threshold, progress)
        flagged = outputs - of.keys() if kind.flag == "one_output" else flagged
    if kind.flag == "two_labels":
        labels = [pair.output for pair in pairs()]
        conflicting = [(one.later, one.earlier) for one in of.values() if labels[one.later] != labels[one.earlier]]
        other_labels = {
            number: f"has the label '{labels[other][:40]}'" for one in conflicting for number, other in (one, one[::-1])
        }
        flagged = set(other_labels)
    return RepeatedRows(of, frozenset(flagged), other_labels)


def _duplicates_on_both_sides(
    sets: TokenSets, threshold: float, progress: Progress
) -> tuple[dict[int, SimilarRows], set[int]]:
    """`duplicates` of rows with two texts, and the rows whose second text repeats another one.

    A thousand replies from one template would all be compared with each other although no two answer the same message,
    and so would a thousand answers to one prompt. So candidates are searched on the side with fewer similar texts.
    """
    outputs, comparisons = set[int](), list[int]()
    for side in (0, 1):
        with sets.side(side) as texts:
            of = _first_matches(texts, threshold, progress)
            outputs = set(_without_templates(texts, of, threshold, progress)) if side else outputs
        comparisons.append(
            sum(cluster_size * cluster_size for cluster_size in Counter(one.earlier for one in of.values()).values())
        )
    side = comparisons.index(min(comparisons))
    if not comparisons[side]:
        return {}, outputs
    if comparisons[side] > _PAIRS * len(sets):
        return _first_matches(sets, threshold, progress), outputs
    of = {}
    with sets.side(side) as texts:
        for pair in find_similar_rows(texts, threshold, progress=progress):
            if pair.later in of or pair.earlier in of:
                continue
            similarity = sets.similarity(pair.later, pair.earlier)
            if similarity >= threshold:
                of[pair.later] = pair._replace(similarity=similarity)
    return of, outputs


def _without_templates(
    sets: TokenSets, of: dict[int, SimilarRows], threshold: float, progress: Progress
) -> dict[int, SimilarRows]:
    """`of` without the rows that only share a template with the row that they are similar to.

    Rows that stay and are similar to each other, at a threshold that allows for one step in between, make a cluster
    with all rows that are similar to them. Of a cluster of FEW or more different first texts, the tokens in more
    than half are the template. Two of its rows are duplicates if the other tokens of their first texts are the same, if
    one is an edited copy of the other, or if one has all tokens of the other.
    """
    staying = sorted({one.earlier for one in of.values()})
    with sets.of_rows(staying) as their_sets:
        similar = find_similar_rows(their_sets, threshold * threshold, first=True, progress=progress)
        nearest = {pair.later: pair.earlier for pair in similar}
    first_of = {row: staying[nearest.get(number, number)] for number, row in enumerate(staying)}
    clusters = dict[int, list[int]]()
    for row in sorted({*staying, *of}):
        clusters.setdefault(first_of[of[row].earlier if row in of else row], []).append(row)
    kept = dict[int, SimilarRows]()
    for rows in clusters.values():  # both readings of a cluster's sets in a row, while they are cached
        template, frame = _template(sets, rows) if len(rows) >= FEW else _NO_TEMPLATE
        if not template:
            kept.update((row, of[row]) for row in rows if row in of)
            continue
        same_input = dict[frozenset[int], list[int]]()
        for row in rows:
            others = same_input.setdefault(sets[row][0] - template, [])
            like = of[row].earlier if row in of else row
            compared = ((other, sets.similarity(row, other)) for other in others)
            its, ours = sets[like][0], sets[row][0]
            if like != row and like not in kept and (ours <= its or its <= ours or is_edited_copy(ours, its, frame)):
                kept[row] = of[row]
            elif near := next((one for one in compared if one[1] >= threshold), None):
                kept[row] = SimilarRows(row, *near)
            else:
                others.append(row)
    return kept


def _template(sets: TokenSets, rows: Sequence[int]) -> tuple[frozenset[int], frozenset[int]]:
    """The tokens of more than half of these rows, or of a thousand of them, and those of nearly all; empty if too few
    first texts differ, or if a few do not contain the tokens whole."""
    of_input = {sets[row][0]: sets[row] for row in rows[:: max(1, len(rows) // _COUNTED)]}
    if len(of_input) < FEW:
        return _NO_TEMPLATE
    counts = Counter(token for texts in of_input.values() for tokens in texts for token in tokens)
    of_most = frozenset(token for token, count in counts.items() if 2 * count > len(of_input))
    if len(of_input) < TEMPLATE:
        first = Counter(token for tokens in of_input for token in tokens)
        broken = sum(len(of_input) - first[token] for token in of_most & first.keys())
        if not is_whole(broken, sum(first[token] for token in first.keys() - of_most), first.total()):
            return _NO_TEMPLATE
    return of_most, frozenset(token for token in of_most if counts[token] >= NEARLY_ALL * len(of_input))


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
