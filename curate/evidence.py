"""Anytime-valid evidence that a set of rows is precise enough, and an estimate of the share of good rows that uses the
predictions of programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from curate.review.estimate import binomial, log_chances

_NUMBERS = 2_000  # numbers of bad rows to average over at most


def max_bad_rows(size: int, precision: float) -> int:
    """The largest number of bad rows with which a set of `size` rows still has this precision."""
    return math.floor((1 - precision) * size + 1e-9)


@lru_cache(maxsize=20_000)
def evidence(size: int, seen: int, bad: int, precision: float) -> float:
    """The likelihood ratio of finding `bad` among `seen` rows in a set that is precise enough, against one that just is
    not.

    The set has `size` rows, drawn from without replacement. The first likelihood is the average over the numbers of bad
    rows that are small enough, all of them or 2,000 evenly spaced ones (Waudby-Smith and Ramdas 2020, "Confidence
    sequences for sampling without replacement"). If the set is not precise enough, the ratio is a nonnegative
    supermartingale as rows are seen one by one, so the probability that it ever reaches 1 / delta is at most delta,
    whenever one looks (Ville's inequality).
    """
    max_bad = max_bad_rows(size, precision)
    if bad > max_bad:
        return 0.0
    numbers = np.unique(np.linspace(0, max_bad, min(max_bad + 1, _NUMBERS)).round().astype(int))
    supporting, against = np.split(log_chances(size, np.append(numbers, max_bad + 1), seen, bad), [len(numbers)])
    if max_bad + 1 > size or against[0] == -math.inf:  # the rows seen leave no room for so many bad ones
        return math.inf
    top = float(supporting.max())
    return math.exp(min(top - float(against[0]), 700.0)) * float(np.exp(supporting - top).mean())


class GoodShare(NamedTuple):
    """The share of good rows among `rows`, estimated from `labels` of them and predictions for all. `effective` is the
    number of labels that would give as narrow an interval without predictions."""

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
    """Estimate the share of good rows by PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv:2311.01453).

    `good` are the labels of a random sample, `predicted` is P(good) of these rows and `others` that of the unlabelled
    rows. theta = mean(good) + lambda (mean(others) - mean(predicted)) with lambda = Cov(good, predicted) / ((1 + n / N)
    Var).

    The interval is the exact binomial one (Clopper and Pearson) at the effective number of labels. A normal interval
    covered 81 % instead of 90 % (30 labels), and has almost no width near 1. Returns None below 20 labels, or if all
    labels are equal.
    """
    n, many = len(good), len(others)
    y, f, rest = np.array(good, float), np.array(predicted, float), np.array(others, float)
    if n < 20 or y.min() == y.max():
        return None
    weight = 0.0
    if many and f.var() > 1e-12:  # variance and covariance are both of the labelled rows, so their errors cancel
        weight = max(0.0, float(np.cov(y, f, ddof=1)[0, 1]) / ((1 + n / many) * float(f.var(ddof=1))))
    value = float(y.mean() + weight * (rest.mean() - f.mean())) if many else float(y.mean())
    error = float((y - weight * f).var(ddof=1)) / n + (weight**2 * float(rest.var()) / many if many else 0.0)
    effective = float(y.var(ddof=1)) / error if error > 0 else float(n)
    value = min(1.0, max(0.0, value))
    low, high = binomial(value * effective, effective, confidence)
    return GoodShare(value, low, high, confidence, n, n + many, effective)
