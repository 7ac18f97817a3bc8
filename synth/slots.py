"""The results of generators: a slot of the pool with its pair or the reason for its failure, and the totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.identity import construct
from schemas.records import Candidate, Counts, GeneratorName, Pair, Reason, SeedKind

Name = GeneratorName
Kind = SeedKind


class Slot(NamedTuple):
    """A candidate's position: sample number `sample` of a seed, under the fingerprint of one generation."""

    fingerprint: str
    seed_id: str
    generator: Name
    sample: int

    def filled(self, pair: Pair) -> Candidate:
        fingerprint, seed_id, generator, sample = self
        place = {"fingerprint": fingerprint, "seed_id": seed_id, "generator": generator, "sample": sample}
        return construct(Candidate, {**place, "pair_id": pair.id})

    def failed(self, reason: Reason) -> Candidate:
        """The candidate for this slot without a pair, and why."""
        return Candidate(**self._asdict(), failure=reason)


class Outcome(NamedTuple):
    """The result of one sample of a seed: the candidate in its slot, and the pair unless it failed."""

    candidate: Candidate
    pair: Pair | None


class Unfinished(Exception):
    """`cause` ended a generator after these outcomes, which are to be stored before it is raised."""

    def __init__(self, outcomes: Sequence[Outcome], cause: BaseException) -> None:
        super().__init__()
        self.outcomes, self.cause = outcomes, cause


def with_earlier(earlier: Mapping[int, Pair], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """All slots of a seed whose generator was called again: the `earlier` pairs, by their samples, and what is new in
    `outcomes`. An earlier pair keeps its sample, unless that leaves a gap."""
    same, new = Counter(pair.output for pair in earlier.values()), list[Pair | Reason | None]()
    for candidate, pair in outcomes:
        if pair is not None and same[pair.output]:
            same[pair.output] -= 1
        else:
            new.append(pair or candidate.failure)
    slots: dict[int, Pair | Reason | None] = dict(earlier)
    total, of = len(slots) + len(new), outcomes[0].candidate
    moved = [slots.pop(sample) for sample in sorted(slots) if sample >= total]
    slots |= zip([sample for sample in range(total) if sample not in slots], [*moved, *new], strict=True)
    numbered = ((Slot(of.fingerprint, of.seed_id, of.generator, sample), slots[sample]) for sample in range(total))
    return [
        Outcome(slot.filled(one), one)
        if isinstance(one, Pair)
        else Outcome(slot.failed(one or Reason("unknown")), None)
        for slot, one in numbered
    ]


@dataclass
class GenerateResult:
    """The state of the requested slots: rows in = accepted + rejected + waiting + failed at every moment.

    A slot is one sample of one seed. Without `accept` nothing is judged, so every pair is waiting. `reasons` counts
    failures by their code, `sentences` by the whole message, each with the location of its first seed (at most 1,000
    different messages). `pairs_made` are new, `pairs_kept` are from an earlier run. `stopped`: the stop event ended the
    run, so slots may be left. `missed` has the number of accepted rows of each direction whose target was higher, once
    all of its seeds have been used.
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
    missed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def counts(self) -> Counts:
        """The number of rows in each state."""
        return Counts(**{name: getattr(self, name) for name in Counts.model_fields})
