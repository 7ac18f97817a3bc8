"""A fair semaphore: a limited number of places, handed over in the order of waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol


class Waiter(Protocol):
    """Something that waits for a place: a future, or an object with the same three methods."""

    def done(self) -> bool: ...
    def set_result(self, place: Any, /) -> None: ...
    def set_exception(self, error: Exception, /) -> None: ...


class FairSemaphore:
    """A semaphore that hands each returned place directly to the next waiter.

    asyncio's semaphore rescans, for each place, all waiters that were admitted and have not run yet: when one commit
    admits sixty, that is sixty steps for each of them.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Waiter] = deque()

    def take(self, waiter: Waiter) -> None:
        """Give `waiter` a place, now or as soon as one is free, by calling `set_result(None)`."""
        if self._free:  # so nobody is waiting
            self._free -= 1
            waiter.set_result(None)
        else:
            self._waiting.append(waiter)

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it was given a place at the same moment
                self.give_back()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self.give_back()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """A context for a place that is already held: it only returns the place at the end."""
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Return a place: it goes to the waiter that has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
