"""Evaluations whose answers are related in other ways than the few answers to one input: inputs that belong together,
many answers to an input, fields of records, and labels. `bench/proof/run.py` adds them to bench/results/proof.json.

Everything here is SIMULATED, and intervals and test are the product's own, as in `run.py`. Each setting has the share
of evaluations whose interval holds the true value (`coverage`); those of groups also the coverage if the same
inputs are treated as independent (`alone`), and `claimed` is how often equal systems are called different.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from curate.certificate.bounded_mean import mean_limits
from train.evaluation import limits
from train.evaluation.limits import Bounds, Floats, difference_limits, share_limits, sign_flips, sum_by_group
from train.evaluation.references import _macro_f1, label_counts

Passes = Callable[..., list[Floats]]

GROUPS, ICC = (5, 12, 27, 50), (0.0, 0.3, 0.8)
SIZES = ((2,), (4,), (10,), (*range(1, 11),), (1, 1, 1, 1, 10))
RATES = (0.02, 0.1, 0.5, 0.9, 0.98)
PAIRS = ((0.02, 0.02), (0.1, 0.1), (0.5, 0.5), (0.9, 0.9), (0.1, 0.3), (0.02, 0.27), (0.3, 0.7))
# labels, how much rarer each is than the one before, inputs
LABELS = ((2, 0.0, 20), (2, 2.5, 20), (5, 0.6, 30), (20, 0.2, 60), (60, 0.0, 100))
ALIKE, SAME_LABEL = 0.7, 0.5  # the chance that an answer, or a label, is that of the input before it in the group
ALPHA = 0.05


def related(passes: Passes, runs: int) -> Iterator[dict[str, Any]]:
    """All settings; `passes` draws the passes of systems as in `run.py`."""
    yield from group_shares(passes, runs)
    yield from group_differences(passes, runs)
    yield from many_answers(passes, runs)
    yield from differences_of_many_answers(passes, runs)
    yield from fields(max(100, runs // 20))
    yield from labels(max(100, runs // 5))


def worst_of_related(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """The least coverage of each kind of setting, with the settings' number, and the most claims of equal systems."""
    worst = []
    for of in dict.fromkeys(row["of"] for row in rows):
        here = [row for row in rows if row["of"] == of]
        worst.append((f"coverage of {of}, {len(here)} settings", min(row["coverage"] for row in here)))
        for key, words in (("alone", "treated as independent"), ("plain", "no answers as groups")):
            if any(key in row for row in here):
                worst.append((f"{of}, {words}", min(row[key] for row in here)))
        for key, words in (("claimed", "equal systems called different"), ("claimed_alone", "the same, independent")):
            if claims := [row[key] for row in here if key in row]:
                worst.append((f"{of}, {words}", max(claims)))
    return worst


def _groups(number: int, pattern: tuple[int, ...]) -> tuple[NDArray[np.int64], list[str]]:
    """The sizes of this number of groups, and the group of each of their inputs."""
    sizes = np.resize(np.array(pattern), number)
    return sizes, [f"{at:03d}" for at, size in enumerate(sizes) for _ in range(size)]


def _inputs(of_groups: Floats, sizes: NDArray[np.int64]) -> Floats:
    """(runs, inputs) passes of inputs, given those of their groups; which inputs of a group pass is the same for every
    method."""
    place = np.concatenate([np.arange(size) for size in sizes])
    return (place < np.repeat(of_groups, sizes, axis=-1)).astype(np.float64)


def contains(limits: Bounds, truth: float) -> NDArray[np.bool_]:
    """Which of the intervals contain the true value."""
    return (limits.low <= truth + 1e-9) & (truth - 1e-9 <= limits.high)


def excludes_zero(limits: Bounds) -> NDArray[np.bool_]:
    """Which of the intervals of a difference claim one."""
    return (limits.low > 0) | (limits.high < 0)


def _holds(limits: Bounds, truth: float) -> float:
    return float(np.mean(contains(limits, truth)))


