"""What batches may cost until that is known: the holds of a store's batches, from their submission until every answer
in them is in a row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence

from schemas.money import Hold
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch.lines import BatchLine, StoredResult, max_usages
from synth.chat.completions import StoppedError, read_answer
from synth.meter import unkeepable_cap_error
from synth.prices import FREE, prices_of


class BatchHolds:
    """The holds of the known batches. A hold is the most that all requests of its batch may cost; once the results are
    read, it is the cost of the answers that are in no row. Teachers of one run with the same identity find the same
    batches of earlier runs, so each has the holds of those `beside` it: otherwise what a batch turns out to cost would
    be counted once for each."""

    def __init__(self, store: Store, teacher: TeacherSettings, beside: BatchHolds | None = None) -> None:
        self._store, self._teacher, self._prices = store, teacher, prices_of(teacher)
        self._holds: dict[str, Hold] = {} if beside is None else beside._holds
        # Of batches that were read: the answers in no row.
        self._unused: dict[str, dict[str, float | None]] = {} if beside is None else beside._unused
        self._changed: dict[str, Hold] = {} if beside is None else beside._changed
        self._released: set[str] = set() if beside is None else beside._released

    async def hold(
        self, lines: Sequence[BatchLine], label: str, stage: str, stopped: Callable[[], bool]
    ) -> tuple[int, Hold | None]:
        """How many of `lines` the caps leave room for, in their order, and the most that a batch of these may cost,
        which counts as spent from now on; None if it is free. Waits for room while anything is in flight.

        Raises BudgetReached if none fits, StoppedError, and SpecError if the most is unknown.
        """
        if self._prices is not None and self._prices.source == FREE:
            return len(lines), None
        budget, usages, count = self._store.budget, max_usages(lines, bytes_per_token=1), len(lines)
        each = None if usages is None or self._prices is None else [self._prices.batch_usd(usage) for usage in usages]
        if budget is not None and budget.caps:
            if each is None:
                raise unkeepable_cap_error(budget.caps[0].name, self._teacher, self._prices)
            if not (count := await budget.hold_first(label, each, stopped)):
                raise StoppedError
        usd = None if each is None else sum(each[:count])
        teacher = self._teacher.known_as
        return count, Hold(id=label, usd=usd, requests=count, stage=stage, teacher=teacher)

    def add(self, batch: str, hold: Hold | None) -> None:
        """Note the hold of a batch, unless it is known; None if it is free."""
        if hold is not None:
            self._holds.setdefault(batch, hold)

    def in_flight(self, task: asyncio.Task[None]) -> None:
        """`task` waits for a batch; until it is done, what is held for the batch may become less."""
        if (budget := self._store.budget) is not None:
            budget.unread.add(task)
            task.add_done_callback(budget.read)

    def settled(self, *batches: object) -> None:
        """Nothing waits for these batches, which are tasks or labels."""
        if self._store.budget is not None:
            self._store.budget.read(*batches)

    def exchange(self, batch: str, other: str) -> None:
        """Each has the hold of the other: they were mistaken for each other."""
        for one, hold in ((batch, self._holds.pop(other, None)), (other, self._holds.pop(batch, None))):
            self._unused.pop(one, None)
            self.add(one, hold)

    def open(self) -> dict[str, Hold]:
        """The holds of the batches that have not been read here, as they are in the store: another teacher of this run
        may have read them. (Of those read here the store may not have the last change yet.)"""
        unread = {batch: hold for batch, hold in self._holds.items() if hold.open and batch not in self._unused}
        stored = self._store.holds([hold.id for hold in unread.values()])
        now = {batch: stored.get(hold.id, hold) for batch, hold in unread.items()}
        self._holds.update(now)
        return {batch: hold for batch, hold in now.items() if hold.open}

    def release(self, hold: Hold | None) -> None:
        """Give back the money for a batch that does not exist."""
        if hold is not None and hold.open and hold.id not in self._released:
            self._released.add(hold.id)
            self._store.append(self._corrected(hold, 0.0, 0))

    def read(
        self, batch: str, lines: int, answers: Mapping[str, StoredResult], wanted: Container[str], missing: int = 0
    ) -> None:
        """The results of a batch of `lines` requests are read: `answers` are the good ones, by their lines; the lines
        in `wanted` are asked for now. `missing` others are paid for, too, and cannot be read."""
        if (hold := self._holds.get(batch)) is None or batch in self._unused:
            return
        each = None if hold.usd is None else hold.usd / max(1, hold.requests)
        if hold.requests < lines:  # an earlier run has read it and used some, and only those in `wanted` are known
            unused = {name: each for name in answers if name in wanted}
            unused |= {f"unknown-{i}": each for i in range(hold.requests - len(unused))}
        else:
            in_rows = wanted if self._store.budget is None else ()  # counted there in a moment
            unused = {name: each if name in in_rows else self._usd(one, each) for name, one in answers.items()}
            unused |= {f"missing-{i}": each for i in range(missing)}
        self._unused[batch] = unused
        usd = [usd for usd in unused.values() if usd is not None]
        self._changed[batch] = self._corrected(hold, sum(usd) if usd or not unused else None, len(unused))
        self._holds[batch] = self._changed[batch]
        self._store.append(*self.changes())

    def use(self, batch: str | None, name: str) -> float | None:
        """An answer of a batch goes into a row, which is to be written together with the `changes`. Returns the most
        that it may cost, which is no longer held here."""
        if batch is None or not (unused := self._unused.get(batch)):
            return None
        hold, usd = self._holds[batch], unused.pop(name if name in unused else next(reversed(unused)))
        left = None if hold.usd is None else max(0.0, hold.usd - (usd or 0.0)) if unused else 0.0
        if self._store.budget is not None:
            self._store.budget.charge((left or 0.0) - (hold.usd or 0.0))
        self._holds[batch] = self._changed[batch] = _replaced(hold, left, len(unused))
        return usd

    def changes(self) -> list[Hold]:
        """The holds that have changed since the last call, to be written."""
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def _corrected(self, hold: Hold, usd: float | None, requests: int) -> Hold:
        if self._store.budget is not None:
            self._store.budget.correct(hold.id, (usd or 0.0) - (hold.usd or 0.0))
        return _replaced(hold, usd, requests)

    def _usd(self, result: StoredResult, most: float | None) -> float | None:
        """The cost of an answer; `most` if it is unknown."""
        answer = read_answer(result.content, 0.0, {})
        if answer.usd is not None or answer.usage is None or self._prices is None:
            return most if answer.usd is None else answer.usd
        return self._prices.batch_usd(answer.usage)


def _replaced(hold: Hold, usd: float | None, requests: int) -> Hold:
    return hold.model_copy(update={"usd": usd, "requests": requests, "open": requests > 0})
