"""The cap on what a project may spend: money is reserved before a request is sent, and settled when its cost is known.

What is reserved is the most that a request can cost, so whatever is in flight cannot go beyond the cap. The sums begin
with what the ledger says, so they survive restarts. Answers whose cost is unknown, from before there was a cap, are not
in them. Where a provider charges more than the prices known, the dearest request counts for each that is in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from schemas.errors import BudgetReached
from schemas.money import Cost, dollars, rounded_up

_PROJECT = "budget.max_usd"


class Cap(NamedTuple):
    """At most `usd` in all, `before` of which does not count; `name` is where it was set."""

    usd: float
    before: float
    name: str


class Budget:
    """The caps of one store: the project's and this command's, for whatever is asked through its ledger."""

    def __init__(self, spent: Cost, *, project_usd: float | None = None, command_usd: float | None = None) -> None:
        self._settled = spent.usd + spent.reserved
        self.caps: list[Cap] = []
        self.cap(project_usd, command_usd)
        self._pending, self._requests = 0.0, 0
        self._dearest = 0.0  # what a request has cost at most, of those that cost more than was reserved for them
        self._waiting: list[asyncio.Future[None]] = []

    def cap(self, project_usd: float | None, command_usd: float | None, name: str = "--max-usd") -> list[Cap]:
        """Add caps to those that stand, and return them: the project's counts all, a command's what comes from now."""
        more = [Cap(project_usd, 0.0, _PROJECT)] if project_usd is not None else []
        more += [Cap(command_usd, self._settled, name)] if command_usd is not None else []
        self.caps += more
        return more

    async def reserve(self, usd: float, stopped: Callable[[], bool]) -> bool:
        """Set `usd` aside, once what is in flight has left room for it; False if the run was stopped before.

        Raises BudgetReached if it does not fit although nothing is in flight.
        """
        while (cap := self._short_of(usd)) is not None:
            if stopped():
                return False
            if not self._requests:
                raise self._reached(cap, max(usd, self._dearest))
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        self._pending += usd
        self._requests += 1
        return True

    def charge(self, usd: float) -> None:
        """Something that was taken to be free was charged for."""
        self._settled += usd
        self._dearest = max(self._dearest, usd)

    def settle(self, reserved: float, usd: float | None) -> None:
        """A request has cost `usd` (None: nobody knows, so what was reserved stays)."""
        self._requests -= 1
        self._pending = self._pending - reserved if self._requests else 0.0  # no rounding is left over
        self._settled += reserved if usd is None else usd
        if usd is not None and usd > reserved:
            self._dearest = max(self._dearest, usd)
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)

    def _short_of(self, usd: float) -> Cap | None:
        used = self._settled + max(self._pending + usd, (self._requests + 1) * self._dearest)
        return next((cap for cap in self.caps if used - cap.before > cap.usd), None)

    def _reached(self, cap: Cap, usd: float) -> BudgetReached:
        used = self._settled - cap.before
        # A command that runs again begins to count anew.
        needs = {one: usd + (self._settled if one.name == _PROJECT else 0.0) for one in self.caps}
        short = [f"{one.name} to {rounded_up(least)} or more" for one, least in needs.items() if least > one.usd]
        raised = f"raise {' and '.join(short)}, or lower max_tokens, and run the same command again"
        again = f"run the same command again, which may spend {dollars(cap.usd)} once more"
        state = f"is reached: {dollars(used)} is spent or held for requests without an answer, and the next request"
        reached = BudgetReached(
            f"the budget of {dollars(cap.usd)} {state if used else 'does not hold a single request, which'} may cost "
            f"{dollars(usd)}.",
            where=cap.name,
            fix=f"Every answer is in the store. To go on from here {raised if short else again}.",
        )
        reached.request_usd = usd
        return reached
