"""What a generator yields: a slot of the pool, and the pair in it or the reason why there is none; and their sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from schemas.identity import made
from schemas.records import Candidate, Counts, GeneratorName, Pair, Reason

Name = GeneratorName
Kind = Literal["input", "output", "pair", "conversation"]


class Slot(NamedTuple):
    """Where a candidate stands: sample `sample` of a seed under one generation."""

    fingerprint: str
    seed_id: str
    generator: Name
    sample: int

    def filled(self, pair: Pair) -> Candidate:
        """The slot with its pair."""
        fingerprint, seed_id, generator, sample = self
        place = {"fingerprint": fingerprint, "seed_id": seed_id, "generator": generator, "sample": sample}
        return made(Candidate, {**place, "pair_id": pair.id})

    def failed(self, reason: Reason) -> Candidate:
        """The slot for which no pair came."""
        return Candidate(**self._asdict(), failure=reason)


class Outcome(NamedTuple):
    """What asking for one sample of a seed came to: its slot in the pool, and the pair unless it failed."""

    candidate: Candidate
    pair: Pair | None


@dataclass
class GenerateResult:
    """What became of the slots asked for: rows in = accepted + rejected + waiting + failed at every moment.

    A slot is one sample of one seed. Without `accept` nothing judges, so every pair waits. `reasons` counts the
    failed ones by the first word of their failure, `sentences` by the whole of it, each with the place of its first
    seed (of at most 1,000 different ones). `pairs_made` are new, `pairs_kept` were there from an earlier run.
    `stopped`: it ended by the stop event, so slots may be left; `target_reached`: a direction ended
    because enough of its rows were accepted, `limit_reached`: because so many candidates were asked for. `missed` has
    the accepted rows of each direction that was asked for more, once all of its seeds are asked.
    """

    accepted: int = 0
    rejected: int = 0
    waiting: int = 0
    failed: int = 0
    rows_in: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, tuple[int, str]] = field(default_factory=dict)
    pairs_made: int = 0
    pairs_kept: int = 0
    stopped: bool = False
    target_reached: bool = False
    limit_reached: bool = False
    missed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def counts(self) -> Counts:
        """The rows by state."""
        return Counts(
            rows_in=self.rows_in,
            accepted=self.accepted,
            rejected=self.rejected,
            waiting=self.waiting,
            failed=self.failed,
        )
