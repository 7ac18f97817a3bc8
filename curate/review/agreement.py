"""Agreement between annotators: Krippendorff's alpha and Cohen's and Fleiss' kappa, with bootstrap intervals over rows.

Alpha (Krippendorff 2011) allows any number of annotators and missing answers; the kappas are those of Cohen 1960 and
Fleiss 1971. Answers are nominal. The verdict is one question; every reason is a question of its own (given or not).
Intervals are percentiles of 2,000 resamples of whole rows. A resample in which a measure is undefined (all answers are
equal) is left out; the interval is None if more than a tenth of them are undefined, or if all give the same value: a
reason that one of two annotators never gave has a kappa of 0 in every resample, which is no certainty. Cohen's kappa is
left out if there are more than ten annotators, of whom there are too many pairs to read.

Rows with the same answers are counted once, so the time grows with the number of answers only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from curate.review.decision import current_answers, display_names
from schemas.reviews import Review

_RESAMPLES = 2_000
_UNDEFINED = 0.1
_MAX_PAIRED = 10  # annotators
Answers = Mapping[str, str]  # annotator -> answer to a row
Rows = Counter[tuple[str, ...]]  # the answers to a row -> number of rows with these answers
Question = tuple[Rows, dict[tuple[str, str], Rows]]  # the rows of all annotators, sorted; those of each pair, in order


@dataclass(frozen=True)
class Agreement:
    """One measure of one question.

    `annotators` are the two of Cohen's kappa, else all. `value` is None if the measure is undefined; `agreed` is the
    plain share of pairs of equal answers.
    """

    question: str
    measure: str
    annotators: tuple[str, ...]
    rows: int
    agreed: float
    value: float | None
    low: float | None
    high: float | None


def agreement(reviews: Mapping[str, Sequence[Review]]) -> list[Agreement]:
    """Every measure of every question, on the rows with current answers of at least two annotators (adjudicators do not
    count)."""
    display = display_names(reviews)
    answers = (
        {display[r.reviewer]: r for r in current_answers(of_row) if r.role == "annotator"}
        for of_row in reviews.values()
    )
    shared = [by for by in answers if len(by) > 1]
    if not shared:
        return []
    names = tuple(sorted({name for by in shared for name in by}))
    with_reason: dict[str, list[Mapping[str, Review]]] = {}
    for by in shared:
        for reason in {reason for r in by.values() for reason in r.reasons}:
            with_reason.setdefault(reason, []).append(by)
    measures = _measures("verdict", names, _question(names, ({n: r.decision for n, r in by.items()} for by in shared)))
    nobody = _question(names, (dict.fromkeys(by, "no") for by in shared))
    for reason, rows in sorted(with_reason.items()):
        given = ({name: "yes" if reason in r.reasons else "no" for name, r in by.items()} for by in rows)
        others = _question(names, (dict.fromkeys(by, "no") for by in rows))
        measures += _measures(f"reason {reason}", names, _replaced(nobody, others, _question(names, given)))
    return measures


def _question(names: Sequence[str], answers: Iterable[Answers]) -> Question:
    """The answers to a question; pairs of annotators only if there are few of `names`."""
    rows, of_pairs = Rows(), dict[tuple[str, str], Rows]()
    for by in answers:
        rows[tuple(sorted(by.values()))] += 1
        for one, other in combinations(sorted(by), 2) if len(names) <= _MAX_PAIRED else ():
            of_pairs.setdefault((one, other), Rows())[by[one], by[other]] += 1
    return rows, of_pairs


def _replaced(whole: Question, old: Question, new: Question) -> Question:
    """The `whole` question with the answers to some rows replaced."""
    of_pairs = {pair: rows - old[1].get(pair, Rows()) + new[1].get(pair, Rows()) for pair, rows in whole[1].items()}
    return whole[0] - old[0] + new[0], of_pairs


def _measures(question: str, names: tuple[str, ...], answers: Question) -> list[Agreement]:
    rows, of_pairs = answers
    measures = [_measure_with_interval(question, "Krippendorff's alpha", names, rows, _alpha)]
    measures += [
        _measure_with_interval(question, "Cohen's kappa", pair, of_pair, _cohen)
        for pair, of_pair in sorted(of_pairs.items())
    ]
    raters = Counter[int]()
    for row, times in rows.items():
        raters[len(row)] += times
    often = max(raters, key=lambda number: (raters[number], number))
    if often > 2 or len(names) > 2:
        equal = Rows({row: times for row, times in rows.items() if len(row) == often})
        measures.append(_measure_with_interval(question, "Fleiss' kappa", names, equal, _fleiss))
    return measures


# From the kinds of row and, for each sample, the number of rows of each kind (samples x kinds), the numerator and the
# denominator of the measure in each sample. The denominator is 0 where all answers are equal.
Measure = Callable[[Sequence[tuple[str, ...]], Any], tuple[Any, Any]]


def _measure_with_interval(
    question: str, measure: str, annotators: tuple[str, ...], rows: Rows, of: Measure
) -> Agreement:
    import numpy as np

    def values(samples: Any) -> list[float]:
        above, below = of(kinds, samples)
        return list((above[below > 0] / below[below > 0]).tolist())

    kinds, number, low, high = sorted(rows), rows.total(), None, None
    times = np.array([rows[kind] for kind in kinds], dtype=float)
    value = values(times[None])
    if value and number > 1:
        resampled = values(np.random.default_rng(0).multinomial(number, times / number, size=_RESAMPLES).astype(float))
        if len(resampled) >= (1 - _UNDEFINED) * _RESAMPLES:
            low, high = (float(bound) for bound in np.quantile(resampled, [0.025, 0.975]))
            low, high = (low, high) if low < high else (None, None)
    given, raters = _counts(kinds)
    agreed = times @ (given * (given - 1)).sum(axis=1) / (times @ (raters * (raters - 1)))
    return Agreement(question, measure, annotators, number, float(agreed), value[0] if value else None, low, high)


def _counts(kinds: Sequence[tuple[str, ...]]) -> tuple[Any, Any]:
    """How many annotators gave each answer in each kind of row (kinds x answers), and how many there were."""
    import numpy as np

    answers = sorted({answer for kind in kinds for answer in kind})
    given = np.array([[kind.count(answer) for answer in answers] for kind in kinds], dtype=float)
    return given, given.sum(axis=1)


def _alpha(kinds: Sequence[tuple[str, ...]], samples: Any) -> tuple[Any, Any]:
    given, raters = _counts(kinds)
    differing = samples @ ((raters**2 - (given**2).sum(axis=1)) / (raters - 1))
    answers = samples @ raters
    by_chance = answers**2 - ((samples @ given) ** 2).sum(axis=1)
    return by_chance - (answers - 1) * differing, by_chance


def _fleiss(kinds: Sequence[tuple[str, ...]], samples: Any) -> tuple[Any, Any]:
    given, raters = _counts(kinds)
    answers, by_chance = samples @ raters, ((samples @ given) ** 2).sum(axis=1)
    equal = samples @ (((given**2).sum(axis=1) - raters) / (raters * (raters - 1))) / samples.sum(axis=1)
    return equal * answers**2 - by_chance, answers**2 - by_chance


def _cohen(kinds: Sequence[tuple[str, ...]], samples: Any) -> tuple[Any, Any]:
    import numpy as np

    rows, equal = samples.sum(axis=1), samples @ np.array([float(one == other) for one, other in kinds])
    answers = sorted({answer for kind in kinds for answer in kind})
    first, second = (
        samples @ np.array([[float(kind[side] == answer) for answer in answers] for kind in kinds]) for side in (0, 1)
    )
    by_chance = (first * second).sum(axis=1)
    return rows * equal - by_chance, rows**2 - by_chance
