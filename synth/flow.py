"""When a request to a teacher may be sent, and when it is sent again or given up."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from schemas.errors import TeacherError, Unreachable
from synth.chat_completions import BrokenError, StoppedError, TimedOutError, UnansweredError

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
FIRST_CONNECT_TRIES = 3


class Flow:
    """The state of the requests to one teacher.

    `retries` is how often a request that brought no answer is sent again, after a wait of full-jitter exponential
    backoff (uniform in [0, min(30 s, backoff_s * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)
    or of Retry-After if that is longer.
    """

    def __init__(self, *, concurrency: int, retries: int, backoff_s: float) -> None:
        self.draining = asyncio.Event()
        self.retries_by_kind: Counter[str] = Counter()
        self._retries, self._concurrency, self._backoff_s = retries, concurrency, backoff_s
        self._connected = False
        self._given_up_in_a_row = 0

    def drain(self) -> None:
        """Send nothing more: what is on the wire may finish; one that waits raises StoppedError."""
        self.draining.set()

    def heard(self) -> None:
        """Something has answered, whatever it said."""
        self._connected = True

    def answered(self) -> None:
        """A request was answered, if only by a refusal that concerns it alone."""
        self._given_up_in_a_row = 0

    async def wait_or_give_up(self, failure: UnansweredError, tries: int, where: str) -> None:
        """Wait before the next try, or raise what the failure amounts to."""
        if not self._connected and isinstance(failure, BrokenError | TimedOutError) and tries >= FIRST_CONNECT_TRIES:
            raise unreachable(str(failure), where)
        if tries > self._retries:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= max(10, self._concurrency):
                raise Unreachable(
                    f"The teacher has left the last {self._given_up_in_a_row} requests unanswered ({failure}).",
                    where=where,
                    why="Going on would fail every row that is left.",
                    fix="Everything answered is kept. See that the endpoint works, then run the same command again.",
                )
            raise failure
        wait_s = random.uniform(0, longest_backoff_s(self._backoff_s, tries))
        if failure.retry_after_s is not None:
            if failure.retry_after_s > MAX_RETRY_AFTER_S:
                raise TeacherError(
                    f"The teacher asks to wait {failure.retry_after_s:.0f} s before the next request.",
                    where=where,
                    fix="Everything answered is kept. Run the same command again then, or lower teacher.concurrency.",
                )
            wait_s = max(wait_s, failure.retry_after_s)
        try:
            async with asyncio.timeout(wait_s):
                await self.draining.wait()
        except TimeoutError:
            self.retries_by_kind[failure.word] += 1
            return
        raise StoppedError


def longest_backoff_s(first_s: float, tries: int) -> float:
    """The upper bound of the wait after the `tries`-th try: it doubles from `first_s` up to 30 s."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** (tries - 1))


def unreachable(reason: str, where: str) -> Unreachable:
    """Nothing has ever answered at `where`."""
    return Unreachable(
        f"Nothing answers at the teacher's address ({reason}).",
        where=where,
        fix="Start the server or correct teacher.url; 'pairsmith doctor' tries it without spending anything.",
    )
