"""Intervals and an exact test for pass rates of clustered answers: several answers per seed, with seeds drawn at
random.

Answers to one seed resemble each other, so `n` seeds with `m` answers each carry less information than `n * m`
independent answers, and at least as much as `n`. Everything below uses that *effective* number of answers:

- **A share**: Wilson's score interval with continuity correction (Newcombe 1998a, method 4) at the effective number
  of answers, which is estimated from the variation between seeds and reduced because it is an estimate (Korn and
  Graubard 1998). At a share of 0 or 1 seeds do not differ, so each seed counts as one trial.
- **A paired difference**: the two share intervals, combined by the square of their distances (MOVER; Newcombe 1998b,
  method 10; Zou 2008), less what the correlation between the systems over seeds explains. The correlation is shrunk
  by (n - 2) / (n + 2), because few seeds overstate it, and half a step of the effective number is added on both sides
  (continuity correction). A share of 0 or 1 keeps its uncertainty in the difference. Zero stays inside the interval
  as long as the test below does not reject it at the interval's level, so the two never contradict each other.
- **Seeds that belong together** (`groups`: parts of one document, tickets of one customer) are handled in the same
  way, with a group in place of a seed: its answers are summed, and its sign is flipped as a whole. Few groups give a
  poor estimate of how similar answers within a group are, so the effective number is reduced according to the number
  of groups with weight in it. The same holds for a share with more than three answers to a seed.
- **A test**: the sign-flip (permutation) test on the seeds' differences, McNemar's test for clusters. If both systems
  are equally good, which of the two gave which answers to a seed is a coin toss. All 2^n tosses are counted.
- **Several tests**: Holm's adjustment (1979), valid whatever the dependence between them.

`bench/proof` simulates how often these reach their nominal coverage, compared with the percentile bootstrap and the t
interval.

Not covered: seeds that are not a random sample of the inputs the model will meet; related seeds that are not declared
as a group (with groups of four the intervals of shares cover in as little as 69 % of cases); the variation of a second
training run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from schemas.records import Record

if TYPE_CHECKING:
    from train.evaluation.limits import Bounds


ALONE: Mapping[str, str] = {}
"""No groups: every seed stands alone."""


class Interval(Record):
    """An estimate with a two-sided interval at `level`, from `seeds` seeds, in `groups` groups if seeds belong together
    (0 if each stands alone, and in evaluations of earlier versions).

    `method` is `score` today; `bootstrap` and `exact` occur in evaluations of earlier versions.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    groups: int = 0
    method: Literal["score", "bootstrap", "exact"] = "bootstrap"

    @property
    def units(self) -> int:
        """The number of independent observations: groups, or seeds if each stands alone."""
        return self.groups or self.seeds

    @property
    def excludes_zero(self) -> bool:
        """True if 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def format_estimate(estimate: float, low: float, high: float, sign: str = "") -> str:
    """`0.62 [0.51, 0.72]`; `sign` is `+` for a difference. A value that rounds to zero has no minus sign."""
    return f"{estimate:{sign}z.2f} [{low:{sign}z.2f}, {high:{sign}z.2f}]"


def format_interval(interval: Interval, sign: str = "") -> str:
    """`format_estimate` for an interval."""
    return format_estimate(interval.estimate, interval.low, interval.high, sign)


def format_p_value(p: float) -> str:
    """`p = 0.031`, or `p < 0.001` if three digits would show zero."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def grouped(ids: Sequence[str], groups: Mapping[str, str]) -> list[str] | None:
    """The group of each seed according to `groups` (id -> group); None if every seed stands alone."""
    each = [groups.get(id_, id_) for id_ in ids]
    return each if len({*each}) < len(each) else None


def share(
    passed: Sequence[int], asked: Sequence[int], *, level: float = 0.95, groups: Sequence[str] | None = None
) -> Interval:
    """The share passed / asked with its interval. `passed[i]` of `asked[i]` answers of seed i passed; asked > 0.
    `groups[i]` is the group of seed i (see `grouped`)."""
    from train.evaluation.limits import counts, share_limits

    return _interval(share_limits(*counts(passed, asked), level, groups=groups), level, len(passed), groups)


