"""How much answers speak for a set of rows, valid however often one looks; and the share of good rows, with the help of
what programs predict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from curate.review.estimate import binomial

_NUMBERS = 2_000  # of bad rows that are averaged over


def most_bad(size: int, precision: float) -> int:
    """How many bad rows a set of `size` rows may hold and still be as precise as that."""
    return math.floor((1 - precision) * size + 1e-9)


@lru_cache(maxsize=20_000)
def evidence(size: int, seen: int, bad: int, precision: float) -> float:
    """How many times likelier it is to find `bad` among `seen` rows of a set that is precise enough than of one that
    just is not.

    The set has `size` rows, drawn from without replacement; the first likelihood is the average over numbers of bad
    rows that are few enough, all of them or as many, evenly spaced (Waudby-Smith and Ramdas 2020, "Confidence sequences
    for sampling without replacement"). Of a set that is not precise enough this is a nonnegative supermartingale as
    rows are seen one by one, so the chance that it ever reaches 1 / delta is at most delta, whenever one looks (Ville's
    inequality).
    """
    few = most_bad(size, precision)
    if bad > few:
        return 0.0
    numbers = np.unique(np.linspace(0, few, min(few + 1, _NUMBERS)).round().astype(int))
    likely, against = np.split(_log_chances(np.append(numbers, few + 1), size, seen, bad), [len(numbers)])
    if few + 1 > size or against[0] == -math.inf:  # what was seen leaves no room for so many bad ones
        return math.inf
    top = float(likely.max())
    return math.exp(min(top - float(against[0]), 700.0)) * float(np.exp(likely - top).mean())


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> Any:
    return np.concatenate([[0.0], np.log(np.arange(1, most + 1)).cumsum()])


def _log_choose(size: int, n: Any, k: Any) -> Any:
    table = _log_factorials(1 << max(8, size.bit_length()))
    possible = (k >= 0) & (k <= n)
    n, k = np.where(possible, n, 0), np.where(possible, k, 0)
    return np.where(possible, table[n] - table[k] - table[n - k], -np.inf)


def _log_chances(total_bad: Any, size: int, seen: int, bad: int) -> Any:
    """The log probability of `bad` among `seen`, for each number of bad rows in all."""
    of_bad = _log_choose(size, total_bad, np.full_like(total_bad, bad))
    of_good = _log_choose(size, size - total_bad, np.full_like(total_bad, seen - bad))
    return of_bad + of_good - _log_choose(size, np.array(size), np.array(seen))


class GoodShare(NamedTuple):
    """The share of good rows among `rows`, from `labels` of them and predictions for all. `effective`: how many labels
    alone would give as narrow an interval."""

    value: float
    low: float
    high: float
    confidence: float
    labels: int
    rows: int
    effective: float


def good_share(
    good: Sequence[bool], predicted: Sequence[float], others: Sequence[float], confidence: float
) -> GoodShare | None:
    """PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv:2311.01453): `good` are labels of a random sample, `predicted`
    the P(good) of these rows, `others` that of the rows that nobody labelled.

    theta = mean(good) + lambda (mean(others) - mean(predicted)) with lambda = Cov(good, predicted) / ((1 + n / N) Var).
    The interval is the exact binomial one (Clopper and Pearson) at the effective number of labels: a normal one held in
    81 % where it said 90 % (30 labels), and is nothing wide near 1. None below 20 labels, or where all are alike.
    """
    n, many = len(good), len(others)
    y, f, rest = np.array(good, float), np.array(predicted, float), np.array(others, float)
    if n < 20 or y.min() == y.max():
        return None
    weight = 0.0
    if many and f.var() > 1e-12:  # of the labelled rows, as the covariance is: what both err by cancels
        weight = max(0.0, float(np.cov(y, f, ddof=1)[0, 1]) / ((1 + n / many) * float(f.var(ddof=1))))
    value = float(y.mean() + weight * (rest.mean() - f.mean())) if many else float(y.mean())
    error = float((y - weight * f).var(ddof=1)) / n + (weight**2 * float(rest.var()) / many if many else 0.0)
    effective = float(y.var(ddof=1)) / error if error > 0 else float(n)
    value = min(1.0, max(0.0, value))
    low, high = binomial(value * effective, effective, confidence)
    return GoodShare(value, low, high, confidence, n, n + many, effective)
