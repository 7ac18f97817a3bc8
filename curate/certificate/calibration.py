"""P(good) of a row: a logistic regression on features that programs compute.

It is fitted on the reviewed rows of the calibration half, and applied to rows that none of these reviews is about.

The features are the score, its percentile among the candidates of the input, the log ratio of output length to input
length and the square of that (to correct for length), and whether a gate flagged the row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.pool import Pool
from curate.rows import Row, pair_of

LEAST = 20  # reviewed rows of the calibration half that a fit needs
FEATURES = ("score", "percentile", "length", "length squared", "flagged")
_RIDGE = 1.0  # penalty on standardised features: worth about one reviewed row
_MAX_ITERATIONS = 50  # Newton iterations at most

Features = Mapping[str, Sequence[float]]  # pair id -> values in the order of FEATURES


@dataclass(frozen=True)
class Calibrator:
    """P(good) = 1 / (1 + exp(-(intercept + sum of weight x (feature - mean) / scale))).

    Fitted on `rows` reviewed rows, of which `good` were accepted as they are.
    """

    intercept: float
    weights: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    rows: int
    good: int

    def probabilities(self, features: Features) -> dict[str, float]:
        """Map pair id to P(good), rounded to six digits so that equal rows are equal on every machine."""
        if not features:
            return {}
        numbers = (np.array(list(features.values()), float) - self.mean) / self.scale
        p = _logistic(numbers @ np.array(self.weights) + self.intercept)
        return dict(zip(features, p.round(6).tolist(), strict=True))


def calibrate(features: Features, good: Mapping[str, bool]) -> Calibrator:
    """Fit a calibrator on the reviewed rows that have features. `good` maps a pair id to whether the row was accepted
    as it is.

    The ridge penalty keeps the weights finite where a feature separates good from bad rows perfectly, or nothing
    varies.
    """
    ids = sorted(id_ for id_ in good if id_ in features)
    x, y = np.array([features[id_] for id_ in ids], float), np.array([good[id_] for id_ in ids], float)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    columns = np.column_stack([np.ones(len(ids)), (x - mean) / scale])
    penalty = np.diag([0.1, *[_RIDGE] * len(FEATURES)])
    weights = np.zeros(len(FEATURES) + 1)
    for _ in range(_MAX_ITERATIONS):  # Newton's method
        p = _logistic(columns @ weights)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + penalty
        step = np.linalg.solve(curvature, columns.T @ (y - p) - penalty @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    intercept, *rest = (round(float(value), 9) for value in weights)
    means, scales = (tuple(round(float(value), 9) for value in values) for values in (mean, scale))
    return Calibrator(intercept, tuple(rest), means, scales, len(ids), int(y.sum()))


def _logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(values, -35, 35)))


def features_of(pool: Pool) -> dict[str, tuple[float, ...]]:
    """The features of every comparable row of a judged pool.

    Comparable are the rows with a score or, where no step scores, the accepted rows. The others are absent and have no
    P(good).
    """
    scores = any(step.scores for step in pool.steps)
    return dict(features for rows in pool.by_input() for features in _features_of_input(rows, scores=scores))


def _features_of_input(rows: Sequence[Row], *, scores: bool) -> Iterator[tuple[str, tuple[float, ...]]]:
    known = [row for row in rows if row.pair and (row.score is not None if scores else row.keep)]
    ranks = [row.score or 0.0 for row in known]
    for row in known:
        pair, score = pair_of(row), row.score or 0.0
        others = len(known) - 1
        beaten = sum(rank < score for rank in ranks) + (ranks.count(score) - 1) / 2
        length = math.log((len(pair.output) + 1) / (len(pair.asked) + 1))
        yield pair.id, (score, beaten / others if others else 0.5, length, length * length, float(bool(row.flags)))
