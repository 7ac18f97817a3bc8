"""Agreement between annotators: Krippendorff's alpha and Cohen's and Fleiss' kappa, with bootstrap intervals over rows.

Alpha (Krippendorff 2011, package `krippendorff`) allows any number of annotators and missing answers. Kappa comes from
`statsmodels`. Answers are nominal. The verdict is one question; every reason is a question of its own (given or not).
Intervals are percentiles of 2,000 resamples of whole rows. A resample in which a measure is undefined (all answers are
equal) is left out; the interval is None if more than a tenth of them are undefined.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from curate.review.answers import current_answers, display_names
from schemas.reviews import Review

_RESAMPLES = 2_000
_UNDEFINED = 0.1
Answers = Mapping[str, Mapping[str, str]]  # pair id -> annotator -> answer


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
    names = display_names(reviews)
    answers = {
        id_: {names[r.reviewer]: r for r in current_answers(of_row) if r.role == "annotator"}
        for id_, of_row in reviews.items()
    }
    shared = {id_: by for id_, by in sorted(answers.items()) if len(by) > 1}
    if not shared:
        return []
    questions: dict[str, Answers] = {
        "verdict": {id_: {name: r.decision for name, r in by.items()} for id_, by in shared.items()}
    }
    for reason in sorted({reason for by in shared.values() for r in by.values() for reason in r.reasons}):
        questions[f"reason {reason}"] = {
            id_: {name: "yes" if reason in r.reasons else "no" for name, r in by.items()} for id_, by in shared.items()
        }
    return [measure for question, by_row in questions.items() for measure in _measures(question, by_row)]


def _measures(question: str, by_row: Answers) -> list[Agreement]:
    names = tuple(sorted({name for by in by_row.values() for name in by}))
    rows = list(by_row.values())
    measures = [_measure_with_interval(question, "Krippendorff's alpha", names, rows, *_alpha(rows))]
    for pair in combinations(names, 2):
        both = [{name: by[name] for name in pair} for by in rows if set(pair) <= set(by)]
        if both:
            measures.append(_measure_with_interval(question, "Cohen's kappa", pair, both, *_cohen(both, pair)))
    raters, times = Counter(len(by) for by in rows).most_common(1)[0]
    if raters > 2 or len(names) > 2:
        equal = [by for by in rows if len(by) == raters]
        kappa = _none_if_undefined(_inter_rater().fleiss_kappa)
        measures.append(_measure_with_interval(question, "Fleiss' kappa", names, equal, _counts(equal), kappa))
        assert len(equal) == times
    return measures


Measure = Callable[[Any], float | None]


def _measure_with_interval(
    question: str,
    measure: str,
    annotators: tuple[str, ...],
    rows: Sequence[Mapping[str, str]],
    table: Any,
    of: Measure,
) -> Agreement:
    import numpy as np

    value = of(table)
    low = high = None
    if value is not None and len(rows) > 1:
        generator = np.random.default_rng(0)
        resampled = [of(table[generator.integers(len(table), size=len(table))]) for _ in range(_RESAMPLES)]
        defined = [resampled_value for resampled_value in resampled if resampled_value is not None]
        if len(defined) >= (1 - _UNDEFINED) * _RESAMPLES:
            low, high = (float(bound) for bound in np.quantile(defined, [0.025, 0.975]))
    return Agreement(question, measure, annotators, len(rows), _agreed(rows), value, low, high)


def _agreed(rows: Sequence[Mapping[str, str]]) -> float:
    equal = [a == b for by in rows for a, b in combinations(by.values(), 2)]
    return sum(equal) / len(equal)


def _counts(rows: Sequence[Mapping[str, str]]) -> Any:
    """rows x answers: how many annotators gave each answer."""
    import numpy as np

    values = sorted({value for by in rows for value in by.values()})
    return np.array([[list(by.values()).count(value) for value in values] for by in rows])


def _none_if_undefined(measure: Callable[[Any], float]) -> Measure:
    """The measure of a table of `_counts`, or None if all answers are equal."""
    return lambda table: None if (table.sum(axis=0) > 0).sum() < 2 else float(measure(table))


def _alpha(rows: Sequence[Mapping[str, str]]) -> tuple[Any, Measure]:
    import krippendorff

    return _counts(rows), _none_if_undefined(
        lambda t: krippendorff.alpha(value_counts=t, level_of_measurement="nominal")
    )


def _cohen(rows: Sequence[Mapping[str, str]], pair: tuple[str, str]) -> tuple[Any, Measure]:
    import numpy as np

    inter_rater = _inter_rater()
    values = sorted({value for by in rows for value in by.values()})
    codes = np.array([[values.index(by[name]) for name in pair] for by in rows])

    def kappa(table: Any) -> float | None:
        square = np.zeros((len(values), len(values)))
        np.add.at(square, (table[:, 0], table[:, 1]), 1)
        if len(np.unique(table)) < 2:
            return None
        return float(inter_rater.cohens_kappa(square, return_results=False))

    return codes, kappa


def _inter_rater() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.stats import inter_rater
    return inter_rater
