"""So many at once, and the one who has waited longest next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol


class Waiter(Protocol):
    """Who waits for a place: a future, or what is told of it as one is."""

    def done(self) -> bool: ...
    def set_result(self, place: Any, /) -> None: ...
    def set_exception(self, error: Exception, /) -> None: ...


class Places:
    """A semaphore whose places are handed over as they are given back. asyncio's looks again, for each of them, at all
    who were let in and have not run yet: of a commit that lets sixty in, at sixty for each."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Waiter] = deque()
        self.taken = _Taken(self)

    def take(self, turn: Waiter) -> None:
        """Give `turn` a place, now or as soon as there is one; it is told by None."""
        if self._free:  # nobody waits
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.append(turn)

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given a place in the same moment
                self.give_back()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Hand a place to who has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _Taken:
    """A block for who has a place already, which it gives back."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc: object) -> None:
        self._places.give_back()