def difference(
    passed_a: Sequence[int],
    asked_a: Sequence[int],
    passed_b: Sequence[int],
    asked_b: Sequence[int],
    *,
    level: float = 0.95,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Share of a minus share of b, paired: entry i of all four sequences, and of `groups`, belongs to the same seed."""
    from train.evaluation.limits import difference_limits, paired_counts

    sides = paired_counts(passed_a, asked_a, passed_b, asked_b)
    return _interval(difference_limits(*sides, level, groups=groups), level, len(passed_a), groups)


def sign_flip_p(*columns: Sequence[int], groups: Sequence[str] | None = None) -> float:
    """Two-sided p-value of "a and b are equally good", exact for any number of seeds or groups (to 15 digits). The
    columns are those of `difference`.

    The statistic sums passed_a * asked_b - passed_b * asked_a over seeds: integers, proportional to the difference of
    shares if every seed was asked equally often.
    """
    from train.evaluation.limits import paired_counts, seed_differences, sign_flips

    return float(sign_flips(seed_differences(*paired_counts(*columns), groups)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for testing all of them (Holm), in the given order."""
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def seeds_needed(gap: Interval) -> int | None:
    """About how many seeds would put the interval's nearer end at zero, if the difference stayed the same.

    None if there is no difference. Intervals shrink with the square root of the number of seeds.
    """
    if gap.estimate == 0:
        return None
    margin = gap.estimate - gap.low if gap.estimate > 0 else gap.high - gap.estimate
    return math.ceil(gap.seeds * (margin / gap.estimate) ** 2)


def standard_errors(p_value: float) -> float:
    """The number of standard errors from zero that a two-sided p-value corresponds to."""
    return -NormalDist().inv_cdf(max(p_value, 1e-300) / 2)


def required_standard_errors(p_value: float | None, p_holm: float | None) -> float:
    """The number of standard errors a difference needs so that its p-value, adjusted in the same way as this one, is at
    most 0.05."""
    return standard_errors(0.05 * p_value / p_holm if p_value and p_holm else 0.05)


def flip_spread(*columns: Sequence[int], groups: Sequence[str] | None = None) -> tuple[float, float] | None:
    """The standard deviation of the sign-flip statistic and half of the step between its values, both as multiples of
    its observed value; None if that is 0. The columns are those of `difference`."""
    import numpy as np

    from train.evaluation.limits import paired_counts, seed_differences

    steps = seed_differences(*paired_counts(*columns), groups)
    observed = abs(float(steps.sum()))
    return (math.sqrt(float((steps**2).sum())) / observed, float(np.gcd.reduce(steps)) / observed) if observed else None


def seeds_factor(spread: tuple[float, float], needed: float) -> float:
    """The factor by which the number of seeds would have to grow until the present difference is `needed` standard
    errors long: f with (f - step) / (sd sqrt(f)) of them."""
    sd, step = spread
    reach = needed * sd
    return ((reach + math.sqrt(reach**2 + 4 * step)) / 2) ** 2


def significant_lead(rate: float, units: int, tests: int) -> float:
    """About the smallest lead over a system that passes `rate` of `units` inputs (or groups) which the exact test,
    adjusted for this many `tests`, would confirm if the two passed independently of each other, and each input counted
    once.

    If only tuned passes x of n inputs, and only the other y, the lead d = (x - y) / n is (x - y - 1) / sqrt(x + y)
    standard errors long. If y is 0, p is 2^(1 - x).
    """
    p = 0.05 / tests
    needed = standard_errors(p) ** 2
    b = 2 + needed * (1 - 2 * rate)
    c = 1 / units - 2 * needed * rate * (1 - rate)
    lead = (b + math.sqrt(max(0.0, b * b - 4 * c * units))) / (2 * units)
    return max(lead, math.ceil(1 - math.log2(p)) / units)


@cache
def student_quantile(degrees: int, level: float) -> float:
    """Student's quantile. Up to 30 degrees of freedom it is exact; beyond, the error of the series of Abramowitz and
    Stegun (26.7.5) is below a millionth at the levels of simultaneous intervals too."""
    z, v = NormalDist().inv_cdf((1 + level) / 2), degrees
    if v > 30:
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
        )
        return z + math.fsum(term / v**power for power, term in enumerate(terms, 1))
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, v) < level else (low, middle)
    return math.sqrt(v) * math.tan(low)


def _student_within(angle: float, degrees: int) -> float:
    """P(|t| < sqrt(degrees) tan(angle)) for Student's t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    odd, cos2 = degrees % 2, math.cos(angle) ** 2
    term, series = math.sin(angle) * (math.cos(angle) if odd else 1.0), 0.0
    for k in range(odd + 1, degrees, 2):
        series += term
        term *= cos2 * k / (k + 1)
    return 2 / math.pi * (angle + series) if odd else series


def _interval(limits: Bounds, level: float, seeds: int, groups: Sequence[str] | None) -> Interval:
    estimate, low, high = (float(number) for number in limits)
    number = len({*groups}) if groups else 0
    return Interval(estimate=estimate, low=low, high=high, level=level, seeds=seeds, groups=number, method="score")
