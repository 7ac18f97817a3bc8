"""Which rows are shown to reviewers, why, and with which probability each was chosen.

One permanent random number splits all rows once into two halves. Samples for estimates (estimation and the audits) are
drawn from the estimation half, all others from the calibration half. In the calibration half, reviewers may see the
programs' opinion, so none of its rows ever counts in an estimate, and no row of the estimation half is ever used for
calibration. If half of the rows could not prove what a project asks for (`curate.review.acceptance.needs_whole_pool`),
all rows belong to the estimation half, permanently.

Every reason draws a simple random sample, without replacement, from its own frame (`frames`). The rows of a frame are
sorted by permanent random numbers (Ohlsson 1995, "Coordination of samples using permanent random numbers"): SHA-256 of
the seed, the reason and the row's id, read as a fraction. The sample is the first rows in that order. Therefore

- the next batch continues where the last one stopped, and both together are one simple random sample;
- rows that join or leave the frame move no other row;
- the draws of two reasons are independent, so a row is in any of them with probability
  1 - product of (1 - size / population) over the frames it is in, exactly (given its half);
- a sample of the estimation half is a simple random sample of all rows too, because the halves were split at random.

A row chosen for two reasons is shown once and counts for both.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

from schemas.identity import random_sort_key
from schemas.records import content_id
from schemas.reviews import Draw, Sampled, SamplingReason
from schemas.spec import ReviewShares

# Reason -> its key in [review.shares]. Reason names must not change: records contain them, and they seed the draws.
# The order matters: where a row can only count under one reason, it is the first.
SHARE_KEYS: dict[SamplingReason, str] = {
    "certify": "estimation",
    "audit_accepted": "audit_accepted",
    "audit_rejected": "audit_rejected",
    "disagree": "disagreement",
    "border": "margin",
    "fit": "calibration",
}
REASONS = tuple(SHARE_KEYS)
# Reasons that choose at random from all their targets. The others choose interesting rows, on which no estimate may be
# based.
ESTIMATION: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected")
_ACTIVE = 0.1  # the share of the passed rows that count as disagreed upon, or as near the cut
_DIGITS = 2**53


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """The facts about a candidate that sampling uses. None may depend on reviews, except `flagged`, which no estimate
    reads.

    `passed`: every gate kept it (None: a gate could not judge). `accepted`: it passed, and its score is among the best
    of its input. `disagreement` is the difference between the highest and the lowest percentile within its input that
    several scorers give it; `margin` is the distance of its score from the cut of its input; both are None if there is
    nothing to compare. `flagged`: curation marked it as worth a look.
    """

    pair_id: str
    passed: bool | None
    accepted: bool = False
    disagreement: float | None = None
    margin: float | None = None
    flagged: bool = False


Frames = dict[SamplingReason, tuple[str, ...]]
SampledIds = Mapping[SamplingReason, Collection[str]]  # reason -> the rows it has chosen so far


def targets(rows: Sequence[SamplingRow]) -> Frames:
    """The rows that every reason targets; a reason without any is absent.

    certify and fit (estimation and calibration): rows that passed the gates. audit_accepted: rows that the programs
    accept. audit_rejected: rows that they judged and do not accept. disagree: the tenth of the passed rows on which
    scorers differ most. border: the tenth that curation flagged, or whose score is nearest the cut.
    """
    passed = [row for row in rows if row.passed]
    at_most = max(1, round(_ACTIVE * len(passed)))
    disagreed = sorted((-(row.disagreement or 0.0), row.pair_id) for row in passed if row.disagreement)
    nearness = ((not row.flagged, math.inf if row.margin is None else row.margin, row.pair_id) for row in passed)
    near = sorted(place for place in nearness if place[:2] != (True, math.inf))
    about: Frames = {
        "certify": tuple(row.pair_id for row in passed),
        "audit_accepted": tuple(row.pair_id for row in rows if row.accepted),
        "audit_rejected": tuple(row.pair_id for row in rows if row.passed is not None and not row.accepted),
        "disagree": tuple(id_ for _, id_ in disagreed[:at_most]),
        "border": tuple(id_ for *_, id_ in near[:at_most]),
        "fit": tuple(row.pair_id for row in passed),
    }
    return {reason: tuple(sorted(ids)) for reason, ids in about.items() if ids}


def frames(rows: Sequence[SamplingRow], seed: int, sampled: SampledIds | None = None, *, whole: bool = False) -> Frames:
    """The rows that every reason draws from: its targets in its half. If the `whole` pool is needed, estimates draw
    from all their targets and the other reasons from none.

    `sampled` (ids by reason) holds rows that may have been drawn before the split into halves existed. A row shown for
    another reason than an estimate belongs to no estimate any more; a row chosen for an estimate alone stays with it,
    and is never used for calibration.
    """
    before = sampled or {}
    shown = {id_ for reason, ids in before.items() if reason not in ESTIMATION for id_ in ids}
    for_estimates = {id_ for reason in ESTIMATION for id_ in before.get(reason, ())}
    estimation_half = {row.pair_id for row in rows if whole or in_estimation_half(seed, row.pair_id)}
    halved: Frames = {}
    for reason, ids in targets(rows).items():
        if reason in ESTIMATION:
            half = (estimation_half | {*before.get(reason, ())}) - shown
        else:
            half = {*ids} - for_estimates - estimation_half
        if own := tuple(id_ for id_ in ids if id_ in half):
            halved[reason] = own
    return halved


def in_estimation_half(seed: int, pair_id: str) -> bool:
    """Whether a row belongs to the half used for estimates; permanent, whatever else is drawn."""
    return permanent_random_number(seed, "cert", pair_id) < 0.5


def permanent_random_number(seed: int, purpose: str, pair_id: str) -> float:
    """The permanent random number of a row for one purpose: uniform in [0, 1), independent between purposes."""
    return (int.from_bytes(random_sort_key(f"{seed}/{purpose}/{pair_id}")[:8], "big") >> 11) / _DIGITS


@lru_cache(maxsize=24)
def order(seed: int, reason: str, frame: tuple[str, ...]) -> tuple[str, ...]:
    """The rows of a frame in the order in which they are drawn."""
    return tuple(id_ for _, id_ in sorted((permanent_random_number(seed, reason, id_), id_) for id_ in frame))


def sample(seed: int, reason: str, frame: tuple[str, ...], sampled: Collection[str]) -> list[str]:
    """The rows drawn so far: the longest prefix of the order that was sampled completely. A simple random sample."""
    return list(takewhile(lambda id_: id_ in sampled, order(seed, reason, frame)))


class SampledRow(NamedTuple):
    """A sampled row: every reason that chose it now, each with its draw, and its total inclusion probability."""

    pair_id: str
    draws: tuple[tuple[SamplingReason, Draw], ...]
    probability: float


def draw(
    of: Frames, rows_by_reason: Mapping[SamplingReason, int], seed: int, sampled: SampledIds | None = None
) -> list[SampledRow]:
    """The next rows: for every reason, `rows_by_reason` more of its order than `sampled` (ids by reason) has.

    Rows come in the order of `REASONS`, then as drawn. A frame smaller than requested gives all its rows.
    """
    chosen: dict[str, list[tuple[SamplingReason, Draw]]] = {}
    sizes: dict[SamplingReason, int] = {}
    for reason in REASONS:
        frame = of.get(reason, ())
        before = (sampled or {}).get(reason, ())
        new: list[str] = []
        size = 0
        for id_ in order(seed, reason, frame):
            if id_ not in before:
                if len(new) == rows_by_reason.get(reason, 0):
                    break
                new.append(id_)
            size += 1
        sizes[reason] = size
        if new:
            details = Draw(seed=seed, population=len(frame), size=size, frame=content_id("frame", sorted(frame)))
            for id_ in new:
                chosen.setdefault(id_, []).append((reason, details))
    probabilities = inclusion(of, sizes)
    return [SampledRow(id_, tuple(draws), probabilities[id_]) for id_, draws in chosen.items()]


def inclusion(of: Frames, sizes: Mapping[SamplingReason, int]) -> dict[str, float]:
    """Map pair id to the exact probability that any reason chooses it, when each draws `sizes` rows of its frame."""
    not_chosen: dict[str, float] = {}
    for reason, frame in of.items():
        share = sizes.get(reason, 0) / len(frame)
        for id_ in frame:
            not_chosen[id_] = not_chosen.get(id_, 1.0) * (1.0 - share)
    return {id_: 1.0 - probability for id_, probability in not_chosen.items()}


def divide(batch: int, shares: ReviewShares, of: Frames, rest: SamplingReason = "certify") -> dict[SamplingReason, int]:
    """How many rows of a batch each reason draws, by the largest remainder method. The share of a reason with an empty
    frame goes to `rest`, by default estimation."""
    exact: dict[SamplingReason, float] = {reason: getattr(shares, key) * batch for reason, key in SHARE_KEYS.items()}
    rest = rest if rest in of else "certify"
    exact[rest] += sum(exact.pop(reason) for reason in REASONS if reason not in of and reason != rest)
    rows = {reason: int(rows + 1e-9) for reason, rows in exact.items()}
    by_remainder = sorted(rows, key=lambda reason: (rows[reason] - exact[reason], REASONS.index(reason)))
    for reason in by_remainder[: batch - sum(rows.values())]:
        rows[reason] += 1
    return rows


def sampled_ids(sampled: Iterable[Sampled]) -> dict[SamplingReason, set[str]]:
    """Map each reason to the rows that it has chosen so far."""
    by_reason: dict[SamplingReason, set[str]] = {}
    for record in sampled:
        by_reason.setdefault(record.reason, set()).add(record.pair_id)
    return by_reason
