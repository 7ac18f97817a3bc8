"""What the answers prove: which rows they are a random sample of, and the resulting acceptance rates.

Samples are drawn from the estimation half (`curate.review.sampling`), which is a random half of all rows. So they are
simple random samples of all rows, and populations here are those of both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from curate.review.estimate import Estimate, Stratum, acceptance_rate
from curate.review.sampling import (
    ESTIMATION,
    Frames,
    SampledIds,
    SamplingRow,
    frames,
    in_estimation_half,
    inclusion,
    sample,
    targets,
)
from schemas.reviews import SamplingReason
from schemas.spec import ReviewSettings


@dataclass(frozen=True)
class Drawn:
    """The rows of a review and the rows that each reason has chosen so far (`sampled`); `whole` is passed to
    `frames`. Everything here is computed once: it takes time for every row of the pool, and no answer changes it."""

    rows: Sequence[SamplingRow]
    sampled: SampledIds
    seed: int
    whole: bool = False

    @cached_property
    def frames(self) -> Frames:
        """The rows that every reason draws from."""
        return frames(self.rows, self.seed, self.sampled, whole=self.whole)

    @cached_property
    def in_frame(self) -> dict[SamplingReason, frozenset[str]]:
        """The frames of the reasons for estimates, as sets."""
        return {reason: frozenset(self.frames.get(reason, ())) for reason in ESTIMATION}

    @cached_property
    def by(self) -> dict[SamplingReason, list[str]]:
        """The rows that each reason for estimates has drawn from its frame, a simple random sample."""
        return {
            reason: sample(self.seed, reason, self.frames.get(reason, ()), self.sampled.get(reason, ()))
            for reason in ESTIMATION
        }

    @cached_property
    def for_estimates(self) -> set[str]:
        """The rows that any draw for an estimate has chosen."""
        return {id_ for ids in self.by.values() for id_ in ids}

    @cached_property
    def passed(self) -> DrawnPart:
        """The rows that passed the gates, with those of them that the estimation sample has drawn."""
        return DrawnPart.of((row.pair_id for row in self.rows if row.passed), set(self.by["certify"]))

    @cached_property
    def passed_by_choice(self) -> list[DrawnPart]:
        """The rows that passed the gates and that the programs accept, and those that they do not accept, each with the
        rows drawn for any estimate; without empty parts."""
        of = ([row.pair_id for row in self.rows if row.passed and row.accepted is keep] for keep in (True, False))
        return [DrawnPart.of(ids, self.for_estimates) for ids in of if ids]

    @cached_property
    def accepted(self) -> DrawnPart:
        """The rows that the programs accept, with those of them that were drawn for any estimate."""
        return DrawnPart.of((row.pair_id for row in self.rows if row.accepted), self.for_estimates)

    @cached_property
    def rejected(self) -> DrawnPart:
        """The rows that the programs judged and do not accept, with those of them that their audit has drawn."""
        return DrawnPart.of(targets(self.rows).get("audit_rejected", ()), set(self.by["audit_rejected"]))

    @cached_property
    def reachable(self) -> frozenset[str]:
        """The rows that the programs accept and that were or may still be drawn for an estimate."""
        drawable = self.in_frame["audit_accepted"] | self.for_estimates
        return frozenset(row.pair_id for row in self.rows if row.accepted and row.pair_id in drawable)

    @cached_property
    def inclusion_probabilities(self) -> dict[str, float]:
        """The probability of every counted row to be drawn for an estimate, given the present sample sizes.

        Over these rows, 1 / probability sums in expectation over the draws to the number of rows that could be drawn.
        The draw of the half is included. Rows drawn with the programs' opinion in sight are absent: they have no
        weight.
        """
        estimation = {reason: self.frames[reason] for reason in ESTIMATION if reason in self.frames}
        of_half = inclusion(estimation, {reason: len(ids) for reason, ids in self.by.items()})
        return {id_: of_half[id_] / (1 if self.whole else 2) for ids in self.by.values() for id_ in ids}


class DrawnPart(NamedTuple):
    """The number of rows in a part of the pool, and the ids of those that were drawn for an estimate of it."""

    population: int
    drawn: frozenset[str]

    @classmethod
    def of(cls, ids: Iterable[str], drawn: Collection[str]) -> DrawnPart:
        among = set(ids)
        return cls(len(among), frozenset(among.intersection(drawn)))

    def stratum(self, accepted: Mapping[str, bool]) -> Stratum:
        """The part with the decisions on its drawn rows."""
        decided = [accepted[id_] for id_ in self.drawn if id_ in accepted]
        return Stratum(self.population, len(decided), sum(decided))


class AcceptanceRates(NamedTuple):
    """Acceptance rates with their intervals; each is None if too few rows are decided.

    `passed`: of the rows that passed the gates. `accepted`: of those that the programs accept, which is what would be
    trained on without review; its interval holds at any number of looks, because the human gate looks after every
    answer. `missed`: of those that the programs rejected. `left`: rows that estimation could still choose, or has
    chosen but are undecided; `left_accepted` is the same for rows that the programs accept. If none is left, no answer
    can narrow the interval. `set_aside`: decided rows that count again once the rows that were added since have been
    drawn. `at_best`: the counts for rows that the programs accept, if reviewers accepted every one that is left (None
    before the first draw). `unsettled`: drawn rows whose answers settle nothing, and `unsettled_accepted` those of them
    that the programs accept; the lower ends count them as not accepted, the upper ends as accepted.
    """

    passed: Estimate | None
    accepted: Estimate | None
    missed: Estimate | None
    left: int
    left_accepted: int
    set_aside: int = 0
    at_best: Stratum | None = None
    unsettled: int = 0
    unsettled_accepted: int = 0


def needs_whole_pool(
    rows: Sequence[SamplingRow], sampled: SampledIds, seed: int, at_least: float, confidence: float = 0.95
) -> bool:
    """Whether all rows belong to the estimation half.

    This is so if half of the rows could not prove that reviewers accept the share `at_least`, even if they accepted all
    of its rows that the programs accept (a small pool, or a share near 1). Once rows of both halves were drawn for
    estimates, it stays so. It is never so if a row was shown with an opinion of programs, because then not all rows
    could be judged without. It does not depend on any answer.
    """
    pool = {row.pair_id: in_estimation_half(seed, row.pair_id) for row in rows}
    if any(id_ in pool for reason, ids in sampled.items() if reason not in ESTIMATION for id_ in ids):
        return False
    if any(not pool.get(id_, True) for reason in ESTIMATION for id_ in sampled.get(reason, ())):
        return True
    halves = [pool[row.pair_id] for row in rows if row.accepted]
    best = acceptance_rate([Stratum(len(halves), sum(halves), sum(halves))], confidence, anytime=True)
    return bool(halves) and (best.low if best else 0.0) < at_least


def drawn_so_far(rows: Sequence[SamplingRow], sampled: SampledIds, spec: ReviewSettings) -> Drawn:
    """The rows drawn so far, under a project's settings."""
    whole = bool(sampled) and needs_whole_pool(rows, sampled, spec.seed, spec.accept_at_least, spec.confidence)
    return Drawn(rows, sampled, spec.seed, whole)


