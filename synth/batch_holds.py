"""What batches may cost until that is known: the holds of a store's batches, from their submission until every answer
in them is in a row."""

from __future__ import annotations

from collections.abc import Container, Mapping

from schemas.money import Hold
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch_results import StoredResult
from synth.chat_completions import read_answer
from synth.prices import prices_of


class BatchHolds:
    """The holds of the known batches. A hold is the most that all requests of its batch may cost; once the results are
    read, it is the cost of the answers that are in no row."""

    def __init__(self, store: Store, teacher: TeacherSettings) -> None:
        self._store, self._prices = store, prices_of(teacher)
        self._holds: dict[str, Hold] = {}
        self._unused: dict[
            str, dict[str, float | None]
        ] = {}  # of batches that were read: the answers that are in no row

    def add(self, batch: str, hold: Hold | None) -> None:
        """Note the hold of a batch; None if it is free."""
        if hold is not None:
            self._holds[batch] = hold

    def move(self, batch: str, other: str) -> None:
        """The hold of `batch` is that of `other`: they were mistaken for each other."""
        if batch in self._holds:
            self._holds[other] = self._holds.pop(batch)

    def open(self) -> dict[str, Hold]:
        """The holds of the batches that have not been read."""
        return {batch: hold for batch, hold in self._holds.items() if hold.open and batch not in self._unused}

    def release(self, hold: Hold | None) -> None:
        """Give back the money for a batch that does not exist."""
        if hold is not None and hold.open:
            self._replace(hold, 0.0, 0)

    def read(self, batch: str, lines: int, answers: Mapping[str, StoredResult], wanted: Container[str]) -> None:
        """The results of a batch of `lines` requests are read: `answers` are the good ones, by their lines; the lines
        in `wanted` are asked for now."""
        if (hold := self._holds.get(batch)) is None:
            return
        each = None if hold.usd is None else hold.usd / max(1, hold.requests)
        if hold.requests < lines:  # an earlier run has read it and used some, and only those in `wanted` are known
            unused = {name: each for name in answers if name in wanted}
            unused |= {f"unknown-{i}": each for i in range(hold.requests - len(unused))}
        else:
            unused = {name: each if name in wanted else self._usd(one, each) for name, one in answers.items()}
        self._unused[batch] = unused
        if not unused:
            self._settle(batch)

    def use(self, batch: str | None, name: str) -> None:
        """An answer of a batch goes into a row."""
        if batch is None or not (unused := self._unused.get(batch)):
            return
        unused.pop(name if name in unused else next(reversed(unused)))
        if not unused:
            self._settle(batch)

    def settle(self) -> None:
        """Write what is left of the batches that were read."""
        for batch in self._unused:
            self._settle(batch)

    def _settle(self, batch: str) -> None:
        costs = list(self._unused[batch].values())
        known = [usd for usd in costs if usd is not None]
        self._holds[batch] = self._replace(self._holds[batch], sum(known) if known or not costs else None, len(costs))

    def _replace(self, hold: Hold, usd: float | None, requests: int) -> Hold:
        new = hold.model_copy(update={"usd": usd, "requests": requests, "open": requests > 0})
        if new != hold:
            self._store.append(new)
            if self._store.budget is not None:
                self._store.budget.charge((usd or 0.0) - (hold.usd or 0.0))
        return new

    def _usd(self, result: StoredResult, most: float | None) -> float | None:
        """The cost of an answer that nobody asks for; `most` if it is unknown."""
        answer = read_answer(result.content, 0.0, {})
        if answer.usd is not None or answer.usage is None or self._prices is None:
            return most if answer.usd is None else answer.usd
        return self._prices.batch_usd(answer.usage)
