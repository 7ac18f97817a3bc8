"""Anytime-valid evidence that a set of rows is precise enough, and an estimate of the share of good rows that uses the
predictions of programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from curate.certificate.bounded_mean import mean_limits
from curate.review.estimate import binomial, least_number, log_chances

_NUMBERS = 2_000  # numbers of bad rows to average over at most
_STEEPEST = 2.0  # slope of labels on P(good); a few labels can suggest any
_SHRINKAGE = 2  # labels of the rarer kind with which predictions count half


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

    def within(self, low: float, high: float) -> GoodShare:
        """The same estimate with other limits."""
        width = high - low

        def is_as_narrow(n: int) -> bool:
            least, most = binomial(self.value * n, n, self.confidence)
            return most - least <= width

        return self._replace(low=low, high=high, effective=least_number(1, 100 * self.rows, is_as_narrow))


def good_share(
    good: Sequence[bool], predicted: Sequence[float], others: Sequence[float], confidence: float
) -> GoodShare | None:
    """Estimate the share of good rows by PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv:2311.01453).

    `good` are the labels of a random sample, `predicted` is P(good) of these rows and `others` that of the unlabelled
    rows. theta is the mean of good - lambda (predicted - mean prediction of all rows). The lambda of each row is the
    slope of good on predicted over the other labelled rows, which keeps theta unbiased, from 0 to 2 (that of a
    calibrated P(good) is 1), and smaller the fewer of them have the rarer label.

    The interval is that of the mean of bounded values (`bounded_mean`), which needs no variance: with 20 labels
    and a share of 0.98, one at the effective number of labels held in 65 % of draws instead of 90 %. Returns None below
    20 labels.
    """
    if len(good) < 20:
        return None
    y, f, rest = np.array(good, float), np.array(predicted, float), np.array(others, float)
    everything, weights = np.concatenate([f, rest]), _slopes_without_each(y, f)
    centre, slope = float(everything.mean()), float(weights.mean())
    by_others = weights * (len(rest) * f - rest.sum()) + slope * len(y) * (f - f.mean())
    values = y - by_others / len(everything)
    ends = (
        min(float(values.min()), slope * (centre - float(everything.max()))),
        max(float(values.max()), 1 + slope * (centre - float(everything.min()))),
    )
    low, high = (min(1.0, max(0.0, limit)) for limit in mean_limits(values, ends, confidence))
    value = min(1.0, max(0.0, float(values.mean())))
    return GoodShare(value, low, high, confidence, len(y), len(everything), 0.0).within(low, high)


def _slopes_without_each(y: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The slope of the labels `y` on `f` without each row, from 0 to 2, times m / (m + 2) for m other rows with the
    rarer label."""
    dy, df = y - y.mean(), f - f.mean()
    own = len(y) / (len(y) - 1)
    variances = np.maximum(df @ df - own * df * df, 0.0)
    slopes = np.where(variances > 1e-12, (dy @ df - own * dy * df) / np.maximum(variances, 1e-12), 0.0)
    others = np.minimum(y.sum() - y, (1 - y).sum() - (1 - y))
    return np.asarray(np.clip(slopes, 0.0, _STEEPEST) * others / (others + _SHRINKAGE))
