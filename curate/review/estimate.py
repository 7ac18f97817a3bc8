"""The share of rows that reviewers accept, its interval, and the cost of a narrower one.

The estimate is the Horvitz-Thompson mean over randomly drawn rows. Given how many rows of a stratum were drawn, they
are a simple random sample of it, so each has the weight population / reviewed.

There are three intervals, all for a finite population and none of them an approximation:

- one stratum: the inverted hypergeometric test (Clopper-Pearson without replacement);
- two strata: the inverted test of the weighted share, at the least favourable split of the acceptable rows between the
  strata. The splits are limited by a wide interval for each stratum, whose error is deducted (Berger and Boos 1994);
- one stratum with a look after every answer, at which the review may stop: the confidence sequence of Waudby-Smith
  and Ramdas (2020, "Confidence sequences for sampling without replacement") under a uniform prior. It holds at all
  looks together.

Each covers at least as often as stated, for all sizes and shares; bench/review/coverage.py shows it.

Not covered: rows without an answer are assumed to be like the others (the order in which the queue shows rows does not
depend on them).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from schemas.errors import needing

_MINIMUM = 2  # reviewed rows that a stratum of its own needs
_SPLITS = 0.02  # share of the error on either side for each interval that limits the splits between two strata
_STEPS = 1_000  # numbers of acceptable rows to try for a stratum at most


class Stratum(NamedTuple):
    """Rows that were equally likely to be drawn: their number, how many were reviewed, and how many of these were
    accepted."""

    population: int
    reviewed: int
    accepted: int


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, from one stratum or several. With `anytime`, the interval holds for any number of
    looks and any rule for stopping the review."""

    value: float
    low: float
    high: float
    reviewed: int
    population: int
    confidence: float
    strata: int = 1
    anytime: bool = False

    @property
    def margin_of_error(self) -> float:
        return (self.high - self.low) / 2

    @cached_property
    def effective(self) -> int:
        """The size of a simple random sample with the same share whose interval is as narrow."""
        if self.strata == 1 or self.reviewed == self.population:
            return self.reviewed

        def narrow(n: int) -> bool:
            low, high = _limits(Stratum(self.population, n, round(self.value * n)), self.confidence)
            return high - low <= self.high - self.low

        most = self.reviewed  # found by doubling: the time for a limit grows with the size of the sample
        while most < self.population and not narrow(most):
            most *= 2
        return least_number(_MINIMUM, min(most, self.population), narrow)

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def acceptance_rate(strata: Sequence[Stratum], confidence: float = 0.95, *, anytime: bool = False) -> Estimate | None:
    """The accepted share of all rows of one or two strata.

    None unless every non-empty stratum has at least two answers (the caller may then pool strata that were sampled as
    one). `anytime` requires a single stratum.
    """
    strata = [stratum for stratum in strata if stratum.population]
    if not strata or any(stratum.reviewed < min(_MINIMUM, stratum.population) for stratum in strata):
        return None
    population = sum(stratum.population for stratum in strata)
    reviewed = sum(stratum.reviewed for stratum in strata)
    value = sum(s.population / population * s.accepted / s.reviewed for s in strata)
    if reviewed == population:
        return Estimate(value, value, value, reviewed, population, confidence, len(strata), anytime)
    if len(strata) == 1:
        low, high = _limits(strata[0], confidence, anytime)
        return Estimate(value, low, high, reviewed, population, confidence, 1, anytime)
    first, second = strata
    assert not anytime, "a confidence sequence takes one stratum"
    tail = (1 - confidence) / 2
    low = _lower_limit(first, second, tail) / population
    high = 1 - _lower_limit(_complement(first), _complement(second), tail) / population
    return Estimate(value, low, high, reviewed, population, confidence, 2)


