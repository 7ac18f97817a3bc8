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
    sampled_ids,
    targets,
)
from schemas.reviews import Sampled, SamplingReason
from schemas.spec import ReviewSettings


@dataclass(frozen=True)
class Drawn:
    """The rows of a review and the rows that each reason has chosen so far (`sampled`); `whole` is passed to
    `frames`."""

    rows: Sequence[SamplingRow]
    sampled: SampledIds
    seed: int
    whole: bool = False

    @cached_property
    def frames(self) -> Frames:
        """The rows that every reason draws from."""
        return frames(self.rows, self.seed, self.sampled, whole=self.whole)

    def by(self, reason: SamplingReason) -> list[str]:
        """The rows that a reason has drawn from its frame, a simple random sample."""
        return sample(self.seed, reason, self.frames.get(reason, ()), self.sampled.get(reason, ()))

    @cached_property
    def for_estimates(self) -> set[str]:
        """The rows that any draw for an estimate has chosen."""
        return {id_ for reason in ESTIMATION for id_ in self.by(reason)}


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


def drawn_so_far(rows: Sequence[SamplingRow], records: Iterable[Sampled], spec: ReviewSettings) -> Drawn:
    """The rows drawn so far, under a project's settings."""
    sampled = sampled_ids(records)
    whole = bool(sampled) and needs_whole_pool(rows, sampled, spec.seed, spec.accept_at_least, spec.confidence)
    return Drawn(rows, sampled, spec.seed, whole)


def acceptance_rates(
    drawn: Drawn, accepted: Mapping[str, bool], confidence: float = 0.95, unsettled: Collection[str] = ()
) -> AcceptanceRates:
    """Every rate that the decisions so far support. `accepted` maps a pair id to whether reviewers accept the row as it
    is; a row without a decision is absent, and in `unsettled` if its answers settle nothing."""

    def rate(ids: Sequence[str], chosen: Collection[str], *, anytime: bool = False) -> Estimate | None:
        def of(known: Mapping[str, bool]) -> Estimate | None:
            return acceptance_rate([_stratum(ids, chosen, known)], confidence, anytime=anytime)

        return _with_unsettled(of, accepted, unsettled)

    of, chosen = drawn.frames, drawn.for_estimates
    by_programs = [row.pair_id for row in drawn.rows if row.accepted]
    rejected = targets(drawn.rows).get("audit_rejected", ())
    aside = {
        id_
        for reason in ESTIMATION
        for id_ in drawn.sampled.get(reason, ())
        if id_ in of.get(reason, ()) and id_ in accepted
    }
    drawable = {*of.get("audit_accepted", ()), *chosen}
    at_best = _stratum(by_programs, drawable, {**dict.fromkeys(drawable, True), **accepted})
    return AcceptanceRates(
        passed=_with_unsettled(lambda known: acceptance_rate(strata(drawn, known), confidence), accepted, unsettled),
        accepted=rate(by_programs, chosen, anytime=True),
        missed=rate(rejected, set(drawn.by("audit_rejected"))),
        left=len(set(of.get("certify", ())) - accepted.keys()),
        left_accepted=len(set(of.get("audit_accepted", ())) - accepted.keys()),
        set_aside=len(aside - chosen),
        at_best=at_best if drawn.sampled else None,
        unsettled=len(chosen.intersection(unsettled)),
        unsettled_accepted=len(chosen.intersection(by_programs, unsettled)),
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
    chosen = {id_ for reason in reasons for id_ in drawn.by(reason)}
    possible = {id_ for reason in reasons for id_ in drawn.frames.get(reason, ())}
    return chosen & set(part), possible & set(part)


def inclusion_probabilities(drawn: Drawn) -> dict[str, float]:
    """The probability of every counted row to be drawn for an estimate, given the present sample sizes.

    Over these rows, 1 / probability sums in expectation over the draws to the number of rows that could be drawn. The
    draw of the half is included. Rows drawn with the programs' opinion in sight are absent: they have no weight.
    """
    by_reason = {reason: drawn.by(reason) for reason in ESTIMATION}
    estimation = {reason: drawn.frames[reason] for reason in ESTIMATION if reason in drawn.frames}
    of_half = inclusion(estimation, {reason: len(ids) for reason, ids in by_reason.items()})
    return {id_: of_half[id_] / (1 if drawn.whole else 2) for ids in by_reason.values() for id_ in ids}


def strata(drawn: Drawn, accepted: Mapping[str, bool]) -> list[Stratum]:
    """The rows that passed the gates, split by whether the programs accept them, with the decisions on randomly drawn
    rows.

    Within a stratum every row was drawn with the same probability, so given their number the drawn rows are a simple
    random sample of it. Rows that only disagreement, margin or calibration chose do not count. While a stratum has
    fewer than two decisions, the estimation sample is used alone, as one stratum.
    """
    passed = [row for row in drawn.rows if row.passed]
    by_programs = ([row.pair_id for row in passed if row.accepted is keep] for keep in (True, False))
    parts = [_stratum(ids, drawn.for_estimates, accepted) for ids in by_programs if ids]
    if all(part.reviewed >= min(2, part.population) for part in parts):
        return parts
    return [_stratum([row.pair_id for row in passed], set(drawn.by("certify")), accepted)]


def _stratum(ids: Sequence[str], chosen: Collection[str], accepted: Mapping[str, bool]) -> Stratum:
    decided = [accepted[id_] for id_ in ids if id_ in chosen and id_ in accepted]
    return Stratum(len(ids), len(decided), sum(decided))
