"""What a generator yields: a slot of the pool, and the pair in it or the reason why there is none."""

from __future__ import annotations

from typing import Literal, NamedTuple

from schemas.identity import made
from schemas.records import Candidate, GeneratorName, Pair, Reason

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
