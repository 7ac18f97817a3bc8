"""Bootstrap intervals for shares and for differences of shares, resampling whole seeds.

Answers to one seed resemble each other, so they are not independent and an interval over answers would be too narrow.
The cluster bootstrap (Davison and Hinkley 1997, section 3.8; Field and Welsh 2007) draws seeds with replacement and
keeps all answers of a drawn seed. Two rungs are compared on the same draws of seeds, so the comparison is paired.

Not covered: with few seeds (below about 15) percentile intervals are too narrow by a few points; nothing here accounts
for the seeds themselves being an unrepresentative choice, nor for looking at several comparisons at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.records import Record

Floats = NDArray[np.float64]


class Interval(Record):
    """An estimate with a two-sided interval at `level`.

    `method` is `exact` where every seed gave the same share, 0 or 1: resampling cannot see what no seed did, so the
    bound is then the one of Clopper and Pearson (1934) with seeds as trials.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    method: Literal["bootstrap", "exact"] = "bootstrap"

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def share(
    passed: Sequence[int], asked: Sequence[int], *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The share passed / asked with its interval. `passed[i]` of `asked[i]` answers of seed i passed; asked > 0."""
    hits, totals = _counts(passed, asked)
    estimate = float(hits.sum() / totals.sum())
    if estimate in (0.0, 1.0):
        bound = ((1 - level) / 2) ** (1 / len(hits))
        low, high = (0.0, 1 - bound) if estimate == 0.0 else (bound, 1.0)
        return Interval(estimate=estimate, low=low, high=high, level=level, seeds=len(hits), method="exact")
    draws = _draws(len(hits), resamples, seed)
    return _percentile(estimate, (draws @ hits) / (draws @ totals), level, len(hits))


def difference(
    passed_a: Sequence[int],
    asked_a: Sequence[int],
    passed_b: Sequence[int],
    asked_b: Sequence[int],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Share of a minus share of b, paired: entry i of all four sequences belongs to the same seed."""
    hits_a, totals_a = _counts(passed_a, asked_a)
    hits_b, totals_b = _counts(passed_b, asked_b)
    if len(hits_a) != len(hits_b):
        raise ValueError(f"a paired difference needs the same seeds on both sides: {len(hits_a)} and {len(hits_b)}")
    estimate = float(hits_a.sum() / totals_a.sum() - hits_b.sum() / totals_b.sum())
    draws = _draws(len(hits_a), resamples, seed)
    differences = (draws @ hits_a) / (draws @ totals_a) - (draws @ hits_b) / (draws @ totals_b)
    return _percentile(estimate, differences, level, len(hits_a))


def _counts(passed: Sequence[int], asked: Sequence[int]) -> tuple[Floats, Floats]:
    hits, totals = np.asarray(passed, dtype=np.float64), np.asarray(asked, dtype=np.float64)
    if len(hits) != len(totals) or not len(hits):
        raise ValueError(f"one count a seed is needed on both sides: {len(hits)} and {len(totals)}")
    if (totals <= 0).any() or (hits < 0).any() or (hits > totals).any():
        raise ValueError("every seed needs at least one answer, and no more passes than answers")
    return hits, totals


def _draws(seeds: int, resamples: int, seed: int) -> Floats:
    """How often each seed is drawn in each resample: (resamples, seeds), rows summing to `seeds`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).astype(np.float64)


def _percentile(estimate: float, resampled: Floats, level: float, seeds: int) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, seeds=seeds)
