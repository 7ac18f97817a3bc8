"""The pool: every slot that generation filled or failed to fill, and what steps and people say of the row in it.

    pool = Pool.read(store, generations)          # or Pool.of(pairs), without a store
    pool = await curate(pool, steps, store)       # curate/curation.py
    pool.counts, pool.reasons, pool.accepted()

A pool is a value: `judged_by` gives another pool and leaves this one as it was. Rows are read a chunk at a time from
where they are kept; what stays in memory are ids and opinions, some 250 bytes a row (bench/curate measures it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any

import numpy as np

from curate.opinions import FALSE, NONE, TRUE, Meanings, Opinions, deviation_within, grouped
from curate.review.decision import Decision
from curate.rows import (
    DUPLICATE,
    GENERATE,
    ORDER,
    REVIEW,
    ROWS,
    SHOWN_COLUMNS,
    Row,
    StepId,
    Survivor,
    Unjudged,
    as_dataset,
    as_shown,
)
from curate.slots import Slots, Source, in_memory, placed, read_slots, skim_candidates_of
from schemas.html_table import SHOWN, html_table
from schemas.identity import made
from schemas.records import Counts, Pair, Reason, Verdict
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.rows import Texts


class Hearing:
    """The verdicts of one step on a pool, as they come."""

    def __init__(self, pool: Pool, step: StepId) -> None:
        self._before, self._step, self.opinions = pool, step, pool._of(step).copy()

    def add(self, verdicts: Iterable[Verdict], *, stored: bool = False) -> None:
        """`stored`: the source keeps them, so their sentences need no memory, nor scores that compare nothing. Raises
        KeyError for a pair of another pool."""
        slots, meanings, scores = self._before._slots, self._before._meanings, self._step.scores or not stored
        for verdict in verdicts:
            slot = slots.first[verdict.pair_id]
            reason = None if stored else slots.interned(verdict.reason)
            opinion, score = meanings.number(verdict.keep, verdict.reason.code), verdict.score if scores else None
            self.opinions.add(slot, opinion, score, reason, verdict.flags)

    def numbers(self, meanings: Sequence[tuple[bool | None, str]]) -> Any:
        """The numbers of opinions (`Meanings`)."""
        return np.array([self._before._meanings.number(*meaning) for meaning in meanings])

    def over(self, pool: Pool) -> Pool:
        """`pool`, in which other steps may have spoken meanwhile, after what this one said."""
        return Pool(pool._slots, pool._meanings, {**pool._opinions_of, self._step: self.opinions}, pool._known)


class Pool:
    """The rows of a generation under the steps that have spoken, `steps`."""

    def __init__(
        self,
        slots: Slots,
        meanings: Meanings | None = None,
        opinions: Mapping[StepId, Opinions] | None = None,
        known: Mapping[StepId, Opinions] | None = None,
    ) -> None:
        self._slots, self._meanings = slots, meanings or Meanings()
        self._opinions_of, self._known = dict(opinions or {}), dict(known or {})

    @classmethod
    def read(
        cls,
        store: Store,
        generations: Sequence[str],
        seeds: Container[str] | None = None,
        *,
        people: bool = True,
        forward_n: int | None = None,
    ) -> Pool:
        """The candidates of `generations` (`Candidate.fingerprint`) of `seeds`, ids of the active ones if absent;
        without what people said, on request. With `forward_n`, the first so many forward candidates of a seed: others
        may be left from a time when the spec asked for more."""
        slots = skim_candidates_of(store, generations, forward_n, seeds)
        return cls(read_slots(store, map(placed, slots), people=people))

    @classmethod
    def of(cls, pairs: Iterable[Pair], reviews: Iterable[Review] = ()) -> Pool:
        """A pool of pairs that are in no store."""
        source, candidates = in_memory(pairs, reviews)
        return cls(read_slots(source, candidates, people=True))

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts if name != "rows_in" and count)
        return f"Pool({len(self):,} rows{f': {counts}' if counts else ''})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), SHOWN_COLUMNS, map(as_shown, islice(self.rows(), SHOWN)))

    @property
    def steps(self) -> tuple[StepId, ...]:
        return tuple(self._opinions_of)

    @property
    def edited(self) -> tuple[Pair, ...]:
        """The pairs that people's edits made and that stand in the pool."""
        return tuple(self._slots.edited.values())

    @property
    def source(self) -> Source:
        return self._slots.source

    def pair_ids(self, slots: Iterable[int]) -> list[str]:
        return [self._slots.ids[slot] or "" for slot in slots]

    def __len__(self) -> int:
        """The number of slots."""
        return len(self._slots.ids)

    def __contains__(self, pair_id: str) -> bool:
        """Whether the pair with this id stands in a slot."""
        return pair_id in self._slots.first

    # What steps say

    def judged_by(self, step: StepId, verdicts: Iterable[Verdict]) -> Pool:
        """This pool after `step` said `verdicts`. What the source knows of a `per_row` step already counts too.

        Raises KeyError for a pair of another pool.
        """
        hearing = self.hear(step)
        hearing.add(verdicts)
        return hearing.over(self)

    def hear(self, step: StepId) -> Hearing:
        """To be told what `step` says a chunk at a time."""
        return Hearing(self, step)

    def unjudged(self) -> Pool:
        """The same rows before any step spoke. What steps said of single rows is still known, and not asked again."""
        known = {step: opinions for step, opinions in self._opinions_of.items() if step.per_row}
        return Pool(self._slots, self._meanings, None, {**self._known, **known})

    def know(self, steps: Iterable[StepId]) -> None:
        """Read what the source knows of these steps, in one pass."""
        unknown = {step: Opinions(len(self)) for step in steps if step not in self._opinions_of | self._known}
        per_row = {step[:2]: (step.scores, known) for step, known in unknown.items() if step.per_row}
        spoken = self.source.said_by(per_row.keys()) if per_row else ()
        for pair_id, of_pair in groupby(spoken, attrgetter("pair_id")):  # some twenty gates of one pair
            if (slot := self._slots.first.get(pair_id)) is None:
                continue
            for heard in of_pair:
                scores, known = per_row[heard.step]
                opinion = self._meanings.number(heard.keep, heard.code)
                known.add(slot, opinion, heard.score if scores else None, None, heard.flags)
        self._known |= unknown

    def _of(self, step: StepId) -> Opinions:
        """The opinions of a step here, or those that the source knows of a step of single rows."""
        self.know([step])
        return self._opinions_of.get(step) or self._known[step]

    _keep = property(lambda self: self._folded[0])
    _by = property(lambda self: self._folded[1])
    _flagging = cached_property(lambda self: [spoken.flags for spoken in self._opinions_of.values() if spoken.flags])
    _kept = property(lambda self: np.flatnonzero((self._keep == TRUE) & self._slots.is_first))  # slots of `accepted`

    @cached_property
    def _folded(self) -> tuple[Any, Any]:
        """Of every slot: the fold (-1: failed), and the number of the step that decided (-1: people or generation).

        A step that is silent about a row has not judged it: the row waits, whatever people said.
        """
        slots, keeps = self._slots, self._meanings.keeps()
        keep, by = slots.people.copy(), np.full(len(self), -1, np.int16)
        decided = keep != TRUE  # by people against it; they come first
        for number, (step, spoken) in enumerate(self._opinions_of.items()):
            now = keeps[spoken.opinions]
            if not step.final:
                now[slots.accepted & (spoken.opinions != 0)] = TRUE
            worse = (now < keep) & ~decided
            by[worse], keep[worse] = number, now[worse]
        keep, by = keep[slots.owner], by[slots.owner]
        keep[slots.failed] = -1
        return keep, by

    # Reading rows

    def rows(self, pair_ids: Iterable[str] | None = None, *, verdicts: bool = True) -> Iterator[Row]:
        """Every slot in the order of the pool, or those of `pair_ids` in their order; without verdicts on request."""
        slots = range(len(self)) if pair_ids is None else (self._slots.first[id_] for id_ in pair_ids)
        return self._stream(slots, verdicts=verdicts)

    def accepted(self, *, verdicts: bool = True) -> Iterator[Row]:
        """The rows that everybody who has spoken so far keeps, on request without what was said of them. A pair that
        stands in two slots is one row."""
        return self._stream(self._kept, verdicts=verdicts)

    def survivors(self) -> Iterator[Survivor]:
        """The rows of `accepted`, without their texts."""
        slots, scores, flagging = self._slots, self._scored, self._flagging
        for slot in self._kept.tolist():
            score, flagged = scores.score(slot) if scores else None, any(slot in flags for flags in flagging)
            yield Survivor(slots.ids[slot] or "", slots.seed(slot), bool(slots.accepted[slot]), flagged, score)

    @cached_property
    def _scored(self) -> Opinions | None:
        return next((spoken for step, spoken in reversed(self._opinions_of.items()) if step.scores), None)

    def in_order(self, keys: Iterable[tuple[float, ...]]) -> Any:
        """The slots of the accepted rows by their key, least first; those of equal keys by the id of their pair."""
        slots = self._kept
        ids = np.frombuffer(bytes.fromhex("".join(self.pair_ids(slots))), ">u8").reshape(-1, 2)
        if not len(slots):
            return slots
        columns = np.fromiter(chain.from_iterable(keys), float).reshape(len(slots), -1).T
        return slots[np.lexsort((ids[:, 1], ids[:, 0], *columns[::-1]))]

    def texts(self, slots: Iterable[int] | None = None) -> Iterator[Texts]:
        """What is asked and answered in the rows of `accepted`, or in slots, in the order given."""
        return self.texts_of(self._slots.ids[int(slot)] or "" for slot in (self._kept if slots is None else slots))

    def texts_of(self, pair_ids: Iterable[str]) -> Iterator[Texts]:
        """What is asked and answered in pairs of the pool, in the order given."""
        rest = iter(pair_ids)
        while chunk := list(islice(rest, ROWS)):
            yield from self._slots.texts(chunk)

    def unsettled(self, step: StepId) -> Iterator[Row]:
        """The accepted rows that a step has not judged, or crashed on, which may be mended by now."""
        silent, crashed = self._unsettled(step, accepted=True)
        yield from self._stream(silent, verdicts=False)
        yield from self._stream(crashed, (*self.steps, step))

    def count_unsettled(self, step: StepId, *, accepted: bool) -> int:
        """The number of rows that a step has not judged, or crashed on, in all or of the accepted ones."""
        return sum(len(slots) for slots in self._unsettled(step, accepted=accepted))

    def _unsettled(self, step: StepId, *, accepted: bool) -> tuple[Any, Any]:
        opinions = self._of(step).opinions
        wanted = self._slots.is_first & ((self._keep == TRUE) if accepted else (self._keep >= 0))
        crashed = np.isin(opinions, self._meanings.numbers("crashed"))
        return np.flatnonzero((opinions == 0) & wanted), np.flatnonzero(crashed & wanted)

    def unjudged_by(self, steps: Sequence[StepId], size: int) -> Iterator[Unjudged]:
        """The pairs that any of `steps` has not judged, or crashed on, once each, in chunks of those that the same
        steps are asked about."""
        asked = np.zeros((len(self), -(-len(steps) // 8)), np.uint8)  # a bit a step
        again = np.zeros(len(self), bool)
        for place, step in enumerate(steps):
            silent, crashed = self._unsettled(step, accepted=False)
            again[crashed] = True
            for slots in (silent, crashed):
                asked[slots, place // 8] |= np.uint8(1 << place % 8)
        wanted = asked.any(axis=1)
        for known in (False, True):
            for _, alike in groupby(np.flatnonzero(wanted & (again == known)).tolist(), lambda s: asked[s].tobytes()):
                while slots := list(islice(alike, size)):
                    bits = np.unpackbits(asked[slots[0]], bitorder="little")
                    places, ids = tuple(np.flatnonzero(bits).tolist()), self.pair_ids(slots)
                    yield Unjudged(slots, ids, places, self.source.verdicts(ids) if known else {})

    def bodies_of(self, slots: Iterable[int]) -> list[Pair | str]:
        """The pairs of slots, those that the source keeps as the JSON of them: for who reads them elsewhere."""
        return self._slots.bodies(self.pair_ids(slots))

    def by_input(self, *, verdicts: bool = False, several: bool = False) -> Iterator[tuple[Row, ...]]:
        """The rows with a pair, together where seed and input are the same, in the order of the pool; on request with
        their verdicts and the reason why they are not kept, and only where there are several rows or people decided."""
        with_pair = np.flatnonzero(self._slots.is_first & (self._keep >= 0))
        slots, sizes = grouped(with_pair, self._slots.input, self._slots.reviewed if several else None)
        rows = self._stream(slots, verdicts=verdicts)
        for size in sizes.tolist():
            yield tuple(islice(rows, size))

    def usual_gap(self) -> float:
        """The standard deviation of scores within inputs; 0 where no input has two."""
        scores = self._scored.scores if self._scored else None
        if scores is None:
            return 0.0
        slots = np.flatnonzero(self._slots.is_first & (self._keep >= 0) & ~np.isnan(scores))
        return deviation_within(scores[slots], self._slots.input[slots])

    def outcomes(self) -> Iterator[Row]:
        """Every slot in the order of the pool without its texts: a row without a pair, and with verdicts only where it
        is not kept."""
        for first in range(0, len(self), ROWS):
            slots = range(first, min(first + ROWS, len(self)))
            out = [self._slots.ids[slot] for slot in slots if FALSE <= self._keep[slot] < TRUE and self._by[slot] >= 0]
            known = self.source.verdicts(filter(None, out))
            for slot in slots:
                id_ = self._slots.ids[slot]
                if id_ is None:
                    yield self._failed(slot)
                    continue
                row = self._row(slot, None)
                yield row if row.keep else self._with_verdicts(slot, row, id_, known.get(id_, ()), self.steps)

    def codes(self, by: str) -> Iterator[str]:
        """Of every slot, the code of what a step of this name said of it; `unjudged` where it said nothing."""
        steps = next((spoken for step, spoken in self._opinions_of.items() if step.by == by), Opinions(len(self)))
        return (self._meanings.meanings[opinion][1] for opinion in steps.opinions)

    def _failed(self, slot: int) -> Row:
        candidate = self._slots.candidate(slot)
        return Row(candidate, None, step=GENERATE, reason=candidate.failure)

    def _stream(
        self, slots: Iterable[int], steps: Sequence[StepId] | None = None, *, verdicts: bool = True
    ) -> Iterator[Row]:
        rest = iter(slots)
        while chunk := [int(slot) for slot in islice(rest, ROWS)]:
            ids = [self._slots.ids[slot] for slot in chunk]
            texts = self._slots.pairs(filter(None, ids))
            known = self.source.verdicts(texts) if verdicts else None
            for slot, id_ in zip(chunk, ids, strict=True):
                if id_ is None:
                    yield self._failed(slot)
                    continue
                row = self._row(slot, texts[id_])
                if known is not None:
                    row = self._with_verdicts(slot, row, id_, known.get(id_, ()), steps or self.steps)
                yield row

    def _row(self, slot: int, pair: Pair | None) -> Row:
        candidate, owner = self._slots.candidate(slot), int(self._slots.owner[slot])
        decision, reviews = self._slots.reviewed.get(owner, (None, ()))
        keep = ORDER[self._keep[slot]]
        by = self._by[slot]
        step = None if self._keep[slot] == TRUE else REVIEW if by < 0 else self.steps[by].by
        keep = False if keep and owner != slot else keep
        score = self._scored.score(owner) if self._scored else None
        spoken = [flags[owner] for flags in self._flagging if owner in flags]
        flags = tuple(dict.fromkeys(chain.from_iterable(spoken))) if spoken else ()
        return Row(candidate, pair, (), reviews, decision, score, keep, step, flags=flags)

    def _with_verdicts(
        self, slot: int, row: Row, pair_id: str, known: Sequence[Verdict], steps: Sequence[StepId]
    ) -> Row:
        """The row with its verdicts and the reason why it is not kept."""
        owner, stored = int(self._slots.owner[slot]), {(v.by, v.fingerprint): v for v in known}
        telling = steps if stored else [step for step in self._telling if step in steps]
        verdicts = (self._verdict(step, owner, pair_id) or stored.get((step.by, step.settings)) for step in telling)
        row = row._replace(verdicts=tuple(verdict for verdict in verdicts if verdict))
        if row.keep:
            return row
        if self._keep[slot] == TRUE:
            reason = Reason("duplicate", f"pair {pair_id} stands in another slot already")
            return row._replace(step=DUPLICATE, reason=reason)
        step, why = self._why(slot, row)
        return row._replace(step=step, reason=why)

    def _verdict(self, step: StepId, slot: int, pair_id: str) -> Verdict | None:
        """The verdict of a step that the source does not keep."""
        spoken = self._opinions_of.get(step) or self._known.get(step)
        reason = spoken.reasons[slot] if spoken and spoken.reasons else None
        if spoken is None or reason is None:
            return None
        keep, _ = self._meanings.meanings[spoken.opinions[slot]]
        named = {"pair_id": pair_id, "by": step.by, "fingerprint": step.settings, "keep": keep}
        rest = {"score": spoken.score(slot), "reason": reason, "flags": spoken.flags.get(slot, ())}
        return made(Verdict, named | rest)

    @cached_property
    def _telling(self) -> list[StepId]:
        """The steps whose sentences the source does not keep."""
        return [step for step, spoken in {**self._known, **self._opinions_of}.items() if spoken.reasons]

    def _why(self, slot: int, row: Row) -> tuple[str, Reason]:
        if self._by[slot] < 0:
            assert row.decision is not None, "people decided"
            by_hand = Reason("review", "a person rejected it") if row.keep is False else row.decision.why
            return REVIEW, by_hand
        step = self.steps[self._by[slot]]
        verdict = next((v for v in row.verdicts if (v.by, v.fingerprint) == step[:2]), None)
        return step.by, verdict.reason if verdict else Reason("unjudged", f"{step.by} has not spoken of it")

    # Sums

    @property
    def counts(self) -> Counts:
        """The rows by state, over all slots."""
        keep = np.where((self._keep == TRUE) & ~self._slots.is_first, FALSE, self._keep)
        names = {"failed": -1, "rejected": FALSE, "waiting": NONE, "accepted": TRUE}
        return Counts(rows_in=len(self), **{name: int((keep == number).sum()) for name, number in names.items()})

    @property
    def reasons(self) -> dict[str, int]:
        """Code -> how many rows it keeps out, most frequent first; they sum to what is not accepted."""
        codes: Counter[str] = Counter(reason.code for reason in self._slots.failures.values())
        spoken = list(self._opinions_of.values())
        for slot in np.flatnonzero((self._keep == FALSE) | (self._keep == NONE)):
            owner, by = int(self._slots.owner[slot]), int(self._by[slot])
            if by >= 0:
                codes[self._meanings.meanings[spoken[by].opinions[owner]][1]] += 1
            else:
                decision = self._slots.reviewed[owner].decision
                codes["review" if self._keep[slot] == FALSE else decision.why.code] += 1
        if repeated := int(np.sum((self._keep == TRUE) & ~self._slots.is_first)):
            codes["duplicate"] += repeated
        return dict(codes.most_common())

    def said(self) -> Iterator[tuple[StepId, Opinions, Any]]:
        """Every step, its opinions, and of every slot its keep (0, 1 or 2; -1 where it is silent)."""
        keeps = self._meanings.keeps()
        for step, spoken in self._opinions_of.items():
            yield step, spoken, np.where(spoken.opinions == 0, -1, keeps[spoken.opinions])

    def decisions(self) -> list[Decision]:
        """The decisions of people, one for every pair that they have decided about."""
        return [reviewed.decision for reviewed in self._slots.reviewed.values()]

    def to_dataset(self) -> Any:
        """The accepted rows as a `datasets.Dataset`: ids, system, input, output, score."""
        return as_dataset(self.accepted())
