"""The cap on a project's spending: money is reserved before a request is sent and settled when its cost is known.

The maximum cost of a request is reserved, so requests in flight cannot exceed the cap together. The totals start from
the ledger, so they survive restarts. Answers of unknown cost, from before there was a cap, are not included. If a
provider charges more than the known prices, every request in flight counts as much as the most expensive one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from schemas.errors import BudgetReached
from schemas.money import Cost, dollars, rounded_up

_PROJECT = "budget.max_usd"


class Cap(NamedTuple):
    """At most `usd` in total, of which the first `before` do not count; `name` is where the cap was set."""

    usd: float
    before: float
    name: str


class Budget:
    """The caps of one store, the project's and this command's, for everything requested through its ledger."""

    def __init__(self, spent: Cost, *, project_usd: float | None = None, command_usd: float | None = None) -> None:
        self._settled = spent.usd + spent.reserved
        self.caps: list[Cap] = []
        self.cap(project_usd, command_usd)
        self._pending, self._requests = 0.0, 0
        self._highest_cost = 0.0  # the highest cost among requests that cost more than was reserved for them
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
        """Reserve `usd`, waiting until requests in flight leave room for it; False if the run was stopped first.

        Raises BudgetReached if it does not fit although nothing is in flight.
        """
        while (cap := self._short_of(usd)) is not None:
            if stopped():
                return False
            if not self._requests:
                raise self._reached(cap, max(usd, self._highest_cost))
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change
        self._pending += usd
        self._requests += 1
        return True

    def hold_first(self, amounts: Iterable[float]) -> int:
        """Hold as many of these amounts as fit, in their order; return how many."""
        count = 0
        for usd in amounts:
            if self._short_of(usd) is not None:
                break
            self._settled, count = self._settled + usd, count + 1
        return count

    def refusal(self, usd: float) -> BudgetReached | None:
        """The error for `usd` if it does not fit."""
        cap = self._short_of(usd)
        return None if cap is None else self._reached(cap, usd)

    def charge(self, usd: float) -> None:
        """Count the cost of something that was assumed to be free."""
        self._settled += usd
        self._highest_cost = max(self._highest_cost, usd)

    def settle(self, reserved: float, usd: float | None) -> None:
        """Replace a reservation by the actual cost `usd`; if it is None (unknown), the reserved amount stays."""
        self._requests -= 1
        self._pending = self._pending - reserved if self._requests else 0.0  # drop rounding errors
        self._settled += reserved if usd is None else usd
        if usd is not None and usd > reserved:
            self._highest_cost = max(self._highest_cost, usd)
        for error, cap in list(self._raised.items()):  # smaller requests may be sent until the run ends
            self._explain(error, cap)
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
