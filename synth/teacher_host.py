"""One address of a teacher, what is on the wire there, and how it has done lately."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from synth.chat_completions import DoubtedError, ThrottledError, TimedOutError, UnansweredError
from synth.rate_limits import left_by_headers

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
_MARK_WEIGHT = 1 / 16  # of the newest answer in the share of throttled ones; DCTCP's g
_FAILURES_TO_REST = 3  # in a row, before an address is left alone while another answers
_KEY_REFUSALS = 4  # of a key that was good, one after the other: some three seconds


class TeacherHost:
    """One address of a teacher, and how it has done lately.

    `window` is how many requests it is given at once. It shrinks by half the share of throttled answers, once a round,
    and grows by a sixteenth of the concurrency a round (DCTCP; Alizadeh et al., SIGCOMM 2010): a stray 429 costs
    next to nothing, a server that throttles everything is asked half as much each time. One that `may_rest`, because
    another does not, is left alone for a while after failures in a row, and then asked once. One that refuses the key
    again, with no answer to what was sent after the first refusal, is asked one request at a time, after a wait each.
    """

    def __init__(self, url: str, concurrency: int) -> None:
        self.url = url
        self.connected = False
        self.failure = ""  # the last one
        self.sending: dict[int, Sending] = {}
        self.sent = 0
        self.window = float(concurrency)
        self.opens_at = 0.0
        self._look: tuple[float, asyncio.Handle] | None = None  # uvloop's does not know when, if that is at once
        self._most, self._step = float(concurrency), max(1.0, concurrency / 16)
        self._throttled = 0.0
        self._cut_at = 0
        self._failures = self._rests = 0
        self._key_refusals = self._refused_at = 0  # those on the wire at once are one; the newest then
        self._told_by = 0
        self._left: dict[str, tuple[float, float]] = {}  # unit -> what is left of it, until when

    def takes(self, tokens: float, now: float) -> bool:
        """Whether one more request may go there at `now`."""
        one = self.rests or self._key_refusals > 1
        return len(self.sending) + 1 <= (1 if one else self.window) and self.free_at(tokens, now) <= now

    @property
    def rests(self) -> bool:
        """Whether it is left alone, but for one request now and then."""
        return self._failures >= _FAILURES_TO_REST

    @property
    def key_is_refused(self) -> bool:
        """Whether the key, which was good, is so no more."""
        return self._key_refusals >= _KEY_REFUSALS

    def free_at(self, tokens: float, now: float) -> float:
        """When it may be asked again, if it is not busy."""
        at = self.opens_at
        for unit, (left, until) in self._left.items():
            if now < until and left < (1 if unit == "requests" else tokens):
                at = max(at, until)
        return at

    def send(self, sending: Sending) -> None:
        self.sending[sending.number] = sending
        self.sent += 1
        if self._left:
            for unit, (left, until) in self._left.items():
                self._left[unit] = left - (1 if unit == "requests" else sending.tokens), until

    def told(self, sending: Sending, headers: Mapping[str, str], now: float) -> None:
        """Take note of the limits in an answer's headers. They were counted when that request arrived, so what was
        sent after it is taken off."""
        self.connected = True
        if sending.number <= self._told_by:
            return
        self._left.clear()
        for unit, left, reset_s in left_by_headers(headers):
            self._told_by = sending.number
            later = [other for number, other in self.sending.items() if number > sending.number]
            left -= len(later) if unit == "requests" else sum(other.tokens for other in later)
            tighter = min((left, now + reset_s), self._left.get(unit, (left, now + reset_s)))
            self._left[unit] = tighter

    def watch(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the clocks of all that is on the wire there, `at` the latest: one timer for all of them."""
        if self._look is None or self._look[0] > at:
            if self._look is not None:
                self._look[1].cancel()
            self._look = at, loop.call_at(at, self._look_at_clocks, loop)

    def _look_at_clocks(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look, now = None, loop.time()
        at = min((sending.look(now, older) for older, sending in enumerate(self.sending.values())), default=math.inf)
        if at < math.inf:
            self.watch(at, loop)

    def succeeded(self, number: int) -> None:
        """Its `number`-th request was answered."""
        self._failures = self._rests = 0
        if number > self._refused_at:
            self._key_refusals = 0
        self._throttled -= self._throttled * _MARK_WEIGHT
        if self.window < self._most:
            self.window = min(self._most, self.window + self._step / self.window)

    def failed(self, sending: Sending, failure: UnansweredError, newest: int, now: float, *, may_rest: bool) -> None:
        if isinstance(failure, DoubtedError) and failure.of_key and sending.number > self._refused_at:
            self._refused_at, self._key_refusals = newest, self._key_refusals + 1
            if self._key_refusals > 1:
                self.opens_at = max(self.opens_at, now + longest_backoff_s(0.5, self._key_refusals))
        throttled = isinstance(failure, ThrottledError | TimedOutError) or failure.retry_after_s is not None
        if may_rest and not isinstance(failure, ThrottledError):
            self._failures += 1
            self.failure = str(failure)
            if self.rests and now >= self.opens_at:
                self._rests += 1
                self.opens_at = now + longest_backoff_s(0.5, self._rests)
        if not throttled:
            return
        self._throttled += (1 - self._throttled) * _MARK_WEIGHT
        if sending.number > self._cut_at:
            self._cut_at = newest
            self.window = max(1.0, self.window * (1 - self._throttled / 2))
        if failure.retry_after_s is not None and self._throttled > 0.5:
            self.opens_at = max(self.opens_at, now + min(failure.retry_after_s, MAX_RETRY_AFTER_S))


class Sending:
    """A request on the wire: the `number`-th of its flow, sent to `host` with a reckoned number of tokens. It `is_sent`
    once it has a connection.

    As a block it raises TimedOutError `limit_s` after it was entered, or, while the server still answers requests that
    were sent before this one, after the last of those: it stands in that server's queue. Without a block `begin` is
    told what to call then.
    """

    __slots__ = (
        *("_cancelling", "_end", "_late", "_older", "_since", "_task"),
        *("host", "is_sent", "limit_s", "number", "sent_at", "tokens"),
    )

    def __init__(self, host: TeacherHost, number: int, sent_at: float, tokens: float, limit_s: float) -> None:
        self.host, self.number, self.sent_at, self.tokens, self.limit_s = host, number, sent_at, tokens, limit_s
        self._task: asyncio.Task[Any] | None = None
        self._end: Callable[[], bool] | None = None
        self._late = self.is_sent = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self.begin(task.cancel)

    def begin(self, end: Callable[[], bool]) -> None:
        """Call `end` once the time is over, unless `came` is called before."""
        loop, self._end = asyncio.get_running_loop(), end
        self._since, self._older = loop.time(), len(self.host.sending) - 1
        self.host.watch(self._since + self.limit_s / 8, loop)

    def came(self) -> None:
        """Look at its clock no more."""
        self._end = None

    @property
    def late(self) -> TimedOutError:
        """What it amounts to that its time is over."""
        return TimedOutError(f"no answer within {self.limit_s:g} s; raise teacher.timeout_s if it needs longer")

    def look(self, now: float, older: int) -> float:
        """End the block if its time is over, while `older` requests before it are on the wire; when to look again."""
        if self._end is None or self._late:
            return math.inf
        if older < self._older:
            self._since, self._older = now, older
        if (left_s := self._since + self.limit_s - now) > 0:
            return now + min(left_s, self.limit_s / 8)
        self._late = self._end()
        return math.inf

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task, self._end = self._task, None, None
        if self._late and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self.late from None


def longest_backoff_s(first_s: float, tries: int) -> float:
    """The upper bound of the wait after the `tries`-th try: it doubles from `first_s` up to 30 s."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(tries - 1, 64))
