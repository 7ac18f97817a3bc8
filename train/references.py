"""Answers against the outputs that a person gave to the same inputs: exact matches, F1 of labels and of fields, chrF.

They stand beside the pass rate and decide nothing, except that a task with one right answer (labels, JSON) has the
exact match among its checks. An answer that is empty, cut or missing matches nothing.

Intervals of what is no share are percentiles of 2,000 bootstrap samples of test inputs: with few inputs, or near 0 and
1, they are too narrow.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curate.static_embedding import is_packaged, static_embedding
from schemas.records import Record
from train.intervals import Interval, share

_RESAMPLES = 2_000
_LEVEL = 0.95
NO_LABEL = "(no label)"


class Estimate(Record):
    """A mean over test inputs, between 0 and 1, with its interval."""

    value: float
    low: float
    high: float


class ReferenceResult(Record):
    """One system under one decoding, on the test inputs that have a reference.

    `exact`: the share of answers that are the reference, character by character after the form of the task. `chrf`: the
    mean character n-gram F-score of an answer (Popovic 2015, chrF2 of `sacrebleu`). `similarity`: the mean cosine of a
    static embedding (curate/static_embedding.py), where that is installed. Of labels: `macro_f1`, the mean F1 of the
    labels that occur in the references, and `confusion`, reference -> answer -> count. Of JSON: `field_f1`, over pairs
    of path and value, where a list's items have one path.
    """

    inputs: int
    exact: Interval
    chrf: Estimate | None = None
    similarity: Estimate | None = None
    macro_f1: Estimate | None = None
    confusion: dict[str, dict[str, int]] | None = None
    field_f1: Estimate | None = None


class Answer(Record):
    """What was answered to a test input, empty for what is no answer."""

    seed_id: str
    text: str


def against_references(
    answers: Sequence[Answer], references: Mapping[str, str], labels: Sequence[str], *, is_json: bool
) -> ReferenceResult | None:
    """The comparison of the answers whose seeds have references; None if none has."""
    compared: dict[str, list[str]] = {}
    for answer in answers:
        if answer.seed_id in references:
            compared.setdefault(answer.seed_id, []).append(answer.text)
    if not compared:
        return None
    ids = sorted(compared)
    exact = [sum(text == references[id_] for text in compared[id_]) for id_ in ids]
    result = ReferenceResult(inputs=len(ids), exact=share(exact, [len(compared[id_]) for id_ in ids]))
    pairs = [[(references[id_], text) for text in compared[id_]] for id_ in ids]
    if labels:
        counts = np.stack([_confusion(of_input, labels) for of_input in pairs])
        table = _tables(counts.sum(axis=0), labels)
        return result.model_copy(update={"macro_f1": _estimate(counts, _macro_f1), "confusion": table})
    if is_json:
        fields = np.array([_field_counts(of_input) for of_input in pairs])
        return result.model_copy(update={"field_f1": _estimate(fields, _f1)})
    compared = {"chrf": _chrf, "similarity": _similarity} if is_packaged() else {"chrf": _chrf}
    measures = {name: _estimate(np.array([of(p) for p in pairs]), _mean) for name, of in compared.items()}
    return result.model_copy(update=measures)


def _estimate(of_inputs: np.ndarray, measure: Callable[[np.ndarray], float]) -> Estimate:
    """`measure` of the sum over inputs, with its bootstrap interval."""
    rng, number = np.random.default_rng(0), len(of_inputs)
    weights = rng.multinomial(number, np.full(number, 1 / number), size=_RESAMPLES)
    flat = of_inputs.reshape(number, -1)
    values = [measure(sums.reshape(of_inputs.shape[1:])) for sums in weights @ flat]
    low, high = np.percentile(values, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return Estimate(value=float(measure(of_inputs.sum(axis=0))), low=float(low), high=float(high))


def _confusion(pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> np.ndarray:
    """Counts of reference by answer; the last column is for answers that are no label."""
    counts, place = np.zeros((len(labels), len(labels) + 1)), {label: at for at, label in enumerate(labels)}
    for reference, text in pairs:
        if reference in place:
            counts[place[reference], place.get(text, len(labels))] += 1
    return counts


def _macro_f1(counts: np.ndarray) -> float:
    right = np.diagonal(counts)
    asked, answered = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    occurs = asked > 0
    return float(np.mean(2 * right[occurs] / (asked + answered)[occurs])) if occurs.any() else 0.0


def _tables(counts: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    answers = [*labels, NO_LABEL]
    return {
        label: {answer: int(count) for answer, count in zip(answers, row, strict=True) if count}
        for label, row in zip(labels, counts, strict=True)
        if row.any()
    }


def _field_counts(pairs: Sequence[tuple[str, str]]) -> tuple[int, int, int]:
    """Fields that are right, in references, in answers."""
    sums = Counter[str]()
    for reference, text in pairs:
        wanted, given = Counter(_fields(_parsed(reference))), Counter(_fields(_parsed(text)))
        sums.update(right=(wanted & given).total(), wanted=wanted.total(), given=given.total())
    return sums["right"], sums["wanted"], sums["given"]


def _f1(counts: np.ndarray) -> float:
    right, wanted, given = counts
    return float(2 * right / (wanted + given)) if wanted + given else 1.0


_NOTHING = object()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every leaf; an empty list or object is one."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    elif value is not _NOTHING:
        number = isinstance(value, float) and value.is_integer()
        yield path, json.dumps(int(value) if number else value, ensure_ascii=False)


def _chrf(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Sum of the scores, and their number."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return sum(chrf.sentence_score(text, [reference]).score / 100 for reference, text in pairs), len(pairs)


def _similarity(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Sum of the cosines, and their number; an answer that is none is like nothing."""
    references, texts = zip(*pairs, strict=True)
    cosines = static_embedding().similarity(references, texts)
    return sum(max(0.0, cosine) for cosine in cosines), len(cosines)


def _mean(sums: np.ndarray) -> float:
    total, number = sums
    return float(total / number)
