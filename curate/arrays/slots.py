"""The slots of a pool as arrays: the part that steps do not change. Only `curate/pool.py` reads them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, get_args

import numpy as np

from curate.review.decision import Decision, decide, edited_pair
from schemas.errors import UsageError
from schemas.gate_verdicts import StepName, UnvalidatedVerdict
from schemas.id_map import IdList, IdMap
from schemas.identity import construct
from schemas.records import Candidate, GeneratorName, Json, Pair, Reason, Verdict
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.rows import Texts, texts_of
from schemas.streamed import batched

_CHUNK = 1_000
_GENERATORS: tuple[GeneratorName, ...] = get_args(GeneratorName)  # do not reorder: the draws of review depend on it


class Source(Protocol):
    """Where texts, verdicts and reviews come from: a Store, or memory."""

    def pairs(self, ids: Iterable[str]) -> list[Pair]: ...
    def verdicts(self, pair_ids: Iterable[str]) -> Mapping[str, Sequence[Verdict]]: ...
    def verdicts_of_steps(self, steps: Collection[StepName]) -> Iterator[UnvalidatedVerdict]: ...
    def pair_bodies(self, ids: Iterable[str]) -> Mapping[str, str]: ...
    def pair_texts(self, ids: Iterable[str]) -> Mapping[str, Texts]: ...
    def reviews(self, pair_ids: Iterable[str]) -> Mapping[str, Sequence[Review]]: ...


class Reviewed(NamedTuple):
    """The reviewers' decision on the pair of a slot, and their reviews of it and of the pairs it replaces. Without
    reviews, it is their decision against a pair with the same texts."""

    decision: Decision
    reviews: tuple[Review, ...]


class Slots:
    """One entry per slot, in pool order.

    `ids` holds the present pair of each slot (None: failed) and `first` the first slot of every pair; `owner` is that
    first slot, which differs from the slot itself for a pair in two slots. `input` is equal where seed and input are.
    `people` is the fold of the reviews (2 without any), `accepted` whether reviewers accepted the row.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ids, self.first = IdList(), IdMap()
        self.failures: dict[int, Reason] = {}
        self.reviewed: dict[int, Reviewed] = {}
        self.edited: dict[str, Pair] = {}
        self._generations: dict[str, int] = {}
        self._seeds, self._seed_ids, self._owner = IdMap(), IdList(), array("l")
        self._generation, self._seed = array("H"), array("l")
        self._generator, self._sample = array("B"), array("l")
        self._reasons: dict[Reason, Reason] = {}

    def add(self, candidate: Candidate, pair_id: str | None, reviewed: Reviewed | None = None) -> None:
        slot = len(self.ids)
        self._generation.append(self._generations.setdefault(candidate.fingerprint, len(self._generations)))
        seed = self._seeds.setdefault(candidate.seed_id, len(self._seed_ids))
        if seed == len(self._seed_ids):
            self._seed_ids.append(candidate.seed_id)
        self._seed.append(seed)
        self._generator.append(_GENERATORS.index(candidate.generator))
        self._sample.append(candidate.sample)
        if pair_id is None:
            assert candidate.failure is not None
            self.failures[slot] = candidate.failure
            self.ids.append(None)
            self._owner.append(slot)
            return
        self.ids.append(pair_id)
        self._owner.append(self.first.setdefault(pair_id, slot))
        if self._owner[slot] == slot and reviewed:
            self.reviewed[slot] = reviewed

    def decide_copies(self, against: Mapping[tuple[str, str], Reviewed | None]) -> None:
        """Apply decisions against texts to the rows with these texts that nobody reviewed. Call before `freeze`."""
        unreviewed = (slot for slot, at in enumerate(self._owner) if at == slot and slot not in self.reviewed)
        some = any(against.values())
        for chunk in batched((s for s in unreviewed if s not in self.failures), _CHUNK) if some else ():
            for slot, texts in zip(chunk, self.texts(self.ids[slot] or "" for slot in chunk), strict=True):
                if decided := against.get(_compared(texts)):
                    self.reviewed[slot] = decided

    def freeze(self) -> Slots:
        """Build the arrays from the added slots. Call once, after the last `add`."""
        self.failed = np.zeros(len(self.ids), bool)
        self.failed[list(self.failures)] = True
        self.owner = np.array(self._owner, np.int32)
        del self._seeds, self._owner
        self.is_first = self.owner == np.arange(len(self.ids))
        self.people, self.accepted = np.full(len(self.ids), 2, np.int8), np.zeros(len(self.ids), bool)
        for slot, reviewed in self.reviewed.items():
            verdict = reviewed.decision.verdict
            self.people[slot] = {"reject": 0, "undecided": 1}.get(verdict, 2)
            self.accepted[slot] = verdict in ("accept", "edit")
        self._names = list(self._generations)
        return self

    @cached_property
    def input(self) -> Any:
        """A hash of the input of every slot, read on first use: most curations compare no candidates of one input."""
        hashes = np.zeros(len(self.ids), np.uint64)
        for chunk in batched(np.flatnonzero(~self.failed).tolist(), _CHUNK):
            for slot, texts in zip(chunk, self.texts(self.ids[slot] or "" for slot in chunk), strict=True):
                input = "\0".join(texts[:2]).encode("utf-8", "surrogatepass")
                hashes[slot] = int.from_bytes(hashlib.blake2b(input, digest_size=8).digest())
        return hashes

    def slot_of(self, pair_id: str) -> int:
        """The first slot of a pair. Raises UsageError for a pair of another pool."""
        if pair_id not in self.first:
            fix = "`row.pair.id` of one of its rows is an id."
            raise UsageError(f"no pair of the pool has the id {pair_id!r:.80}.", fix=fix)
        return self.first[pair_id]

    def candidate(self, slot: int) -> Candidate:
        """The candidate of a slot, with its present pair."""
        return construct(
            Candidate,
            {
                "fingerprint": self._names[self._generation[slot]],
                "seed_id": self.seed(slot),
                "generator": _GENERATORS[self._generator[slot]],
                "sample": self._sample[slot],
                "pair_id": self.ids[slot],
                "failure": self.failures.get(slot),
            },
        )

    def seed(self, slot: int) -> str:
        return self._seed_ids[self._seed[slot]] or ""

    def pairs(self, ids: Iterable[str]) -> dict[str, Pair]:
        pair_ids = list(ids)
        edited = {id_: self.edited[id_] for id_ in pair_ids if id_ in self.edited}
        return edited | {pair.id: pair for pair in self.source.pairs(id_ for id_ in pair_ids if id_ not in edited)}

    def texts(self, ids: Iterable[str]) -> Iterator[Texts]:
        """The input and output of the pairs."""
        pair_ids = list(ids)
        edited = {id_: texts_of(self.edited[id_]) for id_ in pair_ids if id_ in self.edited}
        texts = edited | dict(self.source.pair_texts(id_ for id_ in pair_ids if id_ not in edited))
        return map(texts.__getitem__, pair_ids)

    def bodies(self, ids: Iterable[str]) -> list[Pair | str]:
        """The pairs; where the source stores a pair as JSON, that text."""
        pair_ids = list(ids)
        kept = self.source.pair_bodies(id_ for id_ in pair_ids if id_ not in self.edited)
        others = self.pairs(id_ for id_ in pair_ids if id_ not in kept)
        return [kept[id_] if id_ in kept else others[id_] for id_ in pair_ids]

    def intern(self, reason: Reason) -> Reason:
        """An equal reason, always the same object: most rows are kept for the same few reasons."""
        return self._reasons.setdefault(reason, reason)


