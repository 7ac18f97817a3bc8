"""Intervals and an exact test for pass rates of clustered answers: several answers to each seed, seeds drawn at random.

Answers to one seed resemble each other, so `n` seeds with `m` answers each carry less than `n * m` independent answers
and at least `n`. Everything below reckons with that *effective* number:

- **A share**: the score interval of Wilson with continuity correction (Newcombe 1998a, method 4) at the effective
  number of answers, which is estimated between seeds and reduced for having been estimated (Korn and Graubard 1998).
  At a share of 0 or 1 seeds do not differ, so each seed counts as one trial.
- **A paired difference**: the two share intervals joined by the square of their distances (MOVER; Newcombe 1998b,
  method 10; Zou 2008), less what the correlation between the systems over seeds explains. The correlation is shrunk by
  (n - 2) / (n + 2), because few seeds overstate it, and half a step of the effective number is added on both sides
  (continuity correction). A share of 0 or 1 keeps its uncertainty in the difference. Zero stays inside for as long as
  the test below does not reject it at the interval's level, so the two never contradict each other.
- **Seeds that belong together** (`groups`: parts of one document, tickets of one customer) are reckoned with in the
  same way, a group in place of a seed: its answers are summed up, and it is tossed as a whole. How alike they are is
  known from few groups, so the effective number is reduced by the groups that it was seen in. Where every group is one
  seed, figures are those without groups.
- **A test**: the sign-flip (permutation) test on the seeds' differences, McNemar's test for clusters. If both systems
  are equally good, which of the two gave which answers to a seed is a coin toss. All 2^n tosses are counted.
- **Several tests**: Holm's adjustment (1979), valid whatever the dependence between them.

`bench/proof` simulates how often these hold what they promise, beside the percentile bootstrap and the t interval.

Not covered: seeds that are no random sample of the inputs the model will meet; seeds that belong together where no
group says so (in fours that share their difficulty the intervals hold in some 80 % of cases); a second training run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from schemas.records import Record

if TYPE_CHECKING:
    from train.limits import Bounds


ALONE: Mapping[str, str] = {}
"""The groups of seeds that belong to none."""


class Interval(Record):
    """An estimate with a two-sided interval at `level`, from `seeds` seeds.

    `method`: `score` is the present one; `bootstrap` and `exact` stand in evaluations of earlier versions.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    method: Literal["score", "bootstrap", "exact"] = "bootstrap"

    @property
    def excludes_zero(self) -> bool:
        """True if 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def bracketed(estimate: float, low: float, high: float, sign: str = "") -> str:
    """`0.62 [0.51, 0.72]`; `sign` is `+` for a difference. What rounds to nothing has no minus."""
    return f"{estimate:{sign}z.2f} [{low:{sign}z.2f}, {high:{sign}z.2f}]"


def interval_in_words(interval: Interval, sign: str = "") -> str:
    """`bracketed`, of an interval."""
    return bracketed(interval.estimate, interval.low, interval.high, sign)


def p_in_words(p: float) -> str:
    """`p = 0.031`, or that it is below what three digits show."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def grouped(ids: Sequence[str], groups: Mapping[str, str]) -> list[str] | None:
    """What each seed belongs to, by `groups` (id -> group); None where each of them stands alone."""
    each = [groups.get(id_, id_) for id_ in ids]
    return each if len({*each}) < len(each) else None


def share(
    passed: Sequence[int], asked: Sequence[int], *, level: float = 0.95, groups: Sequence[str] | None = None
) -> Interval:
    """The share passed / asked with its interval. `passed[i]` of `asked[i]` answers of seed i passed; asked > 0.
    `groups[i]` is what seed i belongs to (`grouped`)."""
    from train.limits import counts, share_limits

    return _interval(share_limits(*counts(passed, asked), level, groups=groups), level, len(passed))


def difference(
    passed_a: Sequence[int],
    asked_a: Sequence[int],
    passed_b: Sequence[int],
    asked_b: Sequence[int],
    *,
    level: float = 0.95,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Share of a minus share of b, paired: entry i of all four sequences, and of `groups`, is of the same seed."""
    from train.limits import difference_limits, paired

    sides = paired(passed_a, asked_a, passed_b, asked_b)
    return _interval(difference_limits(*sides, level, groups=groups), level, len(passed_a))


def sign_flip_p(
    passed_a: Sequence[int],
    asked_a: Sequence[int],
    passed_b: Sequence[int],
    asked_b: Sequence[int],
    *,
    groups: Sequence[str] | None = None,
) -> float:
    """Two-sided p of "a and b are equally good", exact for any number of seeds or groups of them (to 15 digits).

    The statistic sums passed_a * asked_b - passed_b * asked_a over seeds: whole numbers, proportional to the difference
    of shares where every seed was asked equally often.
    """
    from train.limits import paired, sign_flips, tosses

    return float(sign_flips(tosses(*paired(passed_a, asked_a, passed_b, asked_b), groups)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for all of them being looked at, in the given order."""
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def seeds_for(gap: Interval) -> int | None:
    """About how many seeds would put the interval's nearer end at zero, if the difference stayed as it is.

    None where there is no difference to go by. Intervals shrink with the square root of the number of seeds.
    """
    if gap.estimate == 0:
        return None
    margin = gap.estimate - gap.low if gap.estimate > 0 else gap.high - gap.estimate
    return math.ceil(gap.seeds * (margin / gap.estimate) ** 2)


def errors_long(p_value: float) -> float:
    """How many standard errors from zero a two-sided p is."""
    return -NormalDist().inv_cdf(max(p_value, 1e-300) / 2)


def confirmed_at(p_value: float | None, p_holm: float | None) -> float:
    """How many standard errors long a difference has to be, so that its p, adjusted as this one is, is at most 0.05."""
    return errors_long(0.05 * p_value / p_holm if p_value and p_holm else 0.05)


def shortfall(p_value: float | None, p_holm: float | None) -> float:
    """How many times as many seeds would let the adjusted test confirm a difference that stays as it is."""
    here = errors_long(p_value or 1.0)
    return (confirmed_at(p_value, p_holm) / here) ** 2 if here > 0 else 1.0


def student_quantile(freedom: int, level: float) -> float:
    """Student's quantile: exact for one and two degrees of freedom, beyond them the series of Abramowitz and Stegun
    (26.7.5), which errs by less than 0.3 % at a level of 0.95."""
    p = (1 + level) / 2
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
    z, v = NormalDist().inv_cdf(p), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / v**power for power, term in enumerate(terms, 1))


def _interval(limits: Bounds, level: float, seeds: int) -> Interval:
    estimate, low, high = (float(number) for number in limits)
    return Interval(estimate=estimate, low=low, high=high, level=level, seeds=seeds, method="score")
