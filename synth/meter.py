"""The meter of a ledger: what each request may cost before it is sent, and what it has cost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from schemas.errors import SpecError
from schemas.money import Cost, Hold
from schemas.records import Json, Record, Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat_completions import StoppedError, UnansweredError
from synth.prices import FREE, Prices, prices_of
from synth.question import limit_of


class Reserved(NamedTuple):
    """A request that is about to be sent: what was asked with which prompt, the hold that is in the store where there
    is a cap, whether it goes through a batch API, at its price, whether it is marked as on the wire, and the most that
    it can cost."""

    body: Json
    prompt: str
    hold: Hold | None
    batch: bool = False
    marked: bool = False
    usd: float | None = None


class _Sum:
    """What the requests with one prompt have cost so far, and those that are on the wire and no hold is for."""

    def __init__(self, nothing: Hold) -> None:
        self.on_wire, self.on_wire_usd = 0, 0.0
        self._marked, self._is_asked = 0, False  # the last mark, and whether another one is on its way
        self._nothing = nothing
        self.requests = self.unpriced = self.lost = 0
        self.tokens = [0, 0, 0, 0]
        self.usd = self.reserved = 0.0

    def add(self, usage: Usage | None, usd: float | None) -> None:
        self.requests += 1
        if usage is not None:
            a, b, c, d = self.tokens
            self.tokens = [
                a + usage.prompt_tokens,
                b + usage.completion_tokens,
                c + usage.cached_tokens,
                d + usage.reasoning_tokens,
            ]
        self.usd += usd or 0.0
        self.unpriced += usd is None

    def lose(self, usd: float | None) -> None:
        self.lost += 1
        self.reserved += usd or 0.0

    def send(self, usd: float | None) -> bool:
        """One more goes on the wire. Whether a mark is to be asked for: the last one tells of fewer."""
        self.on_wire, self.on_wire_usd = self.on_wire + 1, self.on_wire_usd + (usd or 0.0)
        is_due = self.on_wire > self._marked and not self._is_asked
        self._is_asked = self._is_asked or is_due
        return is_due

    def mark(self) -> Hold:
        """What is on the wire now, for the store, by whose thread this is called."""
        self._marked, self._is_asked = 0, False  # first: one more may go meanwhile
        self._marked = count = self.on_wire
        now = {"requests": count, "usd": self.on_wire_usd or None, "open": count > 0}
        return self._nothing.model_copy(update=now)

    def numbers(self) -> Json:
        """The numbers of a Cost."""
        usage = Usage(**dict(zip(Usage.model_fields, self.tokens, strict=True)))
        counts = {"requests": self.requests, "unpriced": self.unpriced, "lost": self.lost}
        return {**counts, "usage": usage, "usd": self.usd, "reserved": self.reserved}


class Meter:
    """Counts what one ledger's requests cost, by prompt, and keeps them under the caps of the store's budget."""

    def __init__(self, store: Store, teacher: TeacherSettings, stage: str) -> None:
        self._store, self._teacher, self._stage = store, teacher, stage
        self._identity = teacher.identity or teacher.model
        self._sums: dict[str, _Sum] = {}
        self._charges = False  # though its price is 0
        self._dearer = {"": 1.0}  # by how much the tiers that served a request are dearer than the usual one

    @cached_property
    def prices(self) -> Prices | None:
        """The teacher's prices, None if nobody knows them. They are those of the moment of the first look."""
        return prices_of(self._teacher)

    @property
    def _is_free(self) -> bool:
        return self.prices is not None and self.prices.source == FREE and not self._charges

    @property
    def costs(self) -> list[Cost]:
        """What was sent, by prompt; requests whose outcome is unknown are `lost`."""
        source = self.prices.source if self._sums and self.prices else ""
        named = {"stage": self._stage, "teacher": self._identity, "prices": source}
        sums = {prompt: one for prompt, one in self._sums.items() if one.requests or one.lost}
        return [Cost(**named, prompt=prompt, **one.numbers()) for prompt, one in sums.items()]

    def most(self, body: Json, size_bytes: int) -> float | None:
        """The most that a request can cost: a token has at least one byte, and an answer at most `max_tokens`. None if
        no price is known or the answer has no limit."""
        if self.prices is None:
            return None
        if (limit := limit_of(body)) is None:
            return None
        tokens, tier = Usage(prompt_tokens=size_bytes, completion_tokens=limit * int(body.get("n", 1))), _tier(body)
        usd = self.prices.usd(tokens, tier=tier) or 0.0
        if tier not in ("", "auto"):
            return max(usd, self.prices.usd(tokens) or 0.0)  # what is to be flexible may be served as any other
        return usd * max(self._dearer.values())  # a project may have a tier of its own

    async def failed(self, reserved: Reserved, failure: BaseException, *, is_sent: bool) -> None:
        """No answer came: free what was set aside, unless the request may have been paid for all the same."""
        cancelled = isinstance(failure, asyncio.CancelledError)
        # Beside what is unanswered: an error that the server itself told of.
        may_be_paid = is_sent and (cancelled or (isinstance(failure, UnansweredError) and failure.may_be_paid))
        records = self._unanswered(reserved, may_be_paid=may_be_paid)
        if cancelled:
            self._store.append(*records)  # nobody waits for it
        elif records:
            await self._store.put(*records)

    def lose(self, reserved: Reserved) -> None:
        """Nobody will know what it has cost."""
        self._store.append(*self._unanswered(reserved, may_be_paid=True))

    @property
    def holds(self) -> bool:
        """Whether the most that a request can cost is in the store before it is sent."""
        return self._store.budget is not None and not self._is_free

    def mark(self, prompt: str, body: Json, size_bytes: int) -> Reserved:
        """Mark a request as on the wire, where nothing has to be set aside for it."""
        if self._is_free:
            return Reserved(body, prompt, None)
        usd, wire = self.most(body, size_bytes), self._sum(prompt)
        if wire.send(usd):
            self._store.mark(wire.mark)
        return Reserved(body, prompt, None, usd=usd, marked=True)

    async def reserve(self, prompt: str, body: Json, size_bytes: int, stopped: Callable[[], bool]) -> Reserved:
        """Set aside, durably, the most that a request of `size_bytes` can cost, before it is sent; without a cap only
        mark it as on the wire. `settle` is then told of its answer, or `failed` of what came instead.

        Raises BudgetReached, StoppedError, and SpecError where the most is not known.
        """
        if not self.holds:
            return self.mark(prompt, body, size_bytes)
        budget, usd = self._store.budget, self.most(body, size_bytes)
        assert budget is not None
        if usd is None:
            raise no_cap(budget.caps[0].name, self._teacher, self.prices)
        if not await budget.reserve(usd, stopped):
            raise StoppedError
        if stopped():
            budget.settle(usd, 0.0)
            raise StoppedError
        hold = self._hold(prompt, usd)
        reserved = Reserved(body, prompt, hold, usd=usd)
        try:
            await self._store.put(hold)
        except BaseException:
            self._store.append(*self._unanswered(reserved, may_be_paid=False))
            raise
        return reserved

    def _unanswered(self, reserved: Reserved, *, may_be_paid: bool) -> list[Record]:
        """What is to be written of a request without an answer."""
        self._off_wire(reserved)
        hold, budget = reserved.hold, self._store.budget
        if hold is not None and budget is not None:
            budget.settle(hold.usd or 0.0, None if may_be_paid else 0.0)
        if not may_be_paid:
            return [] if hold is None else [hold.model_copy(update={"open": False})]
        if self._is_free:
            return []
        held = hold or self._hold(reserved.prompt, reserved.usd)
        self._sum(reserved.prompt).lose(held.usd)
        return [held] if hold is None else []

    def settle(
        self, reserved: Reserved, usage: Usage | None, charged: float | None, tier: Any = None
    ) -> tuple[float | None, list[Record]]:
        """The cost of an answered request, and what is to be written beside its answer.

        `charged` is what the provider says that it has charged: it counts before our reckoning. Without it and without
        a count of tokens, or without a price, the cost is unknown. `tier` is the one that the provider says it was
        served in, which may be another one than was asked for.
        """
        self._off_wire(reserved)
        if tier and self.prices is not None and str(tier) not in self._dearer:
            some = Usage(prompt_tokens=1_000, completion_tokens=1_000)
            usual, served = self.prices.usd(some), self.prices.usd(some, tier=str(tier))
            self._dearer[str(tier)] = served / usual if usual and served else 1.0
        usd = charged
        if usd is None and usage is not None and self.prices is not None:
            listed = self.prices
            usd = (
                listed.in_batch(usage) if reserved.batch else listed.usd(usage, tier=str(tier or _tier(reserved.body)))
            )
        if usd is None and self._is_free:
            usd = 0.0
        self._sum(reserved.prompt).add(usage, usd)
        if reserved.hold is None:
            if usd and self._store.budget is not None:
                self._store.budget.charge(usd)
                self._charges = True
            return usd, []
        if self._store.budget is not None:
            self._store.budget.settle(reserved.hold.usd or 0.0, usd)
        return usd, [] if usd is None else [reserved.hold.model_copy(update={"open": False})]

    def _off_wire(self, reserved: Reserved) -> None:
        if reserved.marked:
            wire = self._sum(reserved.prompt)
            wire.on_wire -= 1
            wire.on_wire_usd = wire.on_wire_usd - (reserved.usd or 0.0) if wire.on_wire else 0.0

    def _sum(self, prompt: str) -> _Sum:
        if (known := self._sums.get(prompt)) is None:
            known = self._sums[prompt] = _Sum(self._hold(prompt, None))
        return known

    def _hold(self, prompt: str, usd: float | None) -> Hold:
        return Hold(id=uuid.uuid4().hex, usd=usd, stage=self._stage, teacher=self._identity, prompt=prompt)


def no_cap(name: str, teacher: TeacherSettings, prices: Prices | None) -> SpecError:
    """Why the cap `name` cannot be kept: a price is not known, or else there is no limit to an answer."""
    if prices is None:
        keys = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens")
        absent = [f"teacher.{key}" for key in keys if getattr(teacher, key) is None]
        part = "no price" if len(absent) == len(keys) else "not every price"
        return SpecError(
            f"{name} cannot be kept: {part} of model '{teacher.model}' is known.",
            where="teacher",
            why="Nobody could tell before a request what it may cost.",
            fix=f"Set {' and '.join(absent)} (0 where it is free), or leave the cap out.",
        )
    return SpecError(
        f"{name} cannot be kept: the sampling has no max_tokens.",
        why="An answer could be of any length, and cost any amount.",
        fix="Set max_tokens in the sampling table, as in generate.forward.sampling.max_tokens = 512.",
    )


def _tier(body: Json) -> str:
    return str(body.get("service_tier") or "")