def skim_candidates_of(
    store: Store, generations: Iterable[str], forward_n: int | None, seeds: Container[str] | None = None
) -> Iterator[Json]:
    """The candidates that `Pool.read` reads, in pool order, as stored JSON."""
    seeds = store.active_seed_ids() if seeds is None else seeds
    for fingerprint in generations:
        for candidate in store.skim_candidates(fingerprint):
            beyond = forward_n is not None and candidate["generator"] == "forward" and candidate["sample"] >= forward_n
            if candidate["seed_id"] in seeds and not beyond:
                yield candidate


def candidate_from_json(kept: Json) -> Candidate:
    return construct(Candidate, kept) if kept.get("failure") is None else Candidate.model_validate(kept)


def read_slots(source: Source, candidates: Iterable[Candidate], *, people: bool) -> Slots:
    """Read the slots of `candidates` in chunks. An edit replaces the pair that it corrects, and a decision against a
    pair is one against all with the same texts."""
    slots, against = Slots(source), dict[tuple[str, str], Reviewed | None]()
    for chunk in batched(candidates, _CHUNK):
        ids = [candidate.pair_id for candidate in chunk if candidate.pair_id]
        reviews = source.reviews(ids) if people else {}
        pairs = {pair.id: pair for pair in source.pairs(reviews)} if reviews else {}
        for candidate in chunk:
            id_ = candidate.pair_id
            if id_ not in pairs:
                slots.add(candidate, id_)
                continue
            pair, reviewed = _reviewed(pairs[id_], reviews[id_], source, against)
            if pair.id != id_:
                slots.edited[pair.id] = pair
            slots.add(candidate, pair.id, reviewed)
    slots.decide_copies(against)
    return slots.freeze()


