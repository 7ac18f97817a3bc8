"""When a request to a teacher may be sent, to which of its addresses, and when it is sent again or given up."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from schemas.errors import TeacherError, Unreachable
from synth.chat_completions import (
    Answer,
    BrokenError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
)
from synth.rate_limits import RateLimit, left_by_headers

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
FIRST_CONNECT_TRIES = 3
TIMEOUT_RETRIES = 2  # each of them may have been paid for, and the next is given twice the time
_MARK_WEIGHT = 1 / 16  # of the newest answer in the share of throttled ones; DCTCP's g
_FAILURES_TO_REST = 3  # in a row, before an address is left alone while another answers
_UNKNOWN_COMPLETION_TOKENS = 256


class TeacherHost:
    """One address of a teacher, and how it has done lately.

    `window` is how many requests it is given at once. It shrinks by half the share of throttled answers, once a round,
    and grows by a sixteenth of the concurrency a round (DCTCP; Alizadeh et al., SIGCOMM 2010): a stray 429 costs
    next to nothing, a server that throttles everything is asked half as much each time. One that `may_rest`, because
    there are others, is left alone for a while after failures in a row, and then asked once.
    """

    def __init__(self, url: str, concurrency: int, *, may_rest: bool) -> None:
        self.url = url
        self._may_rest = may_rest
        self.connected = False
        self.sending: dict[int, Sending] = {}
        self.sent = 0
        self.window = float(concurrency)
        self.opens_at = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._most, self._step = float(concurrency), max(1.0, concurrency / 16)
        self._throttled = 0.0
        self._cut_at = 0
        self._failures = self._rests = 0
        self._told_by = 0
        self._left: dict[str, tuple[float, float]] = {}  # unit -> what is left of it, until when

    def takes(self, tokens: float, now: float) -> bool:
        """Whether one more request may go there at `now`."""
        resting = self._failures >= _FAILURES_TO_REST
        return len(self.sending) + 1 <= (1 if resting else self.window) and self.free_at(tokens, now) <= now

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
        if self._look is None or self._look.when() > at:
            if self._look is not None:
                self._look.cancel()
            self._look = loop.call_at(at, self._look_at_clocks, loop)

    def _look_at_clocks(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look, now = None, loop.time()
        at = min((sending.look(now, older) for older, sending in enumerate(self.sending.values())), default=math.inf)
        if at < math.inf:
            self.watch(at, loop)

    def succeeded(self) -> None:
        self._failures = self._rests = 0
        self._throttled -= self._throttled * _MARK_WEIGHT
        if self.window < self._most:
            self.window = min(self._most, self.window + self._step / self.window)

    def failed(self, sending: Sending, failure: UnansweredError, newest: int, now: float) -> None:
        throttled = isinstance(failure, ThrottledError | TimedOutError) or failure.retry_after_s is not None
        if self._may_rest and not isinstance(failure, ThrottledError):
            self._failures += 1
            if self._failures >= _FAILURES_TO_REST and now >= self.opens_at:
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
    """A request on the wire: the `number`-th of its flow, sent to `host` with a reckoned number of tokens.

    As a block it raises TimedOutError `limit_s` after it was entered, or, while the server still answers requests that
    were sent before this one, after the last of those: it stands in that server's queue.
    """

    __slots__ = ("_cancelling", "_late", "_older", "_since", "host", "limit_s", "number", "sent_at", "task", "tokens")

    def __init__(self, host: TeacherHost, number: int, sent_at: float, tokens: float, limit_s: float) -> None:
        self.host, self.number, self.sent_at, self.tokens, self.limit_s = host, number, sent_at, tokens, limit_s
        self.task: asyncio.Task[Any] | None = None
        self._late = False

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self.task, self._cancelling = task, task.cancelling()
        self._since, self._older = loop.time(), len(self.host.sending) - 1
        self.host.watch(self._since + self.limit_s / 8, loop)

    def look(self, now: float, older: int) -> float:
        """End the block if its time is over, while `older` requests before it are on the wire; when to look again."""
        if self.task is None or self._late:
            return math.inf
        if older < self._older:
            self._since, self._older = now, older
        if (left_s := self._since + self.limit_s - now) > 0:
            return now + min(left_s, self.limit_s / 8)
        self._late = self.task.cancel()
        return math.inf

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self.task = self.task, None
        if self._late and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimedOutError(
                f"no answer within {self.limit_s:g} s; raise teacher.timeout_s if it needs longer"
            ) from None


class _Tries:
    """What has become of one question so far."""

    counted = waits = timeouts = 0
    host: TeacherHost | None = None
    limit_s = 0.0  # that its answer may take
    first_at = looked_at = 0.0  # when it was first sent, and when its last failure was, or that


_Waiter = tuple["asyncio.Future[Sending]", float, _Tries]


class Flow:
    """The traffic to one teacher, at one address or several of the same model.

    At most `concurrency` requests are on the wire, each at the least busy address that may be asked: within its window
    (see `TeacherHost`), within what its headers leave, and not at rest after failures. `requests_per_minute` and
    `tokens_per_minute` hold for all addresses together; tokens are reckoned before sending and settled by the answer.

    `retries` is how often a request that brought no answer is sent again, after a wait of full-jitter exponential
    backoff (uniform in [0, min(30 s, first * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015) or
    of Retry-After and up to a tenth more, if that is longer. `first` is `backoff_s`, or the time that an answer takes
    where others are answered and that is shorter. A request that waits takes no place from others, and one that was
    throttled while others were answered has not been tried: it waits its turn, at most ten minutes.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        retries: int,
        backoff_s: float,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.draining = asyncio.Event()
        self.retries_by_kind: Counter[str] = Counter()
        self.in_flight = 0
        self.concurrency = concurrency
        self.hosts: tuple[TeacherHost, ...] = ()
        self._retries, self._backoff_s = retries, backoff_s
        self._requests = RateLimit(requests_per_minute) if requests_per_minute else None
        self._tokens = RateLimit(tokens_per_minute) if tokens_per_minute else None
        self._number = 0
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._given_up_in_a_row = 0
        self._answered_at = -1.0
        self._answer_s = backoff_s
        self._completion_tokens: float | None = None

    def to(self, urls: Sequence[str]) -> None:
        """Send to these addresses."""
        self.hosts = tuple(TeacherHost(url, self.concurrency, may_rest=len(urls) > 1) for url in urls)

    def drain(self) -> None:
        """Send nothing more: what is on the wire may finish; one that waits raises StoppedError."""
        self.draining.set()
        self._let_go(StoppedError())

    async def through(
        self,
        send: Callable[[Sending], Awaitable[Answer]],
        *,
        prompt_bytes: int,
        max_tokens: int | None,
        n: int,
        limit_s: float,
    ) -> Answer:
        """What `send` brings, sent when it may be and again until there is an answer, which may take `limit_s`.

        Raises what `send` raises, UnansweredError after all retries, Unreachable, TeacherError for a wait of more than
        ten minutes, and StoppedError after `drain()`.
        """
        tries = _Tries()
        tries.limit_s = limit_s
        tokens = prompt_bytes / 4 + n * (self._completion_tokens or max_tokens or _UNKNOWN_COMPLETION_TOKENS)
        while True:
            sending = self._at_once(tokens, tries) or await self._turn(tokens, tries)
            used, failure, answer = tokens, None, None
            try:
                answer = await send(sending)
            except RefusedError as refusal:
                answer = refusal.answer
                raise
            except UnansweredError as unanswered:
                used, failure = 0, unanswered
            finally:
                self._done(sending, answer, failure, used)
            if answer is not None:
                return answer
            assert failure is not None
            await self._wait_or_give_up(failure, tries)

    # -- a place on the wire -------------------------------------------------------------------------------------

    def _at_once(self, tokens: float, tries: _Tries) -> Sending | None:
        if self.draining.is_set():
            raise StoppedError
        if self._waiting or self.in_flight >= self.concurrency:
            return None
        now = asyncio.get_running_loop().time()
        host = self._ready(tokens, tries, now)
        return None if host is None else self._sent(host, tokens, tries, now)

    async def _turn(self, tokens: float, tries: _Tries) -> Sending:
        future: asyncio.Future[Sending] = asyncio.get_running_loop().create_future()
        # What was sent before stands in front of what was not: otherwise a row could starve.
        (self._waiting.appendleft if tries.waits else self._waiting.append)((future, tokens, tries))
        self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._done(future.result(), None, None, 0)
            raise

    def _ready(self, tokens: float, tries: _Tries, now: float) -> TeacherHost | None:
        if self.in_flight >= self.concurrency or self._paced_until() > now:
            return None
        if len(self.hosts) == 1:
            return self.hosts[0] if self.hosts[0].takes(tokens, now) else None
        free = [host for host in self.hosts if host.takes(tokens, now)]
        return min(free, key=lambda h: (h is tries.host, len(h.sending) / h.window, h.sent), default=None)

    def _paced_until(self) -> float:
        if self._requests is None and self._tokens is None:
            return 0.0
        return max(pace.free_at for pace in (self._requests, self._tokens) if pace is not None)

    def _sent(self, host: TeacherHost, tokens: float, tries: _Tries, now: float) -> Sending:
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        self._number += 1
        self.in_flight += 1
        sending = Sending(host, self._number, now, tokens, tries.limit_s * 2.0**tries.timeouts)
        tries.host = host
        if not tries.first_at:
            tries.first_at = tries.looked_at = now
        host.send(sending)
        return sending

    def _done(self, sending: Sending, answer: Answer | None, failure: UnansweredError | None, used: float) -> None:
        now = asyncio.get_running_loop().time()
        self.in_flight -= 1
        sending.host.sending.pop(sending.number, None)
        if answer is not None:
            self._given_up_in_a_row = 0
            self._answered_at = now
            self._answer_s += (now - sending.sent_at - self._answer_s) / 8
            sending.host.succeeded()
            if answer.usage is not None:
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                each = answer.usage.completion_tokens / max(1, len(answer.choices))
                self._completion_tokens = each if self._completion_tokens is None else self._completion_tokens
                self._completion_tokens += (each - self._completion_tokens) / 8
        elif failure is not None:
            sending.host.failed(sending, failure, self._number, now)
        if self._tokens is not None:
            self._tokens.settle(used - sending.tokens)
        if self._waiting:
            self._dispatch()

    def _dispatch(self) -> None:
        """Give places to those who wait, and look again when the next one comes free by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.in_flight >= self.concurrency:
            return  # whoever is done looks again
        while self._waiting:
            future, tokens, tries = self._waiting[0]
            if not future.done():
                if (host := self._ready(tokens, tries, now)) is None:
                    break
                future.set_result(self._sent(host, tokens, tries, now))
            self._waiting.popleft()
        if not self._waiting:
            return
        at = max(self._paced_until(), min(host.free_at(tokens, now) for host in self.hosts))
        if at - now > MAX_RETRY_AFTER_S and not self.in_flight:
            self._let_go(_too_long(at - now, self.hosts[0].url))
        elif at > now:
            self._timer = loop.call_at(at, self._dispatch)

    def _let_go(self, error: Exception) -> None:
        while self._waiting:
            future, _, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    # -- again, or not -------------------------------------------------------------------------------------------

    async def _wait_or_give_up(self, failure: UnansweredError, tries: _Tries) -> None:
        """Wait before the next try, or raise what the failure amounts to."""
        assert tries.host is not None
        where, now = tries.host.url, asyncio.get_running_loop().time()
        others_answered, tries.looked_at = self._answered_at > tries.looked_at, now
        waited_s = now - tries.first_at
        tries.waits += 1
        if not (isinstance(failure, ThrottledError) and others_answered and waited_s < MAX_RETRY_AFTER_S):
            tries.counted += 1
        tries.timeouts += isinstance(failure, TimedOutError)
        never = not any(host.connected for host in self.hosts)
        if never and isinstance(failure, BrokenError) and tries.counted >= FIRST_CONNECT_TRIES + len(self.hosts) - 1:
            raise unreachable(str(failure), where)
        if tries.counted > self._retries or tries.timeouts > TIMEOUT_RETRIES:
            self._given_up_in_a_row += 1
            if self._given_up_in_a_row >= max(10, self.concurrency):
                raise Unreachable(
                    f"The teacher has left the last {self._given_up_in_a_row} requests unanswered ({failure}).",
                    where=where,
                    why="Going on would fail every row that is left.",
                    fix="Everything answered is kept. See that the endpoint works, then run the same command again.",
                )
            raise failure
        passing = others_answered and isinstance(failure, ThrottledError | ServerFaultError)
        first_s = min(self._backoff_s, self._answer_s) if passing else self._backoff_s
        wait_s = random.uniform(0, longest_backoff_s(first_s, tries.waits))
        if failure.retry_after_s is not None:
            if failure.retry_after_s > MAX_RETRY_AFTER_S:
                raise _too_long(failure.retry_after_s, where)
            wait_s = max(wait_s, failure.retry_after_s * random.uniform(1, 1.1))
        try:
            async with asyncio.timeout(wait_s):
                await self.draining.wait()
        except TimeoutError:
            self.retries_by_kind[failure.word] += 1
            return
        raise StoppedError


def longest_backoff_s(first_s: float, tries: int) -> float:
    """The upper bound of the wait after the `tries`-th try: it doubles from `first_s` up to 30 s."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(tries - 1, 64))


def unreachable(reason: str, where: str) -> Unreachable:
    """Nothing has ever answered at `where`."""
    return Unreachable(
        f"Nothing answers at the teacher's address ({reason}).",
        where=where,
        fix="Start the server or correct teacher.url; 'pairsmith doctor' tries it without spending anything.",
    )


def _too_long(wait_s: float, where: str) -> TeacherError:
    return TeacherError(
        f"The teacher asks to wait {wait_s:.0f} s before the next request.",
        where=where,
        fix="Everything answered is kept. Run the same command again then, or lower teacher.concurrency.",
    )