def group_shares(passes: Passes, runs: int) -> Iterator[dict[str, Any]]:
    """The interval of a share for grouped inputs."""
    rng = np.random.default_rng(5)
    for number, pattern, icc, rate in itertools.product(GROUPS, SIZES, ICC, RATES):
        sizes, groups = _groups(number, pattern)
        a = _inputs(passes(rng, (rate,), number, sizes, icc, 0.0, runs)[0], sizes)
        asked = np.ones_like(a)
        row = {"of": "share, groups", "groups": number, "sizes": pattern, "icc": icc, "rate": rate}
        coverage = _holds(share_limits(a, asked, groups=groups), rate)
        yield {**row, "coverage": coverage, "alone": _holds(share_limits(a, asked), rate)}


def group_differences(passes: Passes, runs: int) -> Iterator[dict[str, Any]]:
    """The interval of a difference, and how often equal systems are called better or worse."""
    rng, fewer = np.random.default_rng(6), max(1, runs // 3)
    for number, pattern, icc, shared, rates in itertools.product(GROUPS, SIZES, ICC, (0.0, 0.8), PAIRS):
        sizes, groups = _groups(number, pattern)
        b, a = (_inputs(side, sizes) for side in passes(rng, rates, number, sizes, icc, shared, fewer))
        asked, gap = np.ones_like(a), rates[1] - rates[0]
        row = {"of": "difference, groups", "groups": number, "sizes": pattern, "icc": icc, "shared": shared}
        ours, alone = (difference_limits(a, asked, b, asked, groups=of) for of in (groups, None))
        claims = {} if gap else {"claimed": _claimed(ours, a, b, groups), "claimed_alone": _claimed(alone, a, b, None)}
        yield {**row, "rates": rates, "coverage": _holds(ours, gap), "alone": _holds(alone, gap), **claims}


def _claimed(limits: Bounds, a: Floats, b: Floats, groups: list[str] | None) -> float:
    p = sign_flips(sum_by_group((a - b).astype(np.int64), groups))
    return float(np.mean(excludes_zero(limits) & (p <= ALPHA)))


def many_answers(passes: Passes, runs: int) -> Iterator[dict[str, Any]]:
    """The interval of a share with more answers to an input than the evaluation draws by default."""
    rng = np.random.default_rng(7)
    for seeds, samples, icc, rate in itertools.product((20, 50, 100), (5, 10, 20), (0.0, 0.3, 0.6, 0.9), RATES):
        (a,) = passes(rng, (rate,), seeds, samples, icc, 0.0, runs)
        limits = share_limits(a, np.full_like(a, samples))
        row = {"of": "share, many answers", "seeds": seeds, "samples": samples, "icc": icc, "rate": rate}
        yield {**row, "coverage": _holds(limits, rate)}


def differences_of_many_answers(passes: Passes, runs: int) -> Iterator[dict[str, Any]]:
    """The interval of a difference with as many answers, and how often equal systems are called better or worse.

    Beyond ten answers to an input the product counts them as a group: `plain` is the coverage if it never did,
    `clustered` if it always did, and `width` how much wider the second interval is.
    """
    rng, fewer = np.random.default_rng(10), max(1, runs // 3)
    for seeds, samples, icc, shared, rates in itertools.product(
        (20, 50, 100), (5, 10, 20), (0.0, 0.3, 0.6, 0.9), (0.0, 0.8), (*PAIRS, (0.9, 0.98))
    ):
        b, a = passes(rng, rates, seeds, samples, icc, shared, fewer)
        asked, gap = np.full_like(a, samples), rates[1] - rates[0]
        ours = difference_limits(a, asked, b, asked)
        with patch.object(limits, "_MAX_PLAIN_ANSWERS_OF_DIFFERENCE", samples):
            plain = difference_limits(a, asked, b, asked)
        clustered = difference_limits(a, asked, b, asked, groups=[f"{at:03d}" for at in range(seeds)])
        width = float(np.mean((clustered.high - clustered.low) / (plain.high - plain.low)))
        row = {"of": "difference, many answers", "seeds": seeds, "samples": samples, "icc": icc, "shared": shared}
        row |= {"rates": rates, "plain": _holds(plain, gap), "clustered": _holds(clustered, gap)}
        claims = {} if gap else {"claimed": _claimed(ours, a, b, None)}
        yield {**row, "width": round(width, 4), "coverage": _holds(ours, gap), **claims}


def fields(runs: int) -> Iterator[dict[str, Any]]:
    """Field F1 (train/evaluation/references.py): records with up to `paths` fields. A wrong field is left out or has
    another value, and `extra` fields may be added."""
    rng = np.random.default_rng(8)
    for seeds, (paths, here), rate, extra, icc, samples in itertools.product(
        (12, 30, 100), ((1, 1.0), (4, 1.0), (12, 0.3)), RATES[1:], (0.0, 0.2), (0.0, 0.8), (3,)
    ):
        size, k = (runs, seeds), (1 - icc) / icc if icc else 0.0
        wanted = np.maximum(rng.binomial(paths, here, size=size), 1)
        chance = rng.beta(rate * k, (1 - rate) * k, size=size) if icc else np.full(size, rate)
        part, whole = np.zeros(size), np.zeros(size)
        for _ in range(samples):
            right = rng.binomial(wanted, chance)
            part += 2 * right
            whole += wanted + right + rng.binomial(wanted - right, 0.5) + rng.binomial(3, extra, size=size)
        expected = paths * here + (1 - here) ** paths
        truth = 2 * rate * expected / (expected * (1 + rate + (1 - rate) / 2) + 3 * extra)
        ends = np.array([mean_limits(of_run, sizes=sizes) for of_run, sizes in zip(part, whole, strict=True)]).T
        limits = Bounds(part.sum(-1) / whole.sum(-1), *ends)
        row = {"of": "field F1", "seeds": seeds, "paths": paths, "rate": rate, "extra": extra, "icc": icc}
        yield {**row, "samples": samples, "coverage": _holds(limits, truth)}


def labels(runs: int) -> Iterator[dict[str, Any]]:
    """Macro F1 of all labels of the task, some of which may have no test input; inputs alone and in groups of four."""
    rng = np.random.default_rng(9)
    for (number, rarer, inputs), right, samples, size in itertools.product(LABELS, (0.6, 0.9, 0.98), (1, 3), (1, 4)):
        prevalence = np.exp(-rarer * np.arange(number))
        prevalence /= prevalence.sum()
        joint = prevalence[:, None] * _answers(prevalence, right)
        scores = 2 * np.diag(joint) / (joint.sum(1) + joint[:, :-1].sum(0))
        held = absent = 0
        for _ in range(runs):
            counts = _counts(rng, prevalence, right, inputs, samples, size)
            estimate = _macro_f1(np.stack([label_counts(of_unit) for of_unit in counts]), size > 1)
            held += estimate.low - 1e-9 <= float(scores.mean()) <= estimate.high + 1e-9
            absent += int((counts.sum((0, 2)) == 0).sum())
        row = {"of": "macro F1", "labels": number, "rarer": rarer, "seeds": inputs, "right": right}
        yield {**row, "samples": samples, "size": size, "absent": absent / runs, "coverage": held / runs}


def _answers(prevalence: Floats, right: float) -> Floats:
    """The chance of every answer to every label; a tenth of the wrong ones are no label."""
    wrong = np.tile(prevalence, (len(prevalence), 1))
    np.fill_diagonal(wrong, 0.0)
    chances = 0.9 * (1 - right) * wrong / wrong.sum(1, keepdims=True)
    np.fill_diagonal(chances, right)
    return np.column_stack([chances, 1 - chances.sum(1)])


def _counts(
    rng: np.random.Generator, prevalence: Floats, right: float, inputs: int, samples: int, size: int
) -> NDArray[np.float64]:
    """Reference by answer for each input or group of inputs."""
    number, cumulated = len(prevalence), np.cumsum(_answers(prevalence, right), axis=1)
    counts = np.zeros((inputs // size, number, number + 1))
    label, chance = rng.choice(number, p=prevalence, size=inputs // size), rng.random(inputs // size)
    for member in range(size):
        if member:
            other = rng.choice(number, p=prevalence, size=len(label))
            label = np.where(rng.random(len(label)) < SAME_LABEL, label, other)
        for _ in range(samples):
            chance = np.where(rng.random(len(chance)) < ALIKE, chance, rng.random(len(chance)))
            answer = np.minimum((chance[:, None] > cumulated[label]).sum(1), number)
            np.add.at(counts, (np.arange(len(label)), label, answer), 1)
    return counts
