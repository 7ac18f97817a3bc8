"""The cap on a project's spending: money is reserved before a request is sent and settled when its cost is known.

The maximum cost of a request is reserved, so requests in flight cannot exceed the cap together. The totals start from
the ledger, so they survive restarts. Answers of unknown cost, from before there was a cap, are not included. If a
provider charges more than the known prices, every request in flight counts as much as the most expensive one, also
after a restart (`expect`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from schemas.errors import BudgetReached
from schemas.money import Cost, dollars, rounded_up

_PROJECT = "budget.max_usd"


@dataclass(eq=False)
class Cap:
    """At most `usd` in total, of which the first `before` do not count; `name` is where the cap was set, and `batches`
    are those submitted since."""

    usd: float
    before: float
    name: str
    batches: set[str] = field(default_factory=set)


class Budget:
    """The caps of one store, the project's and this command's, for everything requested through its ledger."""

    def __init__(self, spent: Cost, *, project_usd: float | None = None, command_usd: float | None = None) -> None:
        self._settled = spent.usd + spent.reserved
        self.caps: list[Cap] = []
        self.cap(project_usd, command_usd)
        self._pending, self._requests = 0.0, 0
        self._highest_cost = 0.0  # the highest cost among requests that cost more than was reserved for them
        self.unread = set[object]()  # batches in flight, which may turn out cheaper than what is held for them
        self._waiting: list[asyncio.Future[None]] = []
        self._raised = WeakKeyDictionary[BudgetReached, Cap]()

    def cap(self, project_usd: float | None, command_usd: float | None, name: str = "--max-usd") -> list[Cap]:
        """Add caps and return them: the project's cap counts all spending, a command's cap only spending from now
        on."""
        more = [Cap(project_usd, 0.0, _PROJECT)] if project_usd is not None else []
        more += [Cap(command_usd, self._settled, name)] if command_usd is not None else []
        self.caps += more
        return more

    async def reserve(self, usd: float, stopped: Callable[[], bool]) -> bool:
        """Reserve `usd`, waiting until what is in flight leaves room for it; False if the run was stopped first.

        Raises BudgetReached if it does not fit although nothing is in flight.
        """
        if not await self._has_room(usd, stopped):
            return False
        self._pending += usd
        self._requests += 1
        return True

    async def hold_first(self, batch: str, amounts: Sequence[float], stopped: Callable[[], bool]) -> int:
        """Hold as many of these amounts of a batch as fit, in their order, waiting like `reserve` for the first; return
        how many. The batch is in flight until it is `read`."""
        if not await self._has_room(amounts[0], stopped):
            return 0
        count = 0
        while count < len(amounts) and self._short_of(amounts[count]) is None:
            self._settled, count = self._settled + amounts[count], count + 1
        self.unread.add(batch)
        for cap in self.caps:
            cap.batches.add(batch)
        return count

    def read(self, *batches: object) -> None:
        """These batches are in flight no longer."""
        self.unread.difference_update(batches)
        self._wake()

    def correct(self, batch: str, usd: float) -> None:
        """Count `usd` more, or less, for a batch. The cap of a command leaves out batches of earlier commands."""
        self._settled += usd
        for cap in self.caps:
            if cap.name != _PROJECT and batch not in cap.batches:
                cap.before += usd

    def charge(self, usd: float, reserved: float = 0.0) -> None:
        """Count the cost of something for which nothing is reserved any more; `reserved` was."""
        self._settled += usd
        if usd > reserved:
            self.expect(usd)

    def expect(self, usd: float) -> None:
        """Count at least `usd` for each request in flight from now on: one has cost that, and less was reserved."""
        self._highest_cost = max(self._highest_cost, usd)

    def settle(self, reserved: float, usd: float | None) -> None:
        """Replace a reservation by the actual cost `usd`; if it is None (unknown), the reserved amount stays."""
        self._requests -= 1
        self._pending = self._pending - reserved if self._requests else 0.0  # drop rounding errors
        self._settled += reserved if usd is None else usd
        if usd is not None and usd > reserved:
            self.expect(usd)
        for error, cap in list(self._raised.items()):  # smaller requests may be sent until the run ends
            self._explain(error, cap)
        self._wake()

    async def _has_room(self, usd: float, stopped: Callable[[], bool]) -> bool:
        """Wait for room for `usd`, as `reserve` does."""
        while (cap := self._short_of(usd)) is not None:
            if stopped():
                return False
            if not self._requests and not self.unread:
                raise self._reached(cap, max(usd, self._highest_cost))
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change
        return True

    def _wake(self) -> None:
        """Let everything that waits for room look again."""
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def _short_of(self, usd: float) -> Cap | None:
        used = self._settled + max(self._pending + usd, (self._requests + 1) * self._highest_cost)
        return next((cap for cap in self.caps if used - cap.before > cap.usd), None)

    def _reached(self, cap: Cap, usd: float) -> BudgetReached:
        error = BudgetReached("")
        error.request_usd = usd
        self._explain(error, cap)
        self._raised[error] = cap
        return error

    def _explain(self, error: BudgetReached, cap: Cap) -> None:
        """Write the message of `error`, with what is spent by now."""
        used, usd = self._settled - cap.before, error.request_usd or 0.0
        # The command's cap starts from zero when the command runs again.
        needs = {one: usd + (self._settled if one.name == _PROJECT else 0.0) for one in self.caps}
        too_low = [f"{one.name} to {rounded_up(needed)} or more" for one, needed in needs.items() if needed > one.usd]
        raise_caps = f"raise {' and '.join(too_low)}, or lower max_tokens, and run the same command again"
        rerun = f"run the same command again, which may spend {dollars(cap.usd)} once more"
        state = f"is reached: {dollars(used)} is spent or reserved for requests without an answer; the next request"
        BudgetReached.__init__(
            error,
            f"the budget of {dollars(cap.usd)} {state if used else 'does not cover a single request, which'} may cost "
            f"{dollars(usd)}.",
            where=cap.name,
            fix=f"Every answer is in the store. To continue, {raise_caps if too_low else rerun}.",
        )
