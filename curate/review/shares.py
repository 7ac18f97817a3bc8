"""What the answers prove: of which rows they are a random sample, and the shares that follow.

Samples are drawn from the CERT half (`curate.review.router`), which is a random half of all rows; so they are simple
random samples of all rows, and populations here are those of both halves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from curate.review.estimate import Share, Stratum, accept_share
from curate.review.router import ESTIMATION, Frames, RouterRow, Routes, frames, sample, targets


class Shares(NamedTuple):
    """Accept shares with their intervals, each None where too few rows are decided.

    `passed`: of the rows that passed the gates. `accepted`: of those that the programs accept, which is what would be
    trained on without people. `missed`: of those that the programs rejected. `left`: rows that `certify` could still
    choose, or has chosen and nobody has decided, and `left_accepted` the like of what the programs accept; where none
    is left, no answer makes the interval tighter.
    """

    passed: Share | None
    accepted: Share | None
    missed: Share | None
    left: int
    left_accepted: int


def shares(
    rows: Sequence[RouterRow], routed: Routes, accepted: Mapping[str, bool], seed: int, confidence: float = 0.95
) -> Shares:
    """Every share that the decisions so far support (`accepted`: pair id -> whether people accept the row as it is;
    absent: no decision)."""
    of = frames(rows, seed, routed)
    by_programs = [row.pair_id for row in rows if row.accepted]
    audited = set(sample(seed, "audit_rejected", of.get("audit_rejected", ()), routed.get("audit_rejected", ())))
    return Shares(
        passed=accept_share(strata(rows, routed, accepted, seed), confidence),
        accepted=accept_share([_stratum(by_programs, _chosen(of, routed, seed), accepted)], confidence),
        missed=accept_share([_stratum(targets(rows).get("audit_rejected", ()), audited, accepted)], confidence),
        left=len(set(of.get("certify", ())) - accepted.keys()),
        left_accepted=len(set(of.get("audit_accepted", ())) - accepted.keys()),
    )


def strata(rows: Sequence[RouterRow], routed: Routes, accepted: Mapping[str, bool], seed: int) -> list[Stratum]:
    """The rows that passed the gates, parted by whether the programs accept them, with what people said of those that a
    random draw chose.

    Within a part every row was drawn with the same probability, so given their number the drawn rows are a simple
    random sample of it. Rows that only `disagree`, `border` or `fit` chose do not count. While a part has fewer than
    two decisions, `certify` alone is told, as one stratum.
    """
    of = frames(rows, seed, routed)
    chosen = _chosen(of, routed, seed)
    parts: list[Stratum] = []
    for by_programs in (True, False):
        ids = [row.pair_id for row in rows if row.passed and row.accepted is by_programs]
        parts.append(_stratum(ids, chosen, accepted))
    parts = [part for part in parts if part.population]
    if all(part.reviewed >= min(2, part.population) for part in parts):
        return parts
    certified = set(sample(seed, "certify", of.get("certify", ()), routed.get("certify", ())))
    return [_stratum([row.pair_id for row in rows if row.passed], certified, accepted)]


def _chosen(of: Frames, routed: Routes, seed: int) -> set[str]:
    """The rows that any draw for an estimate has chosen."""
    return {id_ for reason in ESTIMATION for id_ in sample(seed, reason, of.get(reason, ()), routed.get(reason, ()))}


def _stratum(ids: Sequence[str], chosen: Collection[str], accepted: Mapping[str, bool]) -> Stratum:
    decided = [accepted[id_] for id_ in ids if id_ in chosen and id_ in accepted]
    return Stratum(len(ids), len(decided), sum(decided))
