"""The human gate: whether there are enough answers, and whether they let the dataset pass.

The deciding rate is that of the rows that the programs accept, because these are trained on. The rate of all rows that
passed the gates also counts rows that lost to a better candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from curate.review.acceptance import AcceptanceRates
from curate.review.decision import current_answers
from curate.review.estimate import acceptance_rate, answers_for, rows_until
from schemas.records import Pair
from schemas.reviews import Review
from schemas.wording import percent

State = Literal["open", "rejected", "exhausted", "asking"]
UNEXPLAINED = "no reason given"
_EXAMPLES = 2  # per reason


@dataclass(frozen=True)
class Gate:
    """The verdict of the answers so far on a set.

    `open`: by the lower bound, reviewers accept at least the share `at_least` of the rows that the programs accept.
    `rejected`: the upper bound is below that, so reviewers reject the set. `exhausted`: neither, and every row that
    could decide it is decided. `asking`: neither yet; at the present share about `missing` more answers decide it
    (None: too few answers to forecast, or none would at that share). `reach` is the lower bound if reviewers accepted
    every row that is left: if it is below `at_least`, no answer can open the gate.
    """

    state: State
    at_least: float
    missing: int | None = None
    reach: float = 1.0

    @property
    def out_of_reach(self) -> str:
        """Why answers to the present rows cannot open the gate; empty if they can."""
        if self.state != "asking" or self.reach >= self.at_least:
            return ""
        proven = math.floor(100 * self.reach + 1e-9)  # rounded down, because a share rounded up would not open the gate
        return (
            f"even if people accept every row that can still be drawn, that proves a share of only {proven}%, and"
            f" review.accept_at_least asks for {percent(self.at_least)}: only more rows or a lower share open the gate"
        )


def gate_of(rates: AcceptanceRates, at_least: float, answers: int, confidence: float) -> Gate:
    """The state of the gate after `answers` answers."""
    accepted, left = rates.accepted, rates.left_accepted
    if accepted and accepted.high < at_least:
        return Gate("rejected", at_least)
    if accepted and accepted.low >= at_least:
        return Gate("open", at_least)
    if not left:
        return Gate("exhausted", at_least)
    missing, reach = None, 1.0
    if rates.at_best:
        best = acceptance_rate([rates.at_best], confidence, anytime=True)
        reach = best.low if best else 0.0
    if accepted:
        rows = rows_until(accepted, left + 1, lambda low, high: low >= at_least or high < at_least)
        settle = min(rates.unsettled_accepted, left)
        per_row = answers / (accepted.reviewed + settle)
        missing = answers_for(rows, settle, per_row) if rows <= left else None
    return Gate("asking", at_least, missing, reach)


class Objection(NamedTuple):
    """A reason given by reviewers, the number of rows that they rejected or edited for it, and the first of these
    rows."""

    reason: str
    rows: int
    examples: tuple[Pair, ...]


def objections(pairs: Mapping[str, Pair], reviews: Mapping[str, Sequence[Review]]) -> list[Objection]:
    """Why reviewers did not accept rows as they are, most frequent reason first. A row counts once under each of its
    reasons."""
    by_reason: dict[str, list[Pair]] = {}
    for id_, pair in pairs.items():
        for reason in _reasons(reviews.get(id_, ())):
            by_reason.setdefault(reason, []).append(pair)
    counted = [Objection(reason, len(rows), tuple(rows[:_EXAMPLES])) for reason, rows in by_reason.items()]
    return sorted(counted, key=lambda objection: (-objection.rows, objection.reason))


def _reasons(reviews: Iterable[Review]) -> set[str]:
    against = [review for review in current_answers(reviews) if review.decision in ("reject", "edit")]
    return {reason for review in against for reason in (review.reasons or (UNEXPLAINED,))}
