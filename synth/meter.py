"""The meter of a ledger: the maximum cost of each request before it is sent, and its actual cost afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from schemas.errors import SpecError
from schemas.money import Cost, Hold
from schemas.records import Json, Record, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat.completions import StoppedError, UnansweredError, UnreadableError
from synth.chat.listed_models import is_relayed
from synth.chat.usage import is_from_cache
from synth.prices import FREE, SPEC, Prices, prices_of
from synth.question import max_answer_tokens

_SAMPLE = Usage(prompt_tokens=1_000, completion_tokens=1_000)  # by which prices are compared


class Reserved(NamedTuple):
    """A request that is about to be sent: its body and prompt, its hold in the store if there is a cap, whether it goes
    through a batch API (at the batch price), whether it is marked as in flight, and the most that it can cost."""

    body: Json
    prompt: str
    hold: Hold | None
    batch: bool = False
    marked: bool = False
    usd: float | None = None


class _PromptCost:
    """The costs so far of the requests with one prompt, and those in flight that have no hold."""

    def __init__(self, template: Hold) -> None:
        self.on_wire, self.on_wire_usd = 0, 0.0
        self._marked, self._is_mark_due = 0, False  # count at the last mark; whether another mark is requested
        self._template = template
        self.requests = self.unpriced = self.lost = self.uncounted = 0
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
        self.uncounted += usage is None or not usage.prompt_tokens

    def lose(self, usd: float | None) -> None:
        self.lost += 1
        self.reserved += usd or 0.0

    def send(self, usd: float | None) -> bool:
        """Count one more request in flight. Returns whether a new mark is needed because the last one counts fewer."""
        self.on_wire, self.on_wire_usd = self.on_wire + 1, self.on_wire_usd + (usd or 0.0)
        is_due = self.on_wire > self._marked and not self._is_mark_due
        self._is_mark_due = self._is_mark_due or is_due
        return is_due

    def mark(self) -> Hold:
        """The current number in flight as a record for the store, whose thread calls this."""
        self._marked, self._is_mark_due = 0, False  # first, because another request may be sent meanwhile
        self._marked = count = self.on_wire
        now = {"requests": count, "usd": self.on_wire_usd or None, "open": count > 0}
        return self._template.model_copy(update=now)

    def numbers(self) -> Json:
        """The fields of a Cost."""
        usage = Usage(**dict(zip(Usage.model_fields, self.tokens, strict=True)))
        counts = {name: getattr(self, name) for name in ("requests", "unpriced", "lost", "uncounted")}
        return {**counts, "usage": usage, "usd": self.usd, "reserved": self.reserved}


class Meter:
    """Counts the cost of one ledger's requests, by prompt, and keeps it under the caps of the store's budget."""

    def __init__(self, store: Store, teacher: TeacherSettings, stage: str) -> None:
        self._store, self._teacher, self._stage = store, teacher, stage
        self._identity = teacher.known_as
        self._prompt_costs: dict[str, _PromptCost] = {}
        self._tier_factor = {"": 1.0}  # service tier that served a request -> its price relative to the usual tier

    @cached_property
    def prices(self) -> Prices | None:
        """The teacher's prices, as they were at first use; None if they are unknown."""
        return prices_of(self._teacher)

    @cached_property
    def _overcharge(self) -> float:
        """The most that a request to this teacher has cost, in this or an earlier run, if less was reserved for it."""
        dearest = self._store.holds([self._overcharge_id]).get(self._overcharge_id)
        return (dearest.usd if dearest else None) or 0.0

    @property
    def _overcharge_id(self) -> str:
        reserves = self.prices and self.prices.usd(_SAMPLE, highest=True)  # with corrected prices, it begins anew
        return content_id("overcharge", [self._identity, reserves])

    @property
    def _is_free(self) -> bool:
        return self.prices is not None and self.prices.source == FREE and not self._overcharge

    @property
    def may_charge(self) -> bool:
        """Whether answers may cost money: they have a price, or an account could be charged for them, perhaps that of
        the Ollama on this machine."""
        teacher = self._teacher
        has_account = bool(teacher.key_env or teacher.headers_env or teacher.query_env) or is_relayed(teacher.model)
        return not self._is_free and (has_account or self.prices is not None)

    @property
    def costs(self) -> list[Cost]:
        """The costs by prompt; requests whose outcome is unknown are `lost`."""
        source = self.prices.source if self._prompt_costs and self.prices else ""
        common = {"stage": self._stage, "teacher": self._identity, "prices": source}
        sums = {prompt: one for prompt, one in self._prompt_costs.items() if one.requests or one.lost}
        return [Cost(**common, prompt=prompt, **one.numbers()) for prompt, one in sums.items()]

    def max_usd(self, body: Json, size_bytes: int) -> float | None:
        """The most that a request can cost: a token has at least one byte, and an answer at most `max_tokens` tokens.
        None if the price is unknown or the answer has no limit."""
        if self.prices is None:
            return None
        if (limit := max_answer_tokens(body)) is None:
            return None
        tokens, tier = Usage(prompt_tokens=size_bytes, completion_tokens=limit * int(body.get("n", 1))), _tier(body)
        usd = self.prices.usd(tokens, tier=tier, highest=True)
        if tier not in ("", "auto"):
            # a "flex" request may be served at the usual price
            return max(usd, self.prices.usd(tokens, highest=True))
        return usd * max(self._tier_factor.values())  # a project may have a default tier

    async def failed(self, reserved: Reserved, failure: BaseException, *, is_sent: bool) -> None:
        """Release the hold of a request that brought no answer, unless it may have been charged for."""
        cancelled = isinstance(failure, asyncio.CancelledError)
        # Any other failure is an error that the server itself reported, which costs nothing.
        unclear = isinstance(failure, UnansweredError | UnreadableError) and failure.may_be_paid
        may_be_paid = is_sent and (cancelled or unclear)
        records = self._unanswered(reserved, may_be_paid=may_be_paid)
        if cancelled:
            self._store.append(*records)  # without waiting
        elif records:
            await self._store.put(*records)

    def lose(self, reserved: Reserved) -> None:
        """Record a request whose cost will remain unknown."""
        self._store.append(*self._unanswered(reserved, may_be_paid=True))

    @property
    def holds(self) -> bool:
        """Whether the most that a request can cost must be in the store before it is sent."""
        return self._store.budget is not None and not self._is_free

    def keepable_usd(self, body: Json, size_bytes: int = 0) -> float:
        """`max_usd`. Raises SpecError if it is unknown although there is a cap."""
        usd, budget = self.max_usd(body, size_bytes), self._store.budget
        if usd is None and budget is not None and self.holds:
            raise unkeepable_cap_error(budget.caps[0].name, self._teacher, self.prices)
        return usd or 0.0

    def mark(self, prompt: str, body: Json, size_bytes: int) -> Reserved:
        """Mark a request as in flight, without a hold."""
        if self._is_free:
            return Reserved(body, prompt, None)
        usd, wire = self.max_usd(body, size_bytes), self._prompt_cost(prompt)
        if wire.send(usd):
            self._store.mark(wire.mark)
        return Reserved(body, prompt, None, usd=usd, marked=True)

    async def reserve(self, prompt: str, body: Json, size_bytes: int, stopped: Callable[[], bool]) -> Reserved:
        """Hold, durably, the most that a request of `size_bytes` can cost, before it is sent; without a cap, only mark
        the request as in flight. Afterwards call `settle` with its answer, or `failed` if none came.

        Raises BudgetReached, StoppedError, and SpecError if the maximum cost is unknown.
        """
        if not self.holds:
            return self.mark(prompt, body, size_bytes)
        budget, usd = self._store.budget, self.keepable_usd(body, size_bytes)
        assert budget is not None
        budget.expect(self._overcharge)
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
        """The records to write for a request without an answer."""
        self._remove_from_wire(reserved)
        hold, budget = reserved.hold, self._store.budget
        if hold is not None and budget is not None:
            budget.settle(hold.usd or 0.0, None if may_be_paid else 0.0)
        if not may_be_paid:
            return [] if hold is None else [hold.model_copy(update={"open": False})]
        if self._is_free:
            return []
        held = hold or self._hold(reserved.prompt, reserved.usd)
        self._prompt_cost(reserved.prompt).lose(held.usd)
        return [held] if hold is None else []

    def settle(
        self, reserved: Reserved, usage: Usage | None, charged: float | None, facts: Json | None = None
    ) -> tuple[float | None, list[Record]]:
        """Return the cost of an answered request, and the records to write with its answer.

        `charged` is the amount that the provider reports; it takes precedence over our own calculation. Without it, and
        without token counts or a price, the cost is unknown. `facts` are those of the answer: the service tier that the
        provider reports may differ from the one requested.
        """
        self._remove_from_wire(reserved)
        facts = facts or {}
        tier = facts.get("service_tier")
        if charged == 0 and self.prices and SPEC in self.prices.source and not is_from_cache(facts.get("usage")):
            charged = None  # a gateway that knows no price; a cap would count nothing
        if tier and self.prices is not None and str(tier) not in self._tier_factor:
            usual, served = self.prices.usd(_SAMPLE), self.prices.usd(_SAMPLE, tier=str(tier))
            self._tier_factor[str(tier)] = served / usual if usual and served else 1.0
        usd = charged
        # Ollama reports 0 prompt tokens for a prompt in its cache; no prompt has none.
        if usd is None and usage is not None and usage.prompt_tokens and self.prices is not None:
            listed = self.prices
            usd = (
                listed.batch_usd(usage) if reserved.batch else listed.usd(usage, tier=str(tier or _tier(reserved.body)))
            )
        if usd is None and self._is_free:
            usd = 0.0
        self._prompt_cost(reserved.prompt).add(usage, usd)
        if reserved.hold is None:
            budget, held = self._store.budget, list[Hold]()
            if usd is None and reserved.batch and budget is not None:
                held = [self._hold(reserved.prompt, reserved.usd)]  # no longer held with the batch
            if budget is not None and (charge := reserved.usd if held else usd):
                budget.charge(charge, reserved.usd or 0.0)
            return usd, [*held, *self._overcharged(reserved, usd)]
        if self._store.budget is not None:
            self._store.budget.settle(reserved.hold.usd or 0.0, usd)
        closed = [] if usd is None else [reserved.hold.model_copy(update={"open": False})]
        return usd, [*closed, *self._overcharged(reserved, usd)]

    def _overcharged(self, reserved: Reserved, usd: float | None) -> list[Hold]:
        """The record of a request that cost more than its known maximum, and more than any before."""
        expected = 0.0 if self._is_free else reserved.usd
        if usd is None or expected is None or usd <= max(expected, self._overcharge):
            return []
        self._overcharge = usd
        closed = {"id": self._overcharge_id, "requests": 0, "open": False}
        return [self._hold(reserved.prompt, usd).model_copy(update=closed)]

    def _remove_from_wire(self, reserved: Reserved) -> None:
        if reserved.marked:
            wire = self._prompt_cost(reserved.prompt)
            wire.on_wire -= 1
            wire.on_wire_usd = wire.on_wire_usd - (reserved.usd or 0.0) if wire.on_wire else 0.0

    def _prompt_cost(self, prompt: str) -> _PromptCost:
        if (known := self._prompt_costs.get(prompt)) is None:
            known = self._prompt_costs[prompt] = _PromptCost(self._hold(prompt, None))
        return known

    def _hold(self, prompt: str, usd: float | None) -> Hold:
        return Hold(id=uuid.uuid4().hex, usd=usd, stage=self._stage, teacher=self._identity, prompt=prompt)


def unkeepable_cap_error(name: str, teacher: TeacherSettings, prices: Prices | None, table: str = "") -> SpecError:
    """The error for a cap that cannot be kept: a price is unknown, or else answers have no token limit. `table` is the
    teacher's table in the spec, if it is known."""
    if prices is None:
        keys = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens")
        absent = [f"{table}.{key}" if table else key for key in keys if getattr(teacher, key) is None]
        part = "no price" if len(absent) == len(keys) else "not every price"
        place = "" if table else " in the table of this teacher"
        return SpecError(
            f"{name} cannot be kept: {part} of model '{teacher.model}' is known.",
            where=table or None,
            why="The cost of a request could not be estimated before it is sent.",
            fix=f"Set {' and '.join(absent)}{place} (0 if it is free), or remove the cap.",
        )
    return SpecError(
        f"{name} cannot be kept: the sampling has no max_tokens.",
        why="An answer could have any length and cost any amount.",
        fix="Set max_tokens in the sampling table, for example generate.forward.sampling.max_tokens = 512.",
    )


def _tier(body: Json) -> str:
    return str(body.get("service_tier") or "")
