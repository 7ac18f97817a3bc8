"""Compare answers with outputs that people wrote for the same inputs: exact matches, F1 of labels and of fields, chrF,
ROUGE-L.

These are shown beside the pass rate and do not affect it, except that a task with one right answer (labels, JSON) has
the exact match among its checks. An answer that is empty, cut or missing matches nothing, and nothing matches a
reference that is not a valid answer to the task.

Intervals of shares are score intervals at the effective number of answers (`intervals`); those of mean scores and of
field F1 are `curate.certificate.bounded_mean`, with each input, or group of inputs, as one value. Macro F1 is not a
mean over inputs, so its effective number comes from the jackknife over inputs, and rare labels widen its interval
separately.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any
from unicodedata import normalize

import numpy as np

from curate.certificate.bounded_mean import mean_limits
from curate.gates.words import words
from curate.similarity.static_embedding import is_packaged, static_embedding
from schemas.records import Record
from train.evaluation.checks import matches_reference, parse_values
from train.evaluation.intervals import ALONE, grouped, share
from train.evaluation.limits import group_discount, score_limits, sum_by_group
from train.evaluation.metrics import MeanEstimate, ReferenceResult

NO_LABEL = "(no label)"


class GivenAnswer(Record):
    """The answer to a test input; empty text if there is no valid answer."""

    seed_id: str
    text: str


def compare_with_references(
    answers: Sequence[GivenAnswer],
    references: Mapping[str, str],
    labels: Sequence[str],
    *,
    is_json: bool,
    groups: Mapping[str, str] = ALONE,
) -> ReferenceResult | None:
    """Compare the answers whose seeds have references; None if there are none. `groups` maps seed to group."""
    compared: dict[str, list[str]] = {}
    references = {id_: normalize("NFC", reference) for id_, reference in references.items()}
    for answer in answers:
        if answer.seed_id in references:
            compared.setdefault(answer.seed_id, []).append(normalize("NFC", answer.text))
    if not compared:
        return None
    ids = sorted(compared)
    id_groups = grouped(ids, groups)
    exact = [sum(matches_reference(text, references[id_]) for text in compared[id_]) for id_ in ids]
    matched = share(exact, [len(compared[id_]) for id_ in ids], groups=id_groups)
    pairs = [[(references[id_], text) for text in compared[id_]] for id_ in ids]
    if labels:
        measures = _of_labels(pairs, [*labels, *(references[id_] for id_ in ids)], id_groups)
    else:
        measures = _of_records(pairs, id_groups) if is_json else _of_texts(pairs, id_groups)
    return ReferenceResult(inputs=len(ids), exact=matched).model_copy(update=measures)


_PairsByInput = Sequence[Sequence[tuple[str, str]]]  # for each input, its reference with each answer


def _of_labels(pairs: _PairsByInput, known: Sequence[str], groups: Sequence[str] | None) -> dict[str, Any]:
    """Macro F1, the confusion, and the labels that no test input has. `known` are those of the task, and the
    references, of which some may be no valid label."""
    labels = list(dict.fromkeys(normalize("NFC", label) for label in known))
    counts = np.stack([label_counts(_confusion(of_input, labels)) for of_input in pairs])
    counts = np.moveaxis(sum_by_group(np.moveaxis(counts, 0, -1), groups), -1, 0)
    confusion = _tables(_confusion(list(chain.from_iterable(pairs)), labels), labels)
    macro_f1, untested = _macro_f1(counts, groups is not None), tuple(sorted({*labels} - {*confusion}))
    return {"macro_f1": macro_f1, "confusion": confusion, "untested": untested}


def _of_records(pairs: _PairsByInput, groups: Sequence[str] | None) -> dict[str, Any]:
    """Field F1 of JSON records."""
    right, expected, given = np.array([_field_counts(of_input) for of_input in pairs], dtype=np.float64).T
    return {"field_f1": _mean(2 * right, expected + given, groups)}


def _of_texts(pairs: _PairsByInput, groups: Sequence[str] | None) -> dict[str, Any]:
    """The mean similarity to the reference by each measure."""
    measures = {"chrf": _chrf, "rouge_l": _rouge_l} | ({"similarity": _similarity} if is_packaged() else {})
    means = {}
    for name, measure in measures.items():
        sums, answers = np.array([measure(of_input) for of_input in pairs], dtype=np.float64).T
        means[name] = _mean(sums, answers, groups)
    return means


def _mean(sums: np.ndarray, answers: np.ndarray, groups: Sequence[str] | None) -> MeanEstimate:
    """The mean of scores between 0 and 1, from the sum over the answers to each input (or over the fields of its
    records). If all answers to some inputs score 0 and those to the others alike, the variation between inputs seen
    says little: an interval that rests on it held in 86 % of draws of 20 inputs with ten answers each
    (`curate.certificate.bounded_mean`), and in 87 % of draws of 12 inputs with four fields (bench/proof)."""
    sums, answers = (sum_by_group(of, groups) for of in (sums, answers))
    value, (low, high) = min(1.0, float(sums.sum() / answers.sum())), mean_limits(sums, sizes=answers)
    return MeanEstimate(value=value, low=min(low, value), high=max(high, value))


def _macro_f1(of_inputs: np.ndarray, are_groups: bool = False) -> MeanEstimate:
    """Macro F1 of the labels that occur, from `label_counts` per input, or per group of inputs. The effective number of
    answers follows from the jackknife.

    Two inputs of a rare label that agree change nothing when one is left out, but prove little. Therefore each label
    also gets a score interval at the number of its inputs (or groups), and if the mean of those (MOVER) is wider, it is
    used. Nothing is known about a label that does not occur, so the interval allows for any F1 between 0 and 1 of it.
    """
    totals, inputs = of_inputs.sum(axis=0), len(of_inputs)
    scores = _f1_of_labels(totals)
    value, leave_one_out = float(scores.mean()), np.array([_f1_of_labels(totals - unit).mean() for unit in of_inputs])
    variance = float(((leave_one_out - leave_one_out.mean()) ** 2).sum()) * (inputs - 1) / inputs
    effective = value * (1 - value) / variance if variance else float(inputs)
    effective *= group_discount(inputs) if are_groups else 1.0
    _, low, high = score_limits(np.array(value), np.array(np.clip(effective, 1.0, totals[1].sum())))
    inputs_with = (of_inputs[:, 1] > 0).sum(axis=0)
    _, lows, highs = score_limits(scores, inputs_with[inputs_with > 0].astype(np.float64))
    below, above = (math.hypot(*distances) / len(scores) for distances in (scores - lows, highs - scores))
    known = np.count_nonzero(inputs_with) / len(inputs_with)
    least, most = max(0.0, min(float(low), value - below)), min(1.0, max(float(high), value + above))
    return MeanEstimate(value=value, low=known * least, high=1 - known * (1 - most))


def _confusion(pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> np.ndarray:
    """Counts of reference by answer; the last column is for answers that are not a label."""
    counts, place = np.zeros((len(labels), len(labels) + 1)), {label: at for at, label in enumerate(labels)}
    for reference, text in pairs:
        counts[place[reference], place.get(text, len(labels))] += 1
    return counts


def label_counts(confusion: np.ndarray) -> np.ndarray:
    """Three counts of each label: correct answers, references, and answers. A table of every label by every other for
    each input would take gigabytes at 20,000 inputs."""
    return np.stack([np.diagonal(confusion), confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)])


def _f1_of_labels(counts: np.ndarray) -> np.ndarray:
    """F1 of each label that occurs in the references, from `label_counts`; a single 0 if there are none."""
    right, expected, answered = counts
    occurs = expected > 0
    return 2 * right[occurs] / (expected + answered)[occurs] if occurs.any() else np.zeros(1)


def _tables(counts: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    answers = [*labels, NO_LABEL]
    return {
        label: {answer: int(count) for answer, count in zip(answers, row, strict=True) if count}
        for label, row in zip(labels, counts, strict=True)
        if row.any()
    }


def _field_counts(pairs: Sequence[tuple[str, str]]) -> tuple[int, int, int]:
    """The number of correct fields, of fields in references, and of fields in answers."""
    sums = Counter[str]()
    for reference, text in pairs:
        expected, given = _leaves(reference), _leaves(text)
        # Text that is not JSON has no fields, and must not be matched by an answer without fields.
        sums.update(right=(expected & given).total(), wanted=max(1, expected.total()), given=given.total())
    return sums["right"], sums["wanted"], sums["given"]


def _leaves(text: str) -> Counter[tuple[str, str]]:
    """The fields of a JSON text; empty for text that is not JSON, or that is nested too deeply."""
    try:
        return Counter(_fields(parse_values(text)))
    except (ValueError, RecursionError):
        return Counter()


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every leaf. An empty list is a leaf, and so is a record or an item without any known value."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{json.dumps(name)}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _chrf(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """The sum of the scores, and their number."""
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF()
    return sum(chrf.sentence_score(text, [reference]).score / 100 for reference, text in pairs), len(pairs)


def _rouge_l(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """The sum of the F1 scores, and their number."""
    sums = 0.0
    for reference, text in pairs:
        expected, given = words(reference), words(text)
        if expected and given:
            sums += 2 * _common_subsequence(expected, given) / (len(expected) + len(given))
        else:
            sums += reference == text
    return sums, len(pairs)


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence, bit-parallel with one bit per position of `a` (Hyyro 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    row = (1 << len(a)) - 1
    for word in b:
        matched = row & places.get(word, 0)
        row = (row + matched) | (row - matched)
    return len(a) - (row & ((1 << len(a)) - 1)).bit_count()


def _similarity(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """The sum of the cosines, and their number; an invalid answer has similarity 0."""
    references, texts = zip(*pairs, strict=True)
    cosines = static_embedding().similarity(references, texts)
    return sum(max(0.0, cosine) for cosine in cosines), len(cosines)
