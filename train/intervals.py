"""Intervals and an exact test for pass rates of clustered answers: several answers to each seed, seeds drawn at random.

Answers to one seed resemble each other, so `n` seeds with `m` answers each carry less than `n * m` independent answers
and at least `n`. Everything below reckons with that *effective* number:

- **A share**: the score interval of Wilson with continuity correction (Newcombe 1998a, method 4) at the effective
  number of answers, which is estimated between seeds and reduced for having been estimated (Korn and Graubard 1998).
  At a share of 0 or 1 seeds do not differ, so each seed counts as one trial.
- **A paired difference**: the two share intervals joined by the square of their distances (MOVER; Newcombe 1998b,
  method 10; Zou 2008), less what the correlation between the systems over seeds explains. The correlation is shrunk by
  (n - 2) / (n + 2), because few seeds overstate it, and half a step of the effective number is added on both sides
  (continuity correction). A share of 0 or 1 keeps its uncertainty in the difference. Zero stays inside for as long as
  the test below does not reject it at the interval's level, so the two never contradict each other.
- **A test**: the sign-flip (permutation) test on the seeds' differences, McNemar's test for clusters. If both systems
  are equally good, which of the two gave which answers to a seed is a coin toss. All 2^n tosses are counted.
- **Several tests**: Holm's adjustment (1979), valid whatever the dependence between them.

`bench/proof` simulates how often these hold what they promise, beside the percentile bootstrap and the t interval.

Not covered: seeds that are no random sample of the inputs the model will meet; a second training run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.records import Record

Floats = NDArray[np.float64]


class Interval(Record):
    """An estimate with a two-sided interval at `level`, from `seeds` seeds.

    `method`: `score` is the present one; `bootstrap` and `exact` stand in evaluations of earlier versions.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    method: Literal["score", "bootstrap", "exact"] = "bootstrap"

    @property
    def excludes_zero(self) -> bool:
        """True if 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


class Bounds(NamedTuple):
    """Estimates and interval ends, one for each leading index of the counts."""

    estimate: Floats
    low: Floats
    high: Floats


def share(passed: Sequence[int], asked: Sequence[int], *, level: float = 0.95) -> Interval:
    """The share passed / asked with its interval. `passed[i]` of `asked[i]` answers of seed i passed; asked > 0."""
    return _interval(share_limits(*_counts(passed, asked), level), level, len(passed))


def difference(
    passed_a: Sequence[int],
    asked_a: Sequence[int],
    passed_b: Sequence[int],
    asked_b: Sequence[int],
    *,
    level: float = 0.95,
) -> Interval:
    """Share of a minus share of b, paired: entry i of all four sequences belongs to the same seed."""
    sides = _paired(passed_a, asked_a, passed_b, asked_b)
    return _interval(difference_limits(*sides, level), level, len(passed_a))


def sign_flip_p(
    passed_a: Sequence[int], asked_a: Sequence[int], passed_b: Sequence[int], asked_b: Sequence[int]
) -> float:
    """Two-sided p of "a and b are equally good", exact for any number of seeds (to 15 digits).

    The statistic sums passed_a * asked_b - passed_b * asked_a over seeds: whole numbers, proportional to the difference
    of shares where every seed was asked equally often.
    """
    return float(sign_flips(_tosses(*_paired(passed_a, asked_a, passed_b, asked_b))))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for all of them being looked at, in the given order."""
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def seeds_for(gap: Interval) -> int | None:
    """About how many seeds would put the interval's nearer end at zero, if the difference stayed as it is.

    None where there is no difference to go by. Intervals shrink with the square root of the number of seeds.
    """
    if gap.estimate == 0:
        return None
    margin = gap.estimate - gap.low if gap.estimate > 0 else gap.high - gap.estimate
    return math.ceil(gap.seeds * (margin / gap.estimate) ** 2)


def share_limits(hits: Floats, totals: Floats, level: float = 0.95) -> Bounds:
    """`share` for many sets of seeds at once: counts are (..., seeds)."""
    return score_limits(hits.sum(-1) / totals.sum(-1), _effective(hits, totals, level), level)


def score_limits(estimate: Floats, effective: Floats, level: float = 0.95) -> Bounds:
    """The score interval with continuity correction of an estimate between 0 and 1 that is worth `effective`
    independent answers. A mean of numbers from 0 to 1 varies no more than a share, so it holds for that too."""
    z = _normal_quantile(level)
    other, z2 = 1 - estimate, z * z
    below = z2 - 2 - 1 / effective + 4 * estimate * (effective * other + 1)
    above = z2 + 2 - 1 / effective + 4 * estimate * (effective * other - 1)
    middle, width = 2 * effective * estimate + z2, 2 * (effective + z2)
    low = (middle - 1 - z * np.sqrt(np.maximum(below, 0))) / width
    high = (middle + 1 + z * np.sqrt(np.maximum(above, 0))) / width
    low = np.where(estimate <= 0, 0.0, np.minimum(np.maximum(low, 0.0), estimate))
    high = np.where(estimate >= 1, 1.0, np.maximum(np.minimum(high, 1.0), estimate))
    return Bounds(estimate, low, high)


