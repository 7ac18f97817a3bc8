"""The share of rows that people accept, its interval, and what a narrower one would cost.

The estimate is the Horvitz-Thompson mean over rows that a random draw chose. Given how many rows of a stratum were
drawn, they are a simple random sample of it, so the weight of each is population / reviewed.

One stratum: the exact interval for a finite population, by inverting the hypergeometric test (Clopper-Pearson without
replacement); it covers at least as often as it says. Several: Clopper-Pearson at the effective sample size, as Korn and
Graubard (1998) do for surveys, with the finite population correction in the variance and each stratum's variance taken
at (accepted + 1/2) / (reviewed + 1), so that a stratum without a rejection is not taken for certain.
docs/review-method.md has the measured coverage.

Not covered: rows that nobody answered are taken to be like those that were (the queue shows rows in an order that does
not depend on them).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MINIMUM = 2  # reviewed rows without which a stratum says nothing of its own


class Stratum(NamedTuple):
    """Rows that were equally likely to be drawn: how many there are, were decided by people, and were accepted."""

    population: int
    reviewed: int
    accepted: int


@dataclass(frozen=True)
class Estimate:
    """A share with its interval. `effective` is the size of a plain random sample that would say as much."""

    value: float
    low: float
    high: float
    reviewed: int
    population: int
    effective: float
    confidence: float

    @property
    def margin_of_error(self) -> float:
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def acceptance_rate(strata: Sequence[Stratum], confidence: float = 0.95) -> Estimate | None:
    """The accepted share of all rows of the strata; None unless every stratum with rows has at least two answers.

    Where `None` is returned, the caller may pool strata that were sampled as one.
    """
    strata = [stratum for stratum in strata if stratum.population]
    if not strata or any(stratum.reviewed < min(_MINIMUM, stratum.population) for stratum in strata):
        return None
    population = sum(stratum.population for stratum in strata)
    reviewed = sum(stratum.reviewed for stratum in strata)
    value = sum(s.population / population * s.accepted / s.reviewed for s in strata)
    if reviewed == population:
        return Estimate(value, value, value, reviewed, population, math.inf, confidence)
    if len(strata) == 1:
        low, high = _exact(strata[0], confidence)
        return Estimate(value, low, high, reviewed, population, reviewed, confidence)
    effective = _effective(strata, population, confidence)
    low, high = _clopper_pearson(value, effective, confidence)
    return Estimate(value, low, high, reviewed, population, effective, confidence)


def _exact(stratum: Stratum, confidence: float) -> tuple[float, float]:
    """The least and the greatest number of acceptable rows that the answers do not contradict, as shares."""
    from scipy.stats import hypergeom

    n, k, size = stratum.reviewed, stratum.accepted, stratum.population
    tail = (1 - confidence) / 2
    low = _first(k, size - n + k, lambda total: hypergeom.sf(k - 1, size, total, n) > tail)
    high = _first(k, size - n + k + 1, lambda total: hypergeom.cdf(k, size, total, n) <= tail) - 1
    return low / size, min(high, size - n + k) / size


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from `low` on for which a condition that never ceases to hold holds; `high` if none below."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _effective(strata: Sequence[Stratum], population: int, confidence: float) -> float:
    from scipy.stats import norm, t

    variance = share = 0.0
    for s in strata:
        weight, near = s.population / population, (s.accepted + 0.5) / (s.reviewed + 1)
        share += weight * near
        variance += weight**2 * (1 - s.reviewed / s.population) * near * (1 - near) / max(s.reviewed - 1, 1)
    degrees = max(sum(s.reviewed for s in strata) - len(strata), 1)
    upper = (1 + confidence) / 2
    adjusted = (norm.ppf(upper) / t.ppf(upper, degrees)) ** 2
    return float(share * (1 - share) / variance * adjusted)


def _clopper_pearson(share: float, n: float, confidence: float) -> tuple[float, float]:
    from scipy.stats import beta

    k, tail = share * n, (1 - confidence) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high


def binomial(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval of a share of `k` in `n` independent trials."""
    return _clopper_pearson(k / n, n, confidence)


def seconds_per_item(seconds: Iterable[float | None]) -> float | None:
    """The median of the measured times, which breaks and slips do not move; None if none was measured."""
    measured = [value for value in seconds if value is not None]
    return statistics.median(measured) if measured else None


@dataclass(frozen=True)
class Advice:
    """Whether review may stop, and what going on would buy. `rows` more randomly drawn rows, `answers` to give for
    them (active rows and overlap included), `minutes` of one person (None: no time was measured yet). `exhausted`: no
    row is left to draw, so no answer makes the interval tighter."""

    stop: bool
    margin_of_error: float
    rows: int
    answers: int
    minutes: float | None
    exhausted: bool = False

    def __str__(self) -> str:
        points = f"±{100 * self.margin_of_error:.2g} points"
        if self.exhausted:
            return f"stop: every row that can be drawn is decided, and the interval stays at {points}"
        if self.rows == 0:
            return f"stop: the interval is as tight as {points}"
        time = f"{self.answers} more answers" if self.minutes is None else f"about {_minutes(self.minutes)}"
        return f"{'stop, or ' if self.stop else ''}{time} would buy {points}"


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} more minutes" if minutes >= 1.5 else "one more minute"


def advice(
    share: Estimate,
    wanted: float,
    *,
    seconds: float | None,
    answers_per_row: float = 1.0,
    tighter: float | None = None,
    left: int | None = None,
) -> Advice:
    """What to do next for an interval of at most `wanted` to either side.

    `answers_per_row`: answers given so far for each row that counts in the estimate. `left`: how many more rows can be
    drawn (default: all of the population). Once `wanted` is reached the advice is to stop, and tells what `tighter`
    (default: three fifths of `wanted`) would cost. The forecast takes the share and the weights to stay as they are.
    """
    left = share.population - share.reviewed if left is None else left
    stop = share.margin_of_error <= wanted
    if not left and not stop:
        return Advice(True, share.margin_of_error, 0, 0, None, exhausted=True)
    target = (tighter or 0.6 * wanted) if stop else wanted
    rows = (
        0 if share.margin_of_error <= target else rows_until(share, left, lambda low, high: (high - low) / 2 <= target)
    )
    if rows and rows == left:  # all that there are, which may be too few for `wanted`
        low, high = _forecast(share, rows)
        target = (high - low) / 2
    answers = math.ceil(rows * answers_per_row)
    minutes = None if seconds is None else answers * seconds / 60
    return Advice(stop, target, rows, answers, minutes)


def rows_until(share: Estimate, left: int, holds: Callable[[float, float], bool]) -> int:
    """How many more random rows, at the efficiency of those so far and the present share, bring an interval (low, high)
    for which `holds`; `left` if fewer do not."""
    return _first(1, left, lambda more: holds(*_forecast(share, more))) if left else 0


def _forecast(share: Estimate, more: int) -> tuple[float, float]:
    """The interval after `more` rows, of which the same share is accepted."""
    efficiency = min(share.effective / share.reviewed, 1.0)
    n = max(2, round((share.reviewed + more) * efficiency))
    size = max(n, round(share.population * efficiency))
    return _exact(Stratum(size, n, round(share.value * n)), share.confidence)
