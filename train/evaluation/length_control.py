"""How often one system would win if its answers were as long as the other's. Judges prefer the longer of two answers,
and this removes the effect.

It is a logistic regression of the winner on the difference in length, as in length-controlled AlpacaEval (Dubois et al.
2024, arXiv:2404.04475): logit P(win) = a + b tanh(difference / its root mean square). The controlled win rate is the
one at a difference of 0. Half a win and half a loss at 0, and a normal prior on b, keep it finite if one side always
won.

The interval is the sandwich estimate over inputs, or groups of them, with Student's quantile, on the logit scale,
because the answers to one input, in both orders and from all judges, are not independent. Each residual is divided by
one minus its leverage (HC3), because a fit to few inputs makes residuals too small.

Not covered: qualities that correlate with length and that readers also value, such as detail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.records import Record
from train.evaluation.intervals import student_quantile

MIN_EACH_WAY = 5
"""The minimum number of inputs on which each side is longer; with fewer, the effect of length is a guess."""

_PSEUDO = 0.5  # pseudo-wins and pseudo-losses at a difference of 0
# The precision of b: a standard deviation of 8 on the logit scale. With 2, the win rate by a judge that mostly prefers
# the longer answer (b = 4) was drawn towards 0.5, and the interval covered 79 % at 20 inputs.
_PRIOR = 1 / 64
_MAX_LEVERAGE = 0.9


class LengthControlled(Record):
    """The win rate at equal length with its interval, and b: the largest gain in log-odds from being longer."""

    value: float
    low: float
    high: float
    of_length: float


def length_controlled(
    wins: Sequence[int], decisions: Sequence[int], differences: Sequence[float], groups: Sequence[str] | None = None
) -> LengthControlled | None:
    """The length-controlled win rate. `wins[i]` of `decisions[i]` on input i went to the system whose answer is longer
    by `differences[i]`, in words or any other unit; `groups[i]` is the input's group. None if one of the two is nearly
    always the longer one, or if there are fewer than three inputs or groups."""
    import numpy as np

    from train.evaluation.limits import sum_by_group

    hits, totals, longer = (np.asarray(values, dtype=np.float64) for values in (wins, decisions, differences))
    if min((longer > 0).sum(), (longer < 0).sum()) < MIN_EACH_WAY:
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
    inverse = np.linalg.inv(curvature)
    leverage = sum_by_group(np.einsum("in,ij,jn->n", x, inverse, x) * totals * p * (1 - p), groups)
    scores = sum_by_group(x * (hits - totals * p), groups) / (1 - np.minimum(leverage, _MAX_LEVERAGE))
    if (inputs := scores.shape[-1]) < 3:
        return None
    # If nothing varies, the sandwich estimate would be zero, so the prior's curvature sets a lower bound.
    robust = inverse @ (scores @ scores.T) @ inverse
    error = math.sqrt(max(float(robust[0, 0]), float(inverse[0, 0]) / max(1.0, float(totals.sum()) / inputs)))
    margin = student_quantile(inputs - 2, 0.95) * error
    value, low, high = (1 / (1 + math.exp(-z)) for z in (beta[0], beta[0] - margin, beta[0] + margin))
    return LengthControlled(value=value, low=low, high=high, of_length=float(beta[1]))