def _reviewed(
    pair: Pair, reviews: Sequence[Review], source: Source, against: dict[tuple[str, str], Reviewed | None]
) -> tuple[Pair, Reviewed | None]:
    """The pair after the reviewers' decision (curate/review/decision.py), ignoring simulated reviews. An edit makes a
    new pair, which may be reviewed in turn.

    Decisions against a pair are added to `against` by its texts, where a rejection replaces an undecided one, and None
    for texts that reviewers accept.
    """
    reviewed, answers = None, list[Review]()
    while decision := decide(reviews, pair):
        answers += [review for review in reviews if not review.simulated]
        reviewed = Reviewed(decision, tuple(answers))
        if decision.verdict == "accept":
            break
        undecided = decision.verdict == "undecided"
        how = f"pair {pair.id} with the same texts {_DECIDED[decision.verdict]}"
        why = Reason(decision.why.code if undecided else "review", how)
        of_copies = Decision("undecided" if undecided else "reject", decision.review, why)
        known = against.setdefault(texts := _compared(texts_of(pair)), Reviewed(of_copies, ()))
        if known and known.decision.verdict == "undecided":
            against[texts] = Reviewed(of_copies, ())
        if decision.verdict != "edit":
            return pair, reviewed
        pair = edited_pair(pair, decision.review)
        reviews = source.reviews([pair.id]).get(pair.id, ())
    if reviewed:
        against[_compared(texts_of(pair))] = None
    return pair, reviewed


_DECIDED = {"reject": "was rejected in review", "edit": "was edited in review", "undecided": "is undecided in review"}


def _compared(texts: Texts) -> tuple[str, str]:
    """What is equal in copies of a row."""
    return texts.asked.strip(), texts.output.strip()


class _Memory:
    """A source without a store."""

    def __init__(self, pairs: Iterable[Pair], reviews: Iterable[Review]) -> None:
        self._pairs = {pair.id: pair for pair in pairs}
        self._reviews: dict[str, list[Review]] = {}
        for review in reviews:
            self._reviews.setdefault(review.pair_id, []).append(review)

    def pairs(self, ids: Iterable[str]) -> list[Pair]:
        return [self._pairs[id_] for id_ in ids]

    def verdicts(self, pair_ids: Iterable[str]) -> Mapping[str, Sequence[Verdict]]:
        return {}

    def verdicts_of_steps(self, steps: Collection[StepName]) -> Iterator[UnvalidatedVerdict]:
        return iter(())

    def pair_bodies(self, ids: Iterable[str]) -> Mapping[str, str]:
        return {}

    def pair_texts(self, ids: Iterable[str]) -> Mapping[str, Texts]:
        return {id_: texts_of(self._pairs[id_]) for id_ in ids}

    def reviews(self, pair_ids: Iterable[str]) -> Mapping[str, Sequence[Review]]:
        return {id_: self._reviews[id_] for id_ in pair_ids if id_ in self._reviews}


def in_memory(pairs: Iterable[Pair], reviews: Iterable[Review]) -> tuple[Source, list[Candidate]]:
    """A source with these pairs and reviews, and a candidate for each pair, numbered within its seed."""
    candidates: list[Candidate] = []
    samples: dict[tuple[str, Any], int] = {}
    pool = list(pairs)
    for pair in pool:
        by = pair.origin
        generator = by.generator if by.by == "generated" else "imported" if by.by == "imported" else "forward"
        sample = samples[pair.seed_id, generator] = samples.get((pair.seed_id, generator), -1) + 1
        place = {"fingerprint": "", "seed_id": pair.seed_id, "generator": generator, "sample": sample}
        candidates.append(Candidate.model_validate({**place, "pair_id": pair.id}))
    return _Memory(pool, reviews), candidates