def _limits(stratum: Stratum, confidence: float, anytime: bool = False) -> tuple[float, float]:
    """The least and the greatest share of acceptable rows that the answers do not contradict."""
    with needing("review", "the interval of a share needs"):
        from scipy.stats import hypergeom

    n, k, size = stratum.reviewed, stratum.accepted, stratum.population
    error = 1 - confidence
    least, most = k, size - n + k  # the numbers that are possible after the rows seen
    if anytime:  # ratio of its likelihood to the average over all numbers, which is 1 / (n + 1)
        likeliest = round(k / n * size)

        def possible(total: int) -> bool:
            return bool(log_chances(size, total, n, k) + math.log(n + 1) > math.log(error))

        low = least_number(least, likeliest, possible)
        high = least_number(likeliest, most + 1, lambda total: not possible(total)) - 1
    else:
        low = least_number(least, most, lambda total: hypergeom.sf(k - 1, size, total, n) > error / 2)
        high = least_number(least, most + 1, lambda total: hypergeom.cdf(k, size, total, n) <= error / 2) - 1
    return low / size, high / size


def _lower_limit(first: Stratum, second: Stratum, tail: float) -> float:
    """The least number of acceptable rows in both strata under which a weighted share of at least the observed one has
    a probability above `tail`.

    All splits between the strata are tried that an interval of each stratum allows; the error of the two intervals is
    deducted from `tail`. The probability grows with the acceptable rows of either stratum, so the numbers of a stratum
    may be tried in steps (`_STEPS`), and the limit is then rounded down by a step.
    """
    import numpy as np

    size = first.population + second.population
    tries = [_candidate_totals(stratum, _SPLITS * tail) for stratum in (first, second)]
    chances = [_chances(stratum, totals) for stratum, totals in zip((first, second), tries, strict=True)]
    seen = sum(s.population / size * s.accepted / s.reviewed for s in (first, second))
    # The accepted rows of the second stratum that reach the observed share, together with k of the first.
    rest = seen - first.population / size * np.arange(first.reviewed + 1) / first.reviewed
    needed = np.clip(np.ceil(rest * second.reviewed * size / second.population - 1e-9), 0, second.reviewed + 1)
    at_least = np.hstack([chances[1][:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((len(tries[1]), 1))])
    reached = chances[0] @ at_least[:, needed.astype(int)].T
    below = [np.concatenate([totals[:1], totals[:-1] + 1]) for totals in tries]
    together = below[0][:, None] + below[1][None, :]
    return float(together[reached > (1 - 2 * _SPLITS) * tail].min())


def _candidate_totals(stratum: Stratum, error: float) -> Any:
    """The numbers of acceptable rows that an interval with this error allows, ascending, at most `_STEPS` of them."""
    import numpy as np

    low, high = (round(limit * stratum.population) for limit in _limits(stratum, 1 - error))
    return np.unique(np.linspace(low, high, min(high - low + 1, _STEPS)).round().astype(int))


def _chances(stratum: Stratum, totals: Any) -> Any:
    """totals x (0 ... reviewed): the probability of that many accepted rows among the reviewed."""
    import numpy as np

    k = np.arange(stratum.reviewed + 1)[None, :]
    return np.exp(log_chances(stratum.population, totals[:, None], stratum.reviewed, k))


def log_chances(size: int, marked: Any, drawn: int, hits: Any) -> Any:
    """The log probability of `hits` marked rows among `drawn` of `size` rows, of which `marked` are marked. The two may
    be arrays. Much faster than scipy's hypergeometric distribution, for which a large pool takes a minute."""
    chosen = _log_choose(size, marked, hits) + _log_choose(size, size - marked, drawn - hits)
    return chosen - _log_choose(size, size, drawn)


def _log_choose(size: int, n: Any, k: Any) -> Any:
    import numpy as np

    table = _log_factorials(1 << max(8, size.bit_length()))
    possible = (k >= 0) & (k <= n)
    n, k = np.where(possible, n, 0), np.where(possible, k, 0)
    return np.where(possible, table[n] - table[k] - table[n - k], -np.inf)


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> Any:
    import numpy as np

    return np.concatenate([[0.0], np.log(np.arange(1, most + 1)).cumsum()])


def _complement(stratum: Stratum) -> Stratum:
    return stratum._replace(accepted=stratum.reviewed - stratum.accepted)


def least_number(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from `low` on for which a monotone condition holds; `high` if it holds for none below."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def binomial(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval for a share of `k` in `n` independent trials; both may be fractional.
    Raises MissingDependency without the extra `review`."""
    with needing("review", "the interval of a share needs"):
        from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high


def seconds_per_item(seconds: Iterable[float | None]) -> float | None:
    """The median of the measured times, which is robust to breaks and slips; None if none was measured."""
    measured = [value for value in seconds if value is not None]
    return statistics.median(measured) if measured else None


@dataclass(frozen=True)
class Advice:
    """Whether the review may stop, and what continuing would bring.

    `rows` more randomly drawn rows with `answers` to give for them (including active rows and overlap), in `minutes` of
    one reviewer's time (None if no time was measured yet). `exhausted`: no row is left to draw, so no answer can narrow
    the interval.
    """

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
            return f"stop: the interval is within {points}"
        answers = f"{self.answers:,} more answer{'s' * (self.answers != 1)}"
        time = answers if self.minutes is None else f"about {_minutes(self.minutes)}"
        return f"{'stop, or ' if self.stop else ''}{time} would buy {points}"


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} more minutes" if minutes >= 1.5 else "one more minute"


def answers_for(rows: int, unsettled: int, answers_per_row: float) -> int:
    """The number of answers that decide `rows` more rows: first the `unsettled` ones, because the interval allows for
    both decisions on each; one answer settles a row."""
    return math.ceil(unsettled + max(0, rows - unsettled) * answers_per_row)


def advice(
    share: Estimate,
    wanted: float,
    *,
    seconds: float | None,
    answers_per_row: float = 1.0,
    left: int | None = None,
    unsettled: int = 0,
) -> Advice:
    """What to do next for an interval of at most `wanted` to either side.

    `answers_per_row`: answers given so far per row that counts in the estimate. `left`: how many more rows can be drawn
    (default: all of the population), `unsettled` of them by one answer (`answers_for`). Once `wanted` is reached, the
    advice is to stop, with the cost of reaching three fifths of it. The forecast assumes that the share and the weights
    stay as they are.
    """
    left = share.population - share.reviewed if left is None else left
    stop, unsettled = share.margin_of_error <= wanted, min(unsettled, left)
    if not left and not stop:
        return Advice(True, share.margin_of_error, 0, 0, None, exhausted=True)
    target = 0.6 * wanted if stop else wanted
    rows = (
        0 if share.margin_of_error <= target else rows_until(share, left, lambda low, high: (high - low) / 2 <= target)
    )
    if rows:
        rows = max(rows, unsettled)
    if rows and rows == left:  # all rows that are left, which may be too few for `wanted`
        low, high = _forecast(share, rows)
        target = (high - low) / 2
    answers = answers_for(rows, unsettled, answers_per_row) if rows else 0
    minutes = None if seconds is None else answers * seconds / 60
    return Advice(stop, target, rows, answers, minutes)


def rows_until(share: Estimate, left: int, holds: Callable[[float, float], bool]) -> int:
    """How many more random rows give an interval (low, high) for which `holds`, at the present efficiency and share;
    `left` if fewer do not."""
    return least_number(1, left, lambda more: holds(*_forecast(share, more))) if left else 0


def _forecast(share: Estimate, more: int) -> tuple[float, float]:
    """The interval after `more` rows, with the same share accepted."""
    efficiency = min(share.effective / share.reviewed, 1.0)
    n = max(2, round((share.reviewed + more) * efficiency))
    size = max(n, round(share.population * efficiency))
    return _limits(Stratum(size, n, round(share.value * n)), share.confidence, share.anytime)