def difference_limits(
    hits_a: Floats, totals_a: Floats, hits_b: Floats, totals_b: Floats, level: float = 0.95
) -> Bounds:
    """`difference` for many sets of seeds at once: counts are (..., seeds)."""
    a, b = share_limits(hits_a, totals_a, level), share_limits(hits_b, totals_b, level)
    r = _correlation(hits_a - a.estimate[..., None] * totals_a, hits_b - b.estimate[..., None] * totals_b)
    gap = a.estimate - b.estimate
    half_a_step = 0.25 * (1 / _effective(hits_a, totals_a, level) + 1 / _effective(hits_b, totals_b, level))
    low = gap - _joined(a.estimate - a.low, b.high - b.estimate, r) - half_a_step
    high = gap + _joined(a.high - a.estimate, b.estimate - b.low, r) + half_a_step
    # Five inputs that all say the same have p = .06: without this their interval left zero out at 95 %.
    zero_stands = sign_flips(_tosses(hits_a, totals_a, hits_b, totals_b)) > 1 - level + 1e-12
    low, high = np.where(zero_stands, np.minimum(low, 0.0), low), np.where(zero_stands, np.maximum(high, 0.0), high)
    return Bounds(gap, np.maximum(low, -1.0), np.minimum(high, 1.0))


def sign_flips(differences: NDArray[np.int64]) -> Floats:
    """`sign_flip_p` for many sets of seeds at once: whole differences (..., seeds).

    The sum's distribution over all tosses is found through its characteristic function, the product over seeds of
    cos(angle * |difference|), which takes time in proportion to the largest sum and not to 2^seeds.
    """
    sizes = np.abs(differences)
    if not sizes.any():
        return np.ones(sizes.shape[:-1])
    unit = np.gcd.reduce(sizes, axis=None)
    sizes, observed = sizes // unit, np.abs(differences.sum(-1)) // unit
    length = 2 * int(sizes.sum(-1).max()) + 1
    # The transform is even, so half of its angles are enough.
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    transform = np.ones((*sizes.shape[:-1], len(angles)))
    for size in np.unique(sizes[sizes > 0]):
        counts = (sizes == size).sum(-1)
        powers = np.cos(angles * size) ** np.arange(counts.max() + 1)[:, None]
        transform *= powers[counts]
    chances = np.maximum(np.fft.irfft(transform, n=length, axis=-1), 0.0)
    sums = np.arange(length)
    reached = np.minimum(sums, length - sums) >= observed[..., None]
    # No p-value is smaller than that of the one most extreme toss and its mirror image.
    least = 2.0 ** (1 - (sizes > 0).sum(-1))
    return np.asarray(np.clip((chances * reached).sum(-1), np.minimum(least, 1.0), 1.0))


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _effective(hits: Floats, totals: Floats, level: float) -> Floats:
    """The number of independent answers with the same information: at least the seeds (Kish), at most the answers."""
    estimate, z = hits.sum(-1) / totals.sum(-1), _normal_quantile(level)
    seeds, answers = hits.shape[-1], totals.sum(-1)
    least: Floats = answers**2 / (totals**2).sum(-1)
    if seeds == 1:
        return least
    spread = ((hits - estimate[..., None] * totals) ** 2).sum(-1) * seeds / (seeds - 1) / answers**2
    known = spread > 0
    effective = np.where(known, estimate * (1 - estimate) / np.where(known, spread, 1.0), least)
    few = (z / student_quantile(seeds - 1, level)) ** 2
    return np.asarray(np.clip(np.minimum(effective, answers) * few, least, answers))


def _correlation(a: Floats, b: Floats) -> Floats:
    """The correlation over seeds of what is left beside the shares, shrunk; 0 where one side does not vary."""
    seeds = a.shape[-1]
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    r = (a * b).sum(-1) / np.where(scale > 0, scale, 1.0)
    return np.asarray(np.clip(r, -1.0, 1.0) * max(0, seeds - 2) / (seeds + 2))


def _tosses(hits_a: Floats, totals_a: Floats, hits_b: Floats, totals_b: Floats) -> NDArray[np.int64]:
    """What a toss of each seed turns round: whole numbers in proportion to the seeds' differences of shares."""
    return np.asarray(hits_a * totals_b - hits_b * totals_a).astype(np.int64)


def _joined(a: Floats, b: Floats, r: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(a * a - 2 * r * a * b + b * b, 0.0)))


def student_quantile(freedom: int, level: float) -> float:
    """Student's quantile: exact for one and two degrees of freedom, beyond them the series of Abramowitz and Stegun
    (26.7.5), which errs by less than 0.3 % at a level of 0.95."""
    p = (1 + level) / 2
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
    z, v = NormalDist().inv_cdf(p), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / v**power for power, term in enumerate(terms, 1))


def _interval(limits: Bounds, level: float, seeds: int) -> Interval:
    estimate, low, high = (float(number) for number in limits)
    return Interval(estimate=estimate, low=low, high=high, level=level, seeds=seeds, method="score")


def _counts(passed: ArrayLike, asked: ArrayLike) -> tuple[Floats, Floats]:
    hits, totals = np.asarray(passed, dtype=np.float64), np.asarray(asked, dtype=np.float64)
    if len(hits) != len(totals) or not len(hits):
        raise ValueError(f"one count a seed is needed on both sides: {len(hits)} and {len(totals)}")
    if (totals <= 0).any() or (hits < 0).any() or (hits > totals).any():
        raise ValueError("every seed needs at least one answer, and no more passes than answers")
    return hits, totals


def _paired(
    passed_a: ArrayLike, asked_a: ArrayLike, passed_b: ArrayLike, asked_b: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    a, b = _counts(passed_a, asked_a), _counts(passed_b, asked_b)
    if len(a[0]) != len(b[0]):
        raise ValueError(f"a paired difference needs the same seeds on both sides: {len(a[0])} and {len(b[0])}")
    return (*a, *b)
