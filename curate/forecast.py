"""Forecast a whole run from a pilot on some seeds: tokens, money, time and accepted rows, as 90 % prediction intervals.

The unit is the seed: candidates of one seed share a prompt and are alike, so only seeds count as independent. The seeds
of the pilot are known, the others are predicted.

- **Sums** (tokens, US dollars, seconds): the hull of two intervals. One is Student's t for the sum of the other seeds.
  The other is the Bayesian bootstrap (Rubin 1981) with one additional unseen seed, whose size lies between the largest
  one seen and the most that a seed can take: twenty seeds rarely show the end of a heavy tail. It weighs as much as the
  others, because the next seed exceeds n exchangeable ones with probability 1 / (n + 1).
- **Rows before duplicates**: the distribution of rows per seed, with a Dirichlet prior, drawn for every other seed.
- **Duplicates** grow with the number of rows. A few rows do not show how fast, so the interval is the hull of two.
  One averages Gibbs-type species sampling models (Pitman and Yor 1997; De Blasi et al. 2015), from finitely many
  distinct rows to a power law, and the model without any repetition, each weighted by the probability that it gives the
  pilot's groups of equal rows. The other is the range over the models that these groups leave likely (likelihood ratio
  against the best one, 90 %). An average alone is overconfident: twenty rows without a repetition are hardly less
  probable if there are only 300 distinct rows than if there is no limit.

Not covered: a pilot whose seeds are not a random part of all seeds, a teacher that changes, steps after duplicates,
rows that reviewers reject, and answers longer than `most`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.9
LEAST_SEEDS = 10  # pilot seeds needed to forecast the accepted rows
_DRAWS = 2_000
_BLOCKS = 48
_SCALES = 80
# t quantiles for a central 90 % interval, by degrees of freedom.
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753)
# Discounts of the models of duplicates: below 0 finitely many distinct rows, above 0 a power law.
_DISCOUNTS = (-20.0, -1.0, -0.3, 0.0, 0.25, 0.5, 0.75, 0.85, 0.95)
# Half of the 90 % quantile of chi-squared with two degrees, as a model has two parameters: how far below the best a
# log-likelihood may be.
_LIKELY = 2.303


class Range(NamedTuple):
    """An unknown number: its central estimate and a 90 % interval."""

    middle: float
    low: float
    high: float


class Pilot(NamedTuple):
    """The result of a pilot: `rows` accepted of each seed before duplicates across seeds, and the sizes of the `groups`
    of near-duplicates among all of these rows."""

    rows: Sequence[int]
    groups: Sequence[int]


def forecast_sum(known: Sequence[float], others: int, most: float | None) -> Range | None:
    """The sum over the seeds with the values `known` and over `others` more seeds.

    No seed can exceed `most` (None: ten times the largest value is assumed). Returns None for fewer than two known
    seeds.
    """
    import numpy as np

    x = np.asarray(known, dtype=float)
    if not others:
        return Range(*(float(x.sum()),) * 3)
    m = len(x)
    if m < 2:
        return None
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    quantile = _T[m - 2] if m - 1 <= len(_T) else 1.645 + 1.7 / (m - 1)  # within 0.01 of the t-quantile
    half = quantile * spread * math.sqrt(others * others / m + others)
    top = float(x.max())
    ceiling = max(top, 10 * top if most is None else most)
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(m + 1), _DRAWS)
    unseen = top * np.exp(random.uniform(0, 1, _DRAWS) * math.log(ceiling / top)) if top else np.full(_DRAWS, ceiling)
    means = weights[:, :m] @ x + weights[:, m] * unseen
    variances = np.maximum(weights[:, :m] @ (x * x) + weights[:, m] * unseen**2 - means**2, 0)
    sums = others * means + random.normal(size=_DRAWS) * np.sqrt(others * variances)
    low, high = np.quantile(sums, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    so_far = float(x.sum())
    return Range(
        so_far + others * mean,
        so_far + max(0.0, min(others * mean - half, float(low))),
        so_far + max(others * mean + half, float(high)),
    )


def forecast_accepted_rows(pilot: Pilot, others: int, max_rows_per_seed: int) -> Range | None:
    """The rows that curation will accept of the pilot's seeds and `others` more, at most `max_rows_per_seed` of each.

    Returns None for a pilot of fewer than `LEAST_SEEDS` seeds, because their share is hardly informative.
    """
    import numpy as np

    if len(pilot.rows) < LEAST_SEEDS:
        return None
    random = np.random.default_rng(0)
    counts = np.bincount(np.asarray(pilot.rows, dtype=int), minlength=max_rows_per_seed + 1)
    prior = 1 / (max_rows_per_seed + 1)
    shares = random.dirichlet(counts + prior, _DRAWS)
    values = np.arange(len(counts))
    means, squares = shares @ values, shares @ values**2
    noise = random.normal(size=_DRAWS) * np.sqrt(np.maximum(others * (squares - means**2), 0))
    new_rows = np.clip(np.rint(others * means + noise), 0, others * max_rows_per_seed)
    models = _models(pilot.groups)
    chosen = random.choice(len(models.discount), size=_DRAWS, p=models.probability)
    drawn = _distinct_rows_after(pilot.groups, models.theta[chosen], models.discount[chosen], new_rows, random.binomial)
    low, middle, high = np.quantile(drawn, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    likely = models.log_likelihood >= models.log_likelihood.max() - _LIKELY
    fewest, most = (
        _distinct_rows_after(
            pilot.groups, models.theta[likely], models.discount[likely], np.full(likely.sum(), number), np.multiply
        )
        for number in np.quantile(new_rows, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    )
    return Range(float(middle), min(float(low), float(fewest.min())), max(float(high), float(most.max())))


class _Models(NamedTuple):
    """Models of duplicates: concentration, discount, the log-likelihood of the pilot's groups, and posterior
    probability.

    A priori, the model in which no row ever repeats weighs as much as all models with one discount.
    """

    theta: np.ndarray
    discount: np.ndarray
    log_likelihood: np.ndarray
    probability: np.ndarray


def _distinct_rows_after(
    groups: Sequence[int], theta: np.ndarray, discount: np.ndarray, new_rows: np.ndarray, new: Callable[..., np.ndarray]
) -> np.ndarray:
    """The number of distinct rows after `new_rows` more rows under each model. `new(rows, probability)` is how many of
    some rows are new: a random draw or the expectation."""
    import numpy as np

    seen = sum(groups)
    k, j = np.full(len(new_rows), float(len(groups))), np.full(len(new_rows), float(seen))
    for block in range(_BLOCKS):
        fraction = ((block + 1) / _BLOCKS) ** 3  # small steps first, where the number changes fastest
        until = np.maximum(j, np.floor(seen + new_rows * fraction))
        k = k + new((until - j).astype(int), np.clip((theta + discount * k) / (theta + (j + until) / 2), 0, 1))
        j = until
    return k.round()


def _models(groups: Sequence[int]) -> _Models:
    """The models on a grid of parameters, given the group sizes of the pilot."""
    import numpy as np

    seen, kinds = sum(groups), len(groups)
    thetas, discounts, logs = [], [], []
    for discount in _DISCOUNTS:
        # With a negative discount, `scale` is the total number of distinct rows: at least those seen.
        least = max(kinds, 1) if discount < 0 else 0.05 if discount > 0 else 2
        scale = np.exp(np.linspace(math.log(least), math.log(1e6), _SCALES))
        theta = scale * -discount if discount < 0 else scale
        i = np.arange(1, kinds)
        unlike = np.log(np.maximum(theta[:, None] + i * discount, 1e-300)).sum(1)
        rising = np.log(theta[:, None] + np.arange(1, seen)).sum(1)
        within = sum(math.log(s - discount) for size in groups for s in range(1, size))
        thetas.append(theta)
        discounts.append(np.full(len(scale), discount))
        logs.append(unlike - rising + within)
    prior = np.ones(len(_DISCOUNTS) * _SCALES)
    if kinds == seen:  # the model in which no row ever repeats
        thetas.append(np.array([1e15]))
        discounts.append(np.zeros(1))
        logs.append(np.zeros(1))
        prior = np.append(prior, _SCALES)
    log = np.concatenate(logs)
    weight = prior * np.exp(log - log.max())
    return _Models(np.concatenate(thetas), np.concatenate(discounts), log, weight / weight.sum())
