"""What earlier runs made of the slots of this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count

from schemas.id_map import IdList, IdMap
from schemas.records import Candidate, Record, Seed
from schemas.store import Store
from schemas.store.writer import put_all_slots
from synth.generators import Generator
from synth.slots import Outcome, with_earlier


class EarlierRuns:
    """The pairs of earlier runs by slot, of which only ids are in memory, and the seeds to be asked about again."""

    def __init__(self, store: Store, generators: Iterable[Generator]) -> None:
        self._store = store
        # (fingerprint, sample) -> seed id -> index in `_ids`.
        self._places: dict[tuple[str, int], IdMap] = defaultdict(IdMap)
        self._ids = IdList()
        # Seeds with a failed slot, by fingerprint, of generators whose number of samples depends on the seed.
        self._failed: dict[str, set[str]] = {g.fingerprint: set() for g in generators if g.samples is None}
        self._renumbered: set[str] = set()
        for fingerprint in {g.fingerprint for g in generators}:
            for candidate in store.skim_candidates(fingerprint):
                if candidate.get("pair_id") is not None:
                    self._places[fingerprint, candidate["sample"]][candidate["seed_id"]] = len(self._ids)
                    self._ids.append(candidate["pair_id"])
                elif fingerprint in self._failed:
                    self._failed[fingerprint].add(candidate["seed_id"])

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self._ids)

    def pair_id(self, fingerprint: str, seed_id: str, sample: int) -> str | None:
        """The id of the pair in this slot, if any."""
        places = self._places.get((fingerprint, sample))
        index = None if places is None else places.get(seed_id)
        return None if index is None else self._ids[index]

    def is_new(self, candidate: Candidate) -> bool:
        """Whether no earlier run made the pair of this slot."""
        slot = candidate.fingerprint, candidate.seed_id, candidate.sample
        return self.pair_id(*slot) is None and candidate.pair_id not in self._renumbered

    def has_pair(self, seed: Seed, generator: Generator) -> bool:
        return any(self.pair_id(generator.fingerprint, seed.id, n) for n in range(generator.samples or 1))

    def pair_ids(self, seed: Seed, generator: Generator) -> list[str] | None:
        """The ids of its pairs, if every slot of this seed has one."""
        if not len(self) or self.has_failed(seed, generator):
            return None
        ids: list[str] = []
        for sample in count() if generator.samples is None else range(generator.samples):
            pair_id = self.pair_id(generator.fingerprint, seed.id, sample)
            if pair_id is None:
                return ids if generator.samples is None and ids else None
            ids.append(pair_id)
        return ids

    def has_failed(self, seed: Seed, generator: Generator) -> bool:
        """Whether a slot failed of a seed whose number of samples was known only after the call."""
        return seed.id in self._failed.get(generator.fingerprint, ())

    def joined(self, seed: Seed, generator: Generator, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """All slots of a seed with `has_failed`: those of earlier runs, and what is new in `outcomes`."""
        samples = [sample for fingerprint, sample in self._places if fingerprint == generator.fingerprint]
        ids = {n: id_ for n in samples if (id_ := self.pair_id(generator.fingerprint, seed.id, n))}
        self._renumbered |= set(ids.values())
        pairs = {pair.id: pair for pair in self._store.pairs(ids.values())}
        return with_earlier({n: pairs[id_] for n, id_ in ids.items() if id_ in pairs}, outcomes)  # others were erased

    async def put_all(self, records: Sequence[Record]) -> None:
        """Store all slots of a seed at once, and no later ones: it may have fewer outputs than at a failed call."""
        await self._store.writer.submit_here(partial(put_all_slots, records))
