"""A row of a pool: what stands in a slot, and what steps and people say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from curate.review.decision import Decision
from schemas.errors import UsageError
from schemas.records import Candidate, Pair, Reason, Verdict
from schemas.reviews import Review

ROWS = 512  # rows whose texts are in memory at once
ORDER = (False, None, True)
REVIEW, GENERATE = "review", "generate"  # who decides beside the steps
CONTAMINATION, DUPLICATE, SPLIT = "pool/contamination@2", "pool/duplicate@3", "pool/split@1"
JUDGE = "judge/checklist@2"


def fold(keeps: Iterable[bool | None]) -> bool | None:
    """One answer of several, the least of False < None < True: a rejection decides, then whoever could not judge."""
    return min(keeps, key=ORDER.index, default=True)


class StepId(NamedTuple):
    """The name of a step, and how it counts.

    `by` is the name of its verdicts and `settings` the hash of what shapes them. `per_row`: what it says of a row
    depends on that row alone, so it is kept and never asked twice. `final`: it is about other rows than the one judged,
    so no person outranks it. `scores`: its score is the row's score.
    """

    by: str
    settings: str
    per_row: bool = False
    final: bool = False
    scores: bool = False


class Row(NamedTuple):
    """One slot with the pair that stands there now (None: generation failed).

    `verdicts` are those of the pool's steps, in their order; `reviews` what people said of the pair and of those it
    replaces. `keep` is the fold of all of it, people first. `step` and `reason` say who decided a row that is not kept,
    and why. `flags` are those of its verdicts: what is worth a look, and decides nothing.
    """

    candidate: Candidate
    pair: Pair | None
    verdicts: tuple[Verdict, ...] = ()
    reviews: tuple[Review, ...] = ()
    decision: Decision | None = None
    score: float | None = None
    keep: bool | None = None
    step: str | None = None
    reason: Reason | None = None
    flags: tuple[str, ...] = ()

    @property
    def by_people(self) -> bool:
        """True if people accepted it, as it was or with the text they gave it."""
        return self.decision is not None and self.decision.verdict in ("accept", "edit")

    def verdict(self, keep: bool | None, why: str | Reason, score: float | None = None) -> Verdict:
        """What a step of your own says of this row: `why` begins with a code, as in "late: it was sent on Sunday"."""
        if self.pair is None:
            raise UsageError("a slot that failed has no pair to judge.", fix="Look at `pool.accepted()`.")
        reason = why if isinstance(why, Reason) else Reason.read(why)
        return Verdict(pair_id=self.pair.id, by="", fingerprint="", keep=keep, score=score, reason=reason)


class Survivor(NamedTuple):
    """What a step that needs no texts has to know of an accepted row."""

    pair_id: str
    seed_id: str
    by_people: bool
    flagged: bool
    score: float | None


class Unjudged(NamedTuple):
    """Pairs that the steps at `places` have not judged; of those that one crashed on, `known` has its verdicts."""

    slots: list[int]
    ids: list[str]
    places: tuple[int, ...]
    known: Mapping[str, Sequence[Verdict]]


SHOWN_COLUMNS = ("state", "input", "output", "score", "reason")


def as_shown(row: Row) -> tuple[Any, ...]:
    """The row under SHOWN_COLUMNS, for a notebook."""
    if row.pair is None:
        return "failed", None, None, None, row.reason
    state = {True: "accepted", False: "rejected", None: "waiting"}[row.keep]
    return state, row.pair.input, row.pair.output, row.score, row.reason


def as_dataset(rows: Iterable[Row]) -> Any:
    """A `datasets.Dataset` of rows that have a pair: ids, system, input, output, score."""
    import datasets

    names = ("pair_id", "seed_id", "system", "input", "output", "score")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        assert row.pair is not None
        values = (row.pair.id, row.pair.seed_id, row.pair.system, row.pair.input, row.pair.output, row.score)
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return datasets.Dataset.from_dict(columns)
