"""The pool: every slot of a generation, and the verdicts and reviews of the row in it.

    pool = Pool.read(store, generations)          # or Pool.of(pairs), without a store
    pool = await curate(pool, steps, store)       # curate/curation.py
    pool.counts, pool.reasons, pool.accepted()

A pool is immutable: `judged_by` returns a new one. Rows are read in chunks; some 250 bytes per row stay in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any

import numpy as np

from curate.arrays.opinions import FALSE, NONE, TRUE, Opinions, OpinionTable, deviation_within, grouped
from curate.arrays.slots import Slots, candidate_from_json, in_memory, read_slots, skim_candidates_of
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
    display_values,
)
from schemas.html_table import SHOWN, html_table
from schemas.identity import construct
from schemas.progress import Progress, reporting, unseen
from schemas.records import Counts, Pair, Reason, Verdict
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.rows import Texts
from schemas.streamed import batched


class VerdictCollector:
    """Collects the verdicts of one step on a pool as they come."""

    def __init__(self, step: StepId, slots: Slots, table: OpinionTable, opinions: Opinions) -> None:
        self.step, self._slots, self._table, self.opinions = step, slots, table, opinions

    def add(self, verdicts: Iterable[Verdict], *, stored: bool = False) -> None:
        """Add verdicts. `stored` means that the source stores them, so that their reasons, and scores that compare
        nothing, need not be kept in memory. Raises KeyError for a pair of another pool."""
        scores = self.step.scores or not stored
        for verdict in verdicts:
            slot = self._slots.first[verdict.pair_id]
            reason = None if stored else self._slots.intern(verdict.reason)
            opinion, score = self._table.number(verdict.keep, verdict.reason.code), verdict.score if scores else None
            self.opinions.add(slot, opinion, score, reason, verdict.flags)

    def numbers(self, meanings: Sequence[tuple[bool | None, str]]) -> Any:
        """The opinion numbers (see `OpinionTable`) of pairs (keep, code)."""
        return np.array([self._table.number(*meaning) for meaning in meanings])


class Pool:
    """The rows of a generation under the `steps` that have judged them; only ids and verdicts are in memory."""

    def __init__(
        self,
        slots: Slots,
        table: OpinionTable | None = None,
        opinions: Mapping[StepId, Opinions] | None = None,
        known: Mapping[StepId, Opinions] | None = None,
        progress: Progress = unseen,
    ) -> None:
        self._slots, self.source, self._table = slots, slots.source, table or OpinionTable()
        self._opinions_of, self._known = dict(opinions or {}), dict(known or {})
        self.progress = progress  # of whoever reads this pool

    @classmethod
    def read(
        cls,
        store: Store,
        generations: Sequence[str],
        seeds: Container[str] | None = None,
        *,
        people: bool = True,
        forward_n: int | None = None,
        progress: Progress = unseen,
    ) -> Pool:
        """The candidates of `generations` (`Candidate.fingerprint`) and `seeds`, by default the active ones;
        `people=False` ignores reviews. `forward_n` limits the forward candidates per seed: more may remain from an
        earlier spec."""
        slots = reporting(skim_candidates_of(store, generations, forward_n, seeds), progress, "candidates")
        return cls(read_slots(store, map(candidate_from_json, slots), people=people), progress=progress)

    @classmethod
    def of(cls, pairs: Iterable[Pair], reviews: Iterable[Review] = ()) -> Pool:
        """A pool of pairs that are not in a store."""
        source, candidates = in_memory(pairs, reviews)
        return cls(read_slots(source, candidates, people=True))

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts if name != "rows_in" and count)
        return f"Pool({len(self):,} {'row' if len(self) == 1 else 'rows'}{f': {counts}' if counts else ''})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), SHOWN_COLUMNS, map(display_values, islice(self.rows(), SHOWN)))

    @property
    def steps(self) -> tuple[StepId, ...]:
        """The steps that have judged it, in order."""
        return tuple(self._opinions_of)

    @property
    def edited(self) -> tuple[Pair, ...]:
        """The pairs that were created by reviewers' edits and are in the pool."""
        return tuple(self._slots.edited.values())

    def pair_ids(self, slots: Iterable[int]) -> list[str]:
        return [self._slots.ids[slot] or "" for slot in slots]

    def __len__(self) -> int:
        """The number of slots."""
        return len(self._slots.ids)

    def __contains__(self, pair_id: str) -> bool:
        """Whether the pair with this id is in a slot."""
        return pair_id in self._slots.first

    # Verdicts of steps

    def judged_by(self, step: StepId, verdicts: Iterable[Verdict]) -> Pool:
        """This pool with `verdicts` of `step`. Those of a `per_row` step that the source has stored are included.

        Raises KeyError for a pair of another pool.
        """
        (collector := self.collect(step)).add(verdicts)
        return self.including(collector)

    def including(self, collected: VerdictCollector) -> Pool:
        """This pool with the collected verdicts of a step. Other steps may have judged it meanwhile."""
        return Pool(self._slots, self._table, {**self._opinions_of, collected.step: collected.opinions}, self._known)

    def collect(self, step: StepId) -> VerdictCollector:
        """A collector for the verdicts of `step`, to be added in chunks."""
        return VerdictCollector(step, self._slots, self._table, self._opinions_for(step).copy())

    def unjudged(self) -> Pool:
        """The same rows without any verdicts. Known ones on single rows are not computed again."""
        known = {step: opinions for step, opinions in self._opinions_of.items() if step.per_row}
        return Pool(self._slots, self._table, None, {**self._known, **known})

    def load_known(self, steps: Iterable[StepId]) -> None:
        """Load the source's verdicts of these steps, in one pass."""
        unknown = {step: Opinions(len(self)) for step in steps if step not in self._opinions_of | self._known}
        per_row = {step[:2]: (step.scores, known) for step, known in unknown.items() if step.per_row}
        verdicts = self.source.verdicts_of_steps(per_row.keys()) if per_row else ()
        for pair_id, of_pair in reporting(groupby(verdicts, attrgetter("pair_id")), self.progress, "verdicts"):
            if (slot := self._slots.first.get(pair_id)) is None:
                continue
            for given in of_pair:
                scores, known = per_row[given.step]
                opinion = self._table.number(given.keep, given.code)
                known.add(slot, opinion, given.score if scores else None, None, given.flags)
        self._known |= unknown

    def _opinions_for(self, step: StepId) -> Opinions:
        """The opinions of a step in this pool, or those that the source has of a `per_row` step."""
        self.load_known([step])
        return self._opinions_of.get(step) or self._known[step]

    _keep = property(lambda self: self._folded[0])
    _by = property(lambda self: self._folded[1])
    _flagging = cached_property(lambda self: [one.flags for one in self._opinions_of.values() if one.flags])
    _kept = property(lambda self: np.flatnonzero((self._keep == TRUE) & self._slots.is_first))  # slots of `accepted`
    by_people = property(lambda self: (self._slots.accepted, self._slots.people == FALSE))  # slots: accepted, rejected

    @cached_property
    def _folded(self) -> tuple[Any, Any]:
        """Per slot: the folded `keep` (-1: failed), and the index of the deciding step (-1: reviewers or generation).

        A row that a step has not judged waits, whatever reviewers decided.
        """
        slots, keeps = self._slots, self._table.keeps()
        keep, by = slots.people.copy(), np.full(len(self), -1, np.int16)
        decided = keep != TRUE  # by reviewers against the row, which overrides all steps
        for number, (step, opinions) in enumerate(self._opinions_of.items()):
            now = keeps[opinions.values]
            if not step.final:
                now[slots.accepted & (opinions.values != 0)] = TRUE
            worse = (now < keep) & ~decided
            by[worse], keep[worse] = number, now[worse]
        keep, by = keep[slots.owner], by[slots.owner]
        keep[slots.failed] = -1
        return keep, by

    # Reading rows

    def rows(self, pair_ids: Iterable[str] | None = None, *, verdicts: bool = True) -> Iterator[Row]:
        """Rows in pool order, or those of `pair_ids` in their order, without verdicts if asked. Raises UsageError."""
        slots = range(len(self)) if pair_ids is None else map(self._slots.slot_of, pair_ids)
        return self._stream(slots, verdicts=verdicts)

    def accepted(self, *, verdicts: bool = True) -> Iterator[Row]:
        """The rows that all steps so far accept, optionally without verdicts. A pair in two slots is returned once."""
        return self._stream(self._kept, verdicts=verdicts)

    def survivors(self) -> Iterator[Survivor]:
        """The rows of `accepted` without their texts."""
        slots, scores, kept, flagged = self._slots, self._scored, self._kept, np.zeros(len(self), bool)
        for flags in self._flagging:
            flagged[list(flags)] = True
        columns = (column[kept].tolist() for column in (slots.accepted, flagged))
        for slot, by_people, has_flags in zip(kept.tolist(), *columns, strict=True):
            score = scores.score(slot) if scores else None
            yield Survivor(slots.ids[slot] or "", slots.seed(slot), by_people, has_flags, score)

    @cached_property
    def _scored(self) -> Opinions | None:
        return next((opinions for step, opinions in reversed(self._opinions_of.items()) if step.scores), None)

    def sorted_by(self, sort_keys: Iterable[tuple[float, ...]]) -> Any:
        """The slots of the accepted rows sorted by key, ascending; ties by pair id."""
        slots = self._kept
        ids = np.frombuffer(bytes.fromhex("".join(self.pair_ids(slots))), ">u8").reshape(-1, 2)
        if not len(slots):
            return slots
        columns = np.fromiter(chain.from_iterable(sort_keys), float).reshape(len(slots), -1).T
        return slots[np.lexsort((ids[:, 1], ids[:, 0], *columns[::-1]))]

    def texts(self, slots: Iterable[int] | None = None) -> Iterator[Texts]:
        """The input and output of the accepted rows, or of `slots`, in the given order."""
        return self.texts_of(self._slots.ids[int(slot)] or "" for slot in (self._kept if slots is None else slots))

    def texts_of(self, pair_ids: Iterable[str]) -> Iterator[Texts]:
        """The input and output of pairs of the pool, in the given order."""
        for number, chunk in enumerate(batched(pair_ids, ROWS)):
            yield from self._slots.texts(chunk)
            self.progress("texts read", {"done": number * ROWS + len(chunk)})

    def unsettled(self, step: StepId) -> Iterator[Row]:
        """The accepted rows that a step has not judged, or on which it crashed and may succeed now."""
        silent, crashed = self._unsettled(step, accepted=True)
        yield from self._stream(silent, verdicts=False)
        yield from self._stream(crashed, (*self.steps, step))

    def count_pending(self, step: StepId, *, accepted: bool) -> int:
        """The number of rows, or of accepted rows, that a step has not judged or on which it crashed."""
        return sum(len(slots) for slots in self._unsettled(step, accepted=accepted))

    def _unsettled(self, step: StepId, *, accepted: bool) -> tuple[Any, Any]:
        opinions = self._opinions_for(step).values
        selected = self._slots.is_first & ((self._keep == TRUE) if accepted else (self._keep >= 0))
        crashed = np.isin(opinions, self._table.numbers("crashed"))
        return np.flatnonzero((opinions == 0) & selected), np.flatnonzero(crashed & selected)

    def unjudged_by(self, steps: Sequence[StepId], size: Callable[[], int]) -> Iterator[Unjudged]:
        """The pairs that any of `steps` has not judged or on which it crashed, each once, in chunks of at most `size()`
        pairs that are pending for the same steps."""
        pending = np.zeros((len(self), -(-len(steps) // 8)), np.uint8)  # one bit per step
        retry = np.zeros(len(self), bool)
        for place, step in enumerate(steps):
            silent, crashed = self._unsettled(step, accepted=False)
            retry[crashed] = True
            for slots in (silent, crashed):
                pending[slots, place // 8] |= np.uint8(1 << place % 8)
        chosen = pending.any(axis=1)
        for known in (False, True):
            for _, group in groupby(np.flatnonzero(chosen & (retry == known)).tolist(), lambda s: pending[s].tobytes()):
                while slots := list(islice(group, size())):
                    bits = np.unpackbits(pending[slots[0]], bitorder="little")
                    places, ids = tuple(np.flatnonzero(bits).tolist()), self.pair_ids(slots)
                    yield Unjudged(slots, ids, places, self.source.verdicts(ids) if known else {})

    def bodies_of(self, slots: Iterable[int]) -> list[Pair | str]:
        """The pairs of slots; where the source stores a pair as JSON, that text, for use in another process."""
        return self._slots.bodies(self.pair_ids(slots))

    def by_input(
        self, *, verdicts: bool = False, several: bool = False, texts: bool = True
    ) -> Iterator[tuple[Row, ...]]:
        """The rows with a pair, grouped by seed and input, in pool order; optionally with verdicts and the reason why a
        row is not kept, or without their pairs. `several` leaves out inputs with one row that was not reviewed."""
        with_pair = np.flatnonzero(self._slots.is_first & (self._keep >= 0))
        slots, sizes = grouped(with_pair, self._slots.input, self._slots.reviewed if several else None)
        rows = self._stream(slots, verdicts=verdicts) if texts else (self._row(slot, None) for slot in slots.tolist())
        for size in sizes.tolist():
            yield tuple(islice(rows, size))

    def score_deviation(self) -> float:
        """The standard deviation of scores within inputs; 0 if no input has two."""
        scores = self._scored.scores if self._scored else None
        if scores is None:
            return 0.0
        slots = np.flatnonzero(self._slots.is_first & (self._keep >= 0) & ~np.isnan(scores))
        return deviation_within(scores[slots], self._slots.input[slots])

    def outcomes(self) -> Iterator[Row]:
        """Every slot in pool order, as a row without its pair, and with verdicts only if it is not kept."""
        for slots in batched(range(len(self)), ROWS):
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
        """For every slot, the reason code that the step with this name gave; `unjudged` where it gave none."""
        given = next((opinions for step, opinions in self._opinions_of.items() if step.by == by), Opinions(len(self)))
        return (self._table.meanings[opinion][1] for opinion in given.values)

    def _failed(self, slot: int) -> Row:
        candidate = self._slots.candidate(slot)
        return Row(candidate, None, step=GENERATE, reason=candidate.failure)

    def _stream(
        self, slots: Iterable[int], steps: Sequence[StepId] | None = None, *, verdicts: bool = True
    ) -> Iterator[Row]:
        for chunk in batched(map(int, slots), ROWS):
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
        keep, by = ORDER[self._keep[slot]], self._by[slot]
        step = None if self._keep[slot] == TRUE else REVIEW if by < 0 else self.steps[by].by
        keep = False if keep and owner != slot else keep
        score = self._scored.score(owner) if self._scored else None
        flag_sets = [flags[owner] for flags in self._flagging if owner in flags]
        flags = tuple(dict.fromkeys(chain.from_iterable(flag_sets))) if flag_sets else ()
        return Row(candidate, pair, (), reviews, decision, score, keep, step, flags=flags)

    def _with_verdicts(
        self, slot: int, row: Row, pair_id: str, known: Sequence[Verdict], steps: Sequence[StepId]
    ) -> Row:
        """The row with its verdicts and, if it is not kept, the reason."""
        owner, stored = int(self._slots.owner[slot]), {(v.by, v.fingerprint): v for v in known}
        relevant = steps if stored else [step for step in self._steps_with_reasons if step in steps]
        verdicts = (self._verdict(step, owner, pair_id) or stored.get((step.by, step.settings)) for step in relevant)
        row = row._replace(verdicts=tuple(verdict for verdict in verdicts if verdict))
        if row.keep:
            return row
        if self._keep[slot] == TRUE:
            reason = Reason("duplicate", f"pair {pair_id} is already in another slot")
            return row._replace(step=DUPLICATE, reason=reason)
        step, why = self._why(slot, row)
        return row._replace(step=step, reason=why)

    def _verdict(self, step: StepId, slot: int, pair_id: str) -> Verdict | None:
        """A verdict that the source does not store."""
        opinions = self._opinions_of.get(step) or self._known.get(step)
        reason = opinions.reasons[slot] if opinions and opinions.reasons else None
        if opinions is None or reason is None:
            return None
        keep, _ = self._table.meanings[opinions.values[slot]]
        named = {"pair_id": pair_id, "by": step.by, "fingerprint": step.settings, "keep": keep}
        opinion = {"score": opinions.score(slot), "reason": reason, "flags": opinions.flags.get(slot, ())}
        return construct(Verdict, named | opinion)

    @cached_property
    def _steps_with_reasons(self) -> list[StepId]:
        """The steps whose reasons are in memory because the source does not store them."""
        return [step for step, opinions in {**self._known, **self._opinions_of}.items() if opinions.reasons]

    def _why(self, slot: int, row: Row) -> tuple[str, Reason]:
        if self._by[slot] < 0:
            assert row.decision is not None, "reviewers decided"
            by_hand = row.keep is False and row.reviews
            return REVIEW, Reason("review", "rejected in review") if by_hand else row.decision.why
        step = self.steps[self._by[slot]]
        verdict = next((v for v in row.verdicts if (v.by, v.fingerprint) == step[:2]), None)
        return step.by, verdict.reason if verdict else Reason("unjudged", f"{step.by} has not judged it")

    # Totals

    @property
    def counts(self) -> Counts:
        """The number of slots by state."""
        keep = np.where((self._keep == TRUE) & ~self._slots.is_first, FALSE, self._keep)
        names = {"failed": -1, "rejected": FALSE, "waiting": NONE, "accepted": TRUE}
        return Counts(rows_in=len(self), **{name: int((keep == number).sum()) for name, number in names.items()})

    @property
    def reasons(self) -> dict[str, int]:
        """Code -> number of rows that it keeps out, most frequent first. They sum to the rows that are not accepted."""
        codes: Counter[str] = Counter(reason.code for reason in self._slots.failures.values())
        opinions = list(self._opinions_of.values())
        for slot in np.flatnonzero((self._keep == FALSE) | (self._keep == NONE)):
            owner, by = int(self._slots.owner[slot]), int(self._by[slot])
            if by >= 0:
                codes[self._table.meanings[opinions[by].values[owner]][1]] += 1
            else:
                decision = self._slots.reviewed[owner].decision
                codes["review" if self._keep[slot] == FALSE else decision.why.code] += 1
        if repeated := int(np.sum((self._keep == TRUE) & ~self._slots.is_first)):
            codes["duplicate"] += repeated
        return dict(codes.most_common())

    def opinions_by_step(self) -> Iterator[tuple[StepId, Opinions, Any]]:
        """For every step, its opinions and the `keep` of every slot (0, 1 or 2; -1 where it has not judged)."""
        keeps = self._table.keeps()
        for step, opinions in self._opinions_of.items():
            yield step, opinions, np.where(opinions.values == 0, -1, keeps[opinions.values])

    def decisions(self) -> list[Decision]:
        """The reviewers' decisions, one for every pair that they decided."""
        return [reviewed.decision for reviewed in self._slots.reviewed.values() if reviewed.reviews]

    def to_dataset(self) -> Any:
        """The accepted rows as a `datasets.Dataset`: ids, system, input, output, score."""
        return as_dataset(self.accepted())
