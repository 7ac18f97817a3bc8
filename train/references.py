"""Answers against the outputs that a person gave to the same inputs: exact matches, F1 of labels and of fields, chrF,
ROUGE-L.

They stand beside the pass rate and decide nothing, except that a task with one right answer (labels, JSON) has the
exact match among its checks. An answer that is empty, cut or missing matches nothing, and nothing matches a reference
that is no answer to the task itself.

Intervals are score intervals at the effective number of answers (`train.intervals`), for a mean of F-scores as for a
share; for macro F1, which is no mean over inputs, that number comes from the jackknife over inputs, and rare labels
have a say of their own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curate.gates.words import words
from curate.static_embedding import is_packaged, static_embedding
from schemas.records import Record
from train.checks import matches_reference, parse_values
from train.intervals import ALONE, grouped, share
from train.limits import group_discount, score_limits, share_limits, sum_by_group
from train.reference_result import MeanEstimate, ReferenceResult

NO_LABEL = "(no label)"


class GivenAnswer(Record):
    """What was answered to a test input, empty for what is no answer."""

    seed_id: str
    text: str


def against_references(
    answers: Sequence[GivenAnswer],
    references: Mapping[str, str],
    labels: Sequence[str],
    *,
    is_json: bool,
    groups: Mapping[str, str] = ALONE,
) -> ReferenceResult | None:
    """The comparison of the answers whose seeds have references; None if none has. `groups`: seed -> group."""
    compared: dict[str, list[str]] = {}
    for answer in answers:
        if answer.seed_id in references:
            compared.setdefault(answer.seed_id, []).append(answer.text)
    if not compared:
        return None
    ids = sorted(compared)
    of_ids = grouped(ids, groups)
    exact = [sum(matches_reference(text, references[id_]) for text in compared[id_]) for id_ in ids]
    matched = share(exact, [len(compared[id_]) for id_ in ids], groups=of_ids)
    result = ReferenceResult(inputs=len(ids), exact=matched)
    pairs = [[(references[id_], text) for text in compared[id_]] for id_ in ids]
    if labels:
        labels = list(dict.fromkeys([*labels, *(references[id_] for id_ in ids)]))
        counts = np.stack([_confusion(of_input, labels) for of_input in pairs])
        table = _tables(counts.sum(axis=0), labels)
        counts = np.moveaxis(sum_by_group(np.moveaxis(counts, 0, -1), of_ids), -1, 0)
        return result.model_copy(update={"macro_f1": _mean_of_labels(counts, of_ids is not None), "confusion": table})
    if is_json:
        right, wanted, given = np.array([_field_counts(of_input) for of_input in pairs], dtype=np.float64).T
        return result.model_copy(update={"field_f1": _ratio(2 * right, wanted + given, of_ids)})
    of_texts = {"chrf": _chrf, "rouge_l": _rouge_l} | ({"similarity": _similarity} if is_packaged() else {})
    columns = {
        name: np.array([of(of_input) for of_input in pairs], dtype=np.float64).T for name, of in of_texts.items()
    }
    return result.model_copy(update={name: _ratio(sums, of, of_ids) for name, (sums, of) in columns.items()})


def _ratio(part: np.ndarray, whole: np.ndarray, groups: Sequence[str] | None) -> MeanEstimate:
    """Part of whole over inputs; an input without a whole (nothing wanted, nothing given) is right, and one."""
    part, whole = np.where(whole > 0, np.minimum(part, whole), 1.0), np.where(whole > 0, whole, 1.0)
    value, low, high = (float(number) for number in share_limits(part, whole, groups=groups))
    return MeanEstimate(value=value, low=low, high=high)


def _mean_of_labels(of_inputs: np.ndarray, are_groups: bool = False) -> MeanEstimate:
    """Macro F1 of counts by input, or by group of them. What leaving one out changes says how many answers it is worth
    (jackknife).

    Two inputs of a rare label that agree change nothing when one is left out, and prove little; so each label has a
    score interval of its own, at as many answers as it has inputs (or groups), and where the mean of those (MOVER)
    reaches further, that counts.
    """
    whole, inputs = of_inputs.sum(axis=0), len(of_inputs)
    scores = _f1_of_labels(whole)
    value, left = float(scores.mean()), np.array([_f1_of_labels(whole - one).mean() for one in of_inputs])
    variance = float(((left - left.mean()) ** 2).sum()) * (inputs - 1) / inputs
    worth = value * (1 - value) / variance if variance else float(inputs)
    worth *= group_discount(inputs) if are_groups else 1.0
    _, low, high = score_limits(np.array(value), np.array(np.clip(worth, 1.0, whole.sum())))
    asked = (of_inputs.sum(axis=2) > 0).sum(axis=0)
    _, lows, highs = score_limits(scores, asked[asked > 0].astype(np.float64))
    below, above = (math.hypot(*distances) / len(scores) for distances in (scores - lows, highs - scores))
    return MeanEstimate(
        value=value, low=max(0.0, min(float(low), value - below)), high=min(1.0, max(float(high), value + above))
    )


def _confusion(pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> np.ndarray:
    """Counts of reference by answer; the last column is for answers that are no label."""
    counts, place = np.zeros((len(labels), len(labels) + 1)), {label: at for at, label in enumerate(labels)}
    for reference, text in pairs:
        counts[place[reference], place.get(text, len(labels))] += 1
    return counts


def _f1_of_labels(counts: np.ndarray) -> np.ndarray:
    """F1 of each label that occurs in the references; without any, one 0."""
    right = np.diagonal(counts)
    asked, answered = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    occurs = asked > 0
    return 2 * right[occurs] / (asked + answered)[occurs] if occurs.any() else np.zeros(1)


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
        wanted, given = _leaves(reference), _leaves(text)
        # What is no JSON has no field, and is not matched by an answer that has none either.
        sums.update(right=(wanted & given).total(), wanted=max(1, wanted.total()), given=given.total())
    return sums["right"], sums["wanted"], sums["given"]


def _leaves(text: str) -> Counter[tuple[str, str]]:
    """The fields of a JSON text; none of what is no JSON, and of what is nested beyond reason."""
    try:
        return Counter(_fields(parse_values(text)))
    except (ValueError, RecursionError):
        return Counter()


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every leaf; an empty list is one, and so is a record or an item in which nothing is known."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{json.dumps(name)}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _chrf(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Sum of the scores, and their number."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return sum(chrf.sentence_score(text, [reference]).score / 100 for reference, text in pairs), len(pairs)


def _rouge_l(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Sum of the F1 scores, and their number."""
    sums = 0.0
    for reference, text in pairs:
        wanted, given = words(reference), words(text)
        if wanted and given:
            sums += 2 * _common_subsequence(wanted, given) / (len(wanted) + len(given))
        else:
            sums += reference == text
    return sums, len(pairs)


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence, a bit for each place of `a` (Hyyro 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    row = (1 << len(a)) - 1
    for word in b:
        matched = row & places.get(word, 0)
        row = (row + matched) | (row - matched)
    return len(a) - (row & ((1 << len(a)) - 1)).bit_count()


def _similarity(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Sum of the cosines, and their number; an answer that is none is like nothing."""
    references, texts = zip(*pairs, strict=True)
    cosines = static_embedding().similarity(references, texts)
    return sum(max(0.0, cosine) for cosine in cosines), len(cosines)
