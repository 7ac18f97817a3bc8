"""An interval for the mean of values between two known ends, from a random sample of any size (Gaffke 2005, "Three test
statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"; Learned-Miller and Thomas
2019, "A new confidence interval for the mean of a bounded random variable").

The lower limit is the quantile of the weighted mean of the values and the lower end, with weights drawn uniformly from
those that sum to 1. For values of 0 and 1 that is Clopper and Pearson's exact limit; for others no case is known in
which it holds less often than stated. It needs no variance, so it stays wide where a sample happens not to vary.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

_STEPS = 30  # halvings of the range in which a limit lies
_NORMAL = NormalDist()


def mean_limits(
    sums: Any, ends: tuple[float, float] = (0.0, 1.0), confidence: float = 0.95, *, sizes: Any = None, times: Any = None
) -> tuple[float, float]:
    """The limits of sum(sums) / sum(sizes), where `sums[i]` is the sum of `sizes[i]` values of the i-th unit (default:
    1), each between `ends`, and `times[i]` units are equal to it (default: 1). Units are independent."""
    sums = np.asarray(sums, dtype=np.float64)
    sizes, times = (np.ones(len(sums)) if of is None else np.asarray(of, dtype=np.float64) for of in (sizes, times))
    tail = (1 - confidence) / 2
    low, high = (_limit(sums, sizes, times, end, chance) for end, chance in zip(ends, (tail, 1 - tail), strict=True))
    return low, high


def _limit(sums: Any, sizes: Any, times: Any, end: float, chance: float) -> float:
    """The value that the weighted mean, with one more unit whose values are all `end`, stays below with `chance`."""
    sums, sizes, times = np.append(sums, end * sizes.max()), np.append(sizes, sizes.max()), np.append(times, 1.0)
    means = sums / sizes
    low, high = float(means.min()), float(means.max())
    for _ in range(_STEPS if high - low > 1e-12 else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance_below_zero(sums - middle * sizes, times) < chance else (low, middle)
    return (low + high) / 2


def _chance_below_zero(factors: Any, times: Any) -> float:
    """P(sum of factor x E <= 0) with independent standard exponential E, `times` of each factor, by the saddlepoint
    approximation of Lugannani and Rice (1980)."""
    if factors.max() <= 0 or factors.min() >= 0:
        return float(factors.max() <= 0)
    low, high, at = 1 / float(factors.min()), 1 / float(factors.max()), 0.0
    for _ in range(100):  # Newton's method inside a shrinking bracket
        terms = factors / (1 - at * factors)
        slope = float((times * terms).sum())
        low, high = (low, at) if slope > 0 else (at, high)
        step = at - slope / float((times * terms**2).sum())
        step = step if low < step < high else (low + high) / 2
        if abs(step - at) <= 1e-10 * (high - low) or step == at:
            break
        at = step
    shrunk = 1 - at * factors
    curvature = float((times * (factors / shrunk) ** 2).sum())
    r = math.copysign(math.sqrt(max(0.0, 2 * float((times * np.log(shrunk)).sum()))), at)
    if abs(r) < 1e-4:  # the two terms below cancel at the mean
        return 0.5 + float((times * (factors / shrunk) ** 3).sum()) / (
            3 * math.sqrt(2 * math.pi) * math.pow(curvature, 1.5)
        )
    return _NORMAL.cdf(r) + _NORMAL.pdf(r) * (1 / r - 1 / (at * math.sqrt(curvature)))