def acceptance_rates(
    drawn: Drawn, accepted: Mapping[str, bool], confidence: float = 0.95, unsettled: Collection[str] = ()
) -> AcceptanceRates:
    """Every rate that the decisions so far support. `accepted` maps a pair id to whether reviewers accept the row as it
    is; a row without a decision is absent, and in `unsettled` if its answers settle nothing."""

    def rate(part: DrawnPart, *, anytime: bool = False) -> Estimate | None:
        def of(known: Mapping[str, bool]) -> Estimate | None:
            return acceptance_rate([part.stratum(known)], confidence, anytime=anytime)

        return _with_unsettled(of, accepted, unsettled)

    of, chosen, reachable = drawn.in_frame, drawn.for_estimates, drawn.reachable
    sampled = ((id_, of[reason]) for reason in ESTIMATION for id_ in drawn.sampled.get(reason, ()))
    aside = {id_ for id_, frame in sampled if id_ in accepted and id_ in frame}
    refused = sum(id_ in reachable and not good for id_, good in accepted.items())
    return AcceptanceRates(
        passed=_with_unsettled(lambda known: acceptance_rate(strata(drawn, known), confidence), accepted, unsettled),
        accepted=rate(drawn.accepted, anytime=True),
        missed=rate(drawn.rejected),
        left=len(of["certify"]) - len(of["certify"].intersection(accepted)),
        left_accepted=len(of["audit_accepted"]) - len(of["audit_accepted"].intersection(accepted)),
        set_aside=len(aside - chosen),
        at_best=Stratum(drawn.accepted.population, len(reachable), len(reachable) - refused) if drawn.sampled else None,
        unsettled=len(chosen.intersection(unsettled)),
        unsettled_accepted=len(drawn.accepted.drawn.intersection(unsettled)),
    )


def _with_unsettled(
    rate: Callable[[Mapping[str, bool]], Estimate | None], accepted: Mapping[str, bool], unsettled: Collection[str]
) -> Estimate | None:
    """The rate of the decided rows, with an interval that holds however the unsettled rows are decided."""
    ends = [rate({**dict.fromkeys(unsettled, good), **accepted}) for good in (False, True)] if unsettled else []
    decided, (worst, best) = rate(accepted), ends or (None, None)
    return (
        replace(decided, low=min(decided.low, worst.low), high=max(decided.high, best.high))
        if decided and worst and best
        else decided
    )


def estimation_sample(drawn: Drawn, part: Collection[str]) -> tuple[set[str], set[str]]:
    """Two sets of rows out of a `part` of the rows that passed the gates.

    The first are those that a random draw for an estimate has chosen so far, a simple random sample of the part. The
    second are those that have been or may still be chosen. Draws from the rows that the programs accept count only if
    the part consists of such rows.
    """
    reasons = ESTIMATION
    if not {row.pair_id for row in drawn.rows if row.accepted}.issuperset(part):
        reasons = ("certify",)
    chosen = {id_ for reason in reasons for id_ in drawn.by[reason]}
    possible = {id_ for reason in reasons for id_ in drawn.frames.get(reason, ())}
    return chosen & set(part), possible & set(part)


def strata(drawn: Drawn, accepted: Mapping[str, bool]) -> list[Stratum]:
    """The rows that passed the gates, split by whether the programs accept them, with the decisions on randomly drawn
    rows.

    Within a stratum every row was drawn with the same probability, so given their number the drawn rows are a simple
    random sample of it. Rows that only disagreement, margin or calibration chose do not count. While a stratum has
    fewer than two decisions, the estimation sample is used alone, as one stratum.
    """
    parts = [part.stratum(accepted) for part in drawn.passed_by_choice]
    if all(part.reviewed >= min(2, part.population) for part in parts):
        return parts
    return [drawn.passed.stratum(accepted)]
