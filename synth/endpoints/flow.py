"""Decides when and to which address of a teacher a request is sent, and when it is retried or given up."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from schemas.errors import TeacherError
from schemas.progress import Say, discard_message
from synth.chat.completions import (
    Answer,
    RefusedError,
    RefusedHereError,
    StoppedError,
    ThrottledError,
    UnansweredError,
    UnconfirmedError,
)
from synth.endpoints.fair_semaphore import Waiter
from synth.endpoints.first_answers import FirstAnswers
from synth.endpoints.host import (
    MAX_RETRY_AFTER_S,
    InFlight,
    RetryState,
    TeacherHost,
    described_wait,
    wait_too_long,
)
from synth.endpoints.rate_limits import RateLimits
from synth.endpoints.retry_policy import Control, RetryPolicy

if TYPE_CHECKING:
    from synth.bulk import BulkRequest

_UNKNOWN_COMPLETION_TOKENS = 256

_Waiting = tuple[Waiter, float, RetryState]


class Flow:
    """Schedules the requests to one teacher, at one address or at several that serve the same model.

    At most `concurrency` requests are in flight, each at the least busy address that is within its window and its rate
    limits (see `TeacherHost`) and not resting after failures. `requests_per_minute` and `tokens_per_minute` apply to
    all addresses together; tokens are estimated before sending and corrected by the answer.

    A waiting request holds no place in flight. `RetryPolicy` decides whether one that brought no answer is sent again.

    `first` are the prompts of which an answer has to be usable before more than a few of their requests are open.

    A request that one address refuses, or wants to be sent in more than ten minutes, is tried at another first.
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
        self.say: Say = discard_message
        self.retries_by_kind: Counter[str] = Counter()
        self.in_flight = 0
        self.concurrency = concurrency
        self.first = FirstAnswers(self.dispatch)
        self.hosts: tuple[TeacherHost, ...] = ()
        self.retrying = RetryPolicy(concurrency=concurrency, retries=retries, backoff_s=backoff_s)
        self._limits = RateLimits(requests_per_minute, tokens_per_minute)
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._pauses: dict[RetryState, tuple[UnansweredError, float]] = {}
        self._timer: tuple[float, asyncio.Handle] | None = None
        self._completion_tokens: float | None = None

    def set_addresses(self, urls: Sequence[str]) -> None:
        """Set the addresses to send to."""
        self.hosts = tuple(TeacherHost(url, self.concurrency, self.retrying.backoff_s) for url in urls)

    @property
    def left_alone(self) -> dict[str, str]:
        """The addresses that are resting, if there are several, with their last failure or refusal."""
        return {host.url: host.failure for host in self.hosts if host.is_resting}

    @property
    def held(self) -> str:
        """Why nothing is in flight although requests are waiting, and for how long; empty otherwise. For display."""
        timer = self._timer if self._waiting else None
        ends = [*self._pauses.values(), *([(ThrottledError(""), timer[0])] if timer is not None else [])]
        if self.in_flight or not ends:
            return ""
        failure, at = min(ends, key=lambda end: end[1])
        return described_wait(failure, at - asyncio.get_running_loop().time())

    def note(self, line: str) -> None:
        """Say a line beside an answer, once the running step has ended: if that fails, the answer is not affected."""
        asyncio.get_running_loop().call_soon(self.say, line)

    def drain(self) -> None:
        """Send nothing more: requests in flight may finish, waiting ones raise StoppedError."""
        self.draining.set()
        self._fail_waiting(StoppedError())

    async def send_with_retries(
        self,
        send: Callable[[InFlight], Awaitable[Answer]],
        tokens: float,
        limit_s: float,
        started: BulkRequest | None = None,
        control: Control | None = None,
        *,
        prompt: str | None = None,
        once: bool = False,
        ahead: bool = False,
        again: bool = False,
    ) -> Answer:
        """Call `send` as soon as the request may go (`ahead` of those that wait; `again`: of those never sent), and
        again (unless `once`) until it returns an answer; return that.

        `tokens` is the estimated size of request and answer, `limit_s` the time that an answer may take. A `started`
        request has its place in flight. Raises what `send` raises, UnansweredError after all retries, Unreachable,
        TeacherError for a wait of more than ten minutes, and StoppedError after `drain()`.
        """
        sending = None if started is None else started.sending
        tries = RetryState(limit_s, prompt, ahead=ahead, again=again) if started is None else started.tries
        while True:
            sending = sending or self._place_now(tokens, tries) or await self._wait_for_place(tokens, tries)
            used, answer = tokens, None
            failure: UnansweredError | None = None
            try:
                answer = await send(sending)
            except (RefusedError, TeacherError) as refusal:
                if error := self._refusal_by_all(refusal, sending.host, tries, tokens):
                    answer = refusal.answer if isinstance(refusal, RefusedError) else None
                    raise error from None
                used, failure = 0, RefusedHereError(_words(refusal))
            except UnansweredError as unanswered:
                used, failure = 0, unanswered
                too_long = (unanswered.retry_after_s or 0) > MAX_RETRY_AFTER_S
                if too_long and tries.refused_by is None and self._others(sending.host, tokens):
                    tries.refused_by, failure = sending.host, RefusedHereError(unanswered.what)
            finally:
                self.finish(sending, answer, failure, used)
                self.dispatch() if answer is None else self.first.dispatch_soon()  # once the caller has counted it
            if answer is not None:
                return answer
            assert failure is not None
            if once and (failure.retry_after_s or 0) <= MAX_RETRY_AFTER_S:
                raise failure
            if isinstance(failure, RefusedHereError):
                tries.waits += 1
                wait_s = self._others_free_in(sending.host, tokens)
            else:
                most_open = self.first.limit(tries.prompt, self.concurrency)
                wait_s = await self.retrying.wait_s(failure, tries, control, self.hosts, most_open, self.say)
            await self._pause(wait_s, failure, tries)
            self.retries_by_kind[failure.word] += 1
            sending = None

    def estimated_tokens(self, prompt_bytes: int, max_tokens: int | None, n: int) -> float:
        """Estimate the tokens of a request and its answer."""
        return prompt_bytes / 4 + n * (self._completion_tokens or max_tokens or _UNKNOWN_COMPLETION_TOKENS)

    def _others(self, host: TeacherHost, tokens: float, within_s: float = MAX_RETRY_AFTER_S) -> list[TeacherHost]:
        """The other addresses that may be asked within `within_s`, busy or not."""
        now = asyncio.get_running_loop().time()
        at = now + within_s
        return [one for one in self.hosts if one is not host and not one.is_resting and one.free_at(tokens, now) <= at]

    def _refusal_by_all(
        self, refusal: RefusedError | TeacherError, host: TeacherHost, tries: RetryState, tokens: float
    ) -> RefusedError | TeacherError | None:
        """The error of a request that another address has refused as well, or could not be asked; else None."""
        if tries.refused_by in (None, host) and self._others(host, tokens):
            tries.refusal, tries.refused_by = refusal, host
            return None
        has_answer = isinstance(refusal, RefusedError) and refusal.answer is not None
        of_the_row = tries.refusal if isinstance(tries.refusal, RefusedError) else None
        if tries.refused_by is not None and of_the_row is not None and has_answer:
            tries.refused_by.succeeded(0)  # both refuse it, so the fault is neither's
        return refusal if has_answer else of_the_row or refusal

    def _others_free_in(self, host: TeacherHost, tokens: float) -> float:
        """Seconds until the first of the other addresses may be asked; 0 without others."""
        now = asyncio.get_running_loop().time()
        return min((one.free_at(tokens, now) for one in self._others(host, tokens)), default=now) - now

    def request_place(self, waiter: Waiter, tokens: float, tries: RetryState) -> None:
        """Give `waiter` a place as soon as one is free, by its `set_result`. Raises StoppedError after `drain()`."""
        if (sending := self._place_now(tokens, tries)) is not None:
            waiter.set_result(sending)
        else:
            self._enqueue(waiter, tokens, tries)

    def _enqueue(self, waiter: Waiter, tokens: float, tries: RetryState) -> None:
        # Retries go ahead of requests that were never sent: otherwise a row could starve. A question that decides about
        # the others goes first, because they may be held back until it is answered.
        ahead = sum(1 for _ in takewhile(lambda one: one[2].ahead, self._waiting))
        self._waiting.insert(ahead if tries.ahead or tries.waits else len(self._waiting), (waiter, tokens, tries))
        self.dispatch()

    def _may_go(self, tries: RetryState) -> bool:
        return self.in_flight < self.concurrency and (tries.ahead or self.first.may_go(tries.prompt))

    def _place_now(self, tokens: float, tries: RetryState) -> InFlight | None:
        if self.draining.is_set():
            raise StoppedError
        now, is_behind = asyncio.get_running_loop().time(), self._waiting and not tries.ahead
        host = None if is_behind else self._pick_host(tokens, tries, now)
        return None if host is None else self._occupy_place(host, tokens, tries, now)

    async def _wait_for_place(self, tokens: float, tries: RetryState) -> InFlight:
        future: asyncio.Future[InFlight] = asyncio.get_running_loop().create_future()
        self._enqueue(future, tokens, tries)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.finish(future.result(), None, None, 0)
                self.dispatch()
            raise

    def _pick_host(self, tokens: float, tries: RetryState, now: float) -> TeacherHost | None:
        if not self._may_go(tries) or self._limits.free_at > now:
            return None
        if len(self.hosts) == 1:
            return self.hosts[0] if self.hosts[0].can_take(tokens, now) else None
        # After a refusal, ask another address if there is one.
        candidates = (tries.refused_by and self._others(tries.refused_by, tokens, within_s=0)) or self.hosts
        free = [host for host in candidates if host.can_take(tokens, now)]
        return min(free, key=lambda h: (h is tries.host, len(h.in_flight) / h.window, h.sent), default=None)

    def _occupy_place(self, host: TeacherHost, tokens: float, tries: RetryState, now: float) -> InFlight:
        self._limits.take(tokens, now)
        self._number += 1
        self.in_flight += 1
        self.first.sent(tries.prompt)
        sending = InFlight(host, self._number, now, tokens, host.limit_s(tries), tries)
        tries.host = host
        tries.looked_at = tries.looked_at or now
        host.send(sending)
        return sending

    def finish(self, sending: InFlight, answer: Answer | None, failure: UnansweredError | None, used: float) -> None:
        """Free the place of a request and record its result: an answer, a failure, or neither. `used` is the number of
        tokens to count if the answer reports no usage. Call `dispatch` afterwards, once for all that end together."""
        now = asyncio.get_running_loop().time()
        self.in_flight -= 1
        sending.host.ended(sending)
        self.first.ended(sending.tries.prompt, counts=answer is not None or bool(failure and failure.may_be_paid))
        self.retrying.record(now, failure, took_s=None if answer is None else now - sending.sent_at)
        if answer is not None:
            if notice := sending.host.answered(sending, now, usable=bool(answer.choices)):
                self.note(f"warning: {sending.host.url} {notice}.")
            for host in self.hosts if answer.choices and len(self.hosts) > 1 else ():
                if host.refusal and host.is_resting:
                    self.note(
                        f"warning: {host.url} is left out while others answer: it refuses requests ({host.refusal})."
                    )
                    host.refusal = None
            if answer.usage is not None:
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                each = answer.usage.completion_tokens / max(1, len(answer.choices))
                self._completion_tokens = each if self._completion_tokens is None else self._completion_tokens
                self._completion_tokens += (each - self._completion_tokens) / 8
        elif failure is not None:
            may_rest = any(host is not sending.host and not host.is_resting for host in self.hosts)
            sending.host.failed(sending, failure, self._number, now, may_rest=may_rest)
            refuses = isinstance(failure, RefusedHereError | UnconfirmedError)
            if sending.host.refusal is not None:
                sending.host.refusal = failure.what if refuses else ""
        self._limits.settle(used - sending.tokens)

    def dispatch(self) -> None:
        """Give free places to waiting requests, and set a timer for the next place that rate limits allow."""
        if not self._waiting or not self._may_go(self._waiting[0][2]):
            return  # whoever frees a place dispatches again
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            waiter, tokens, tries = self._waiting[0]
            host = None
            if not waiter.done() and (host := self._pick_host(tokens, tries, now)) is None:
                break
            self._waiting.popleft()
            if host is not None:
                waiter.set_result(self._occupy_place(host, tokens, tries, now))
        if not self._waiting:
            return
        free_at = min(host.free_at(tokens, now) for host in self.hosts)
        if free_at - now > MAX_RETRY_AFTER_S and not self.in_flight:
            self._fail_waiting(wait_too_long(free_at - now, self.hosts[0].url))
        elif (at := max(self._limits.free_at, free_at)) > now:
            self._timer = at, loop.call_at(at, self.dispatch)

    def _fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            waiter, _, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    async def _pause(self, wait_s: float, failure: UnansweredError, tries: RetryState) -> None:
        if wait_s <= 0:
            return
        self._pauses[tries] = (failure, asyncio.get_running_loop().time() + wait_s)
        try:
            async with asyncio.timeout(wait_s):
                await self.draining.wait()
        except TimeoutError:
            return
        finally:
            del self._pauses[tries]
        raise StoppedError


def _words(refusal: RefusedError | TeacherError) -> str:
    return refusal.what if isinstance(refusal, TeacherError) else str(refusal).removeprefix("refused: ")
