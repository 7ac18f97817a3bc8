"""How often one system would win if its answers were as long as the other's: judges prefer the longer of two answers.

A logistic regression of who won on the difference in length, as in length-controlled AlpacaEval (Dubois et al. 2024,
arXiv:2404.04475): logit P(win) = a + b tanh(difference / its root mean square). The controlled win rate is that of a
difference of 0. Half a win and half a loss at 0, and a normal prior on b, keep it finite where one side always won.

The interval is the sandwich estimate over inputs, or groups of them, with Student's quantile, taken on the logit's
scale, because answers to one input, both orders and all judges of it, are not independent.

Not covered: what goes with length, such as detail that a person would like, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.records import Record
from train.intervals import student_quantile

LEAST_EACH_WAY = 5
"""So many inputs at least on which each side is the longer one: else what length does is only guessed."""

_PSEUDO = 0.5  # wins and losses at no difference
_PRIOR = 0.25  # the precision of b: a standard deviation of 2 on the logit's scale


class LengthControlled(Record):
    """The win rate at equal length with its interval, and b: the gain in log-odds that the longer one has at most."""

    value: float
    low: float
    high: float
    of_length: float


def length_controlled(
    wins: Sequence[int], decisions: Sequence[int], differences: Sequence[float], groups: Sequence[str] | None = None
) -> LengthControlled | None:
    """`wins[i]` of `decisions[i]` on input i went to the system whose answer is longer by `differences[i]`, in words or
    any other unit; `groups[i]` is what it belongs to. None where one of the two is nearly always the longer one, and
    where all inputs are of one or two groups."""
    import numpy as np

    from train.limits import together

    hits, totals, longer = (np.asarray(values, dtype=np.float64) for values in (wins, decisions, differences))
    if min((longer > 0).sum(), (longer < 0).sum()) < LEAST_EACH_WAY:
        return None
    x = np.stack([np.ones_like(longer), np.tanh(longer / math.sqrt(float((longer**2).mean())))])
    beta, prior = np.zeros(2), np.diag([0.0, _PRIOR])
    for _ in range(100):
        p = 1 / (1 + np.exp(-(beta @ x)))
        at_zero = 1 / (1 + math.exp(-beta[0]))
        gradient = x @ (hits - totals * p) - prior @ beta
        gradient[0] += _PSEUDO - 2 * _PSEUDO * at_zero
        curvature = (x * (totals * p * (1 - p))) @ x.T + prior
        curvature[0, 0] += 2 * _PSEUDO * at_zero * (1 - at_zero)
        step = np.linalg.solve(curvature, gradient)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    p = 1 / (1 + np.exp(-(beta @ x)))
    scores = together(x * (hits - totals * p), groups)
    if (inputs := scores.shape[-1]) < 3:
        return None
    inverse = np.linalg.inv(curvature)
    # The prior's curvature alone where nothing varies: the sandwich would be of no width.
    robust = inverse @ (scores @ scores.T) @ inverse * inputs / (inputs - 2)
    error = math.sqrt(max(float(robust[0, 0]), float(inverse[0, 0]) / max(1.0, float(totals.sum()) / inputs)))
    margin = student_quantile(inputs - 2, 0.95) * error
    value, low, high = (1 / (1 + math.exp(-z)) for z in (beta[0], beta[0] - margin, beta[0] + margin))
    return LengthControlled(value=value, low=low, high=high, of_length=float(beta[1]))
