"""Decides when and to which address of a teacher a request is sent, and when it is retried or given up."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from schemas.errors import TeacherError
from schemas.progress import Say, discard_message
from schemas.progress_line import clock
from synth.chat.completions import (
    Answer,
    BrokenError,
    NotConnectedError,
    RefusedError,
    RefusedHereError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    UnconfirmedError,
)
from synth.endpoints.fair_semaphore import Waiter
from synth.endpoints.first_answers import FirstAnswers
from synth.endpoints.host import (
    MAX_BACKOFF_S,
    MAX_RETRY_AFTER_S,
    InFlight,
    RetryState,
    TeacherHost,
    described_wait,
    gone_silent,
    is_cheap,
    longest_backoff_s,
    unreachable,
    wait_too_long,
)
from synth.endpoints.rate_limits import RateLimits

if TYPE_CHECKING:
    from synth.bulk import BulkRequest

_FIRST_CONNECT_TRIES = 3
_TIMED_OUT = 3  # this many questions without any answer since, of which one has used up its retries: decide at once
_OUTAGE_WAITS = 240  # first waits, two minutes by default: a limit has refilled, a server may have been restarted
_OUTAGE = 10  # this many failing questions in a row, or all that may be open: the rows are not the cause
_SHARE_WEIGHT, _MOSTLY = 1 / 64, 0.9  # of one result in the share of failed ones; a share that is reported
_REPORT_AFTER_WAITS = 40  # first waits (20 s) of silence before it is reported, and for which a control counts at most
_WORD_WITH_DIGIT = re.compile(r"\S*\d\S*")  # times and request ids, which differ between otherwise equal messages
_UNKNOWN_COMPLETION_TOKENS = 256

_Waiting = tuple[Waiter, float, RetryState]

Control = Callable[[], Awaitable[str | None]]
"""Sends, once, a question that was answered before. Returns "" if it is answered again."""


class Flow:
    """Schedules the requests to one teacher, at one address or at several that serve the same model.

    At most `concurrency` requests are in flight, each at the least busy address that is within its window and its rate
    limits (see `TeacherHost`) and not resting after failures. `requests_per_minute` and `tokens_per_minute` apply to
    all addresses together; tokens are estimated before sending and corrected by the answer.

    `retries` is how often a request that brought no answer is sent again, after full-jitter exponential backoff
    (uniform in [0, min(30 s, first * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), or
    Retry-After plus up to 10%, whichever is longer. `first` is `backoff_s`, or the typical time of an answer if that is
    shorter and other requests are being answered.

    A waiting request holds no place in flight. Being throttled does not count as a try: the request waits up to ten
    minutes if others are answered or all are throttled, and two if it is the only one, as in an outage, where
    everything fails. If nothing is answered for ten minutes, waiting ends.

    `first` are the prompts of which an answer has to be usable before more than a few of their requests are open.

    Whether everything that is open fails because of the server or because of these rows is decided by a `control`: a
    question that was answered before. While it is answered, failures count as tries, and no run ends because of them.
    Because an answer costs money, it counts for a while, for longer after each in a row (0.5, 1.5, 3.5, ... 20 s). If
    everything times out, one question that has used up its retries is enough to ask.

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
        self._reported: set[tuple[bool, str]] = set()
        self.retries_by_kind: Counter[str] = Counter()
        self.in_flight = 0
        self.concurrency = concurrency
        self.first = FirstAnswers(self.dispatch)
        self.hosts: tuple[TeacherHost, ...] = ()
        self._retries, self._backoff_s = retries, backoff_s
        self._limits = RateLimits(requests_per_minute, tokens_per_minute)
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._pauses: dict[RetryState, tuple[UnansweredError, float]] = {}
        self._timer: tuple[float, asyncio.Handle] | None = None
        self._given_up_in_a_row = 0
        self._failing: dict[RetryState, float] = {}  # since the last answer -> `_silent_s` at the first failure
        self._silent_s = self._failed_at = self._failed_share = self._control_counts_s = 0.0
        self._answered_at = self._control_answered_at = -1.0
        self._controlling = asyncio.Lock()
        self.answer_s = backoff_s  # the usual time of an answer, once some have arrived
        self._completion_tokens: float | None = None

    def set_addresses(self, urls: Sequence[str]) -> None:
        """Set the addresses to send to."""
        self.hosts = tuple(TeacherHost(url, self.concurrency, self._backoff_s) for url in urls)

    @property
    def left_alone(self) -> dict[str, str]:
        """The addresses that are resting, if there are several, with their last failure or refusal."""
        return {host.url: host.failure for host in self.hosts if host.is_resting}

    @property
    def _outage_s(self) -> float:
        return _OUTAGE_WAITS * self._backoff_s * (self._retries > 0)

    @property
    def held(self) -> str:
        """Why nothing is in flight although requests are waiting, and for how long; empty otherwise. For display."""
        timer = self._timer if self._waiting else None
        ends = [*self._pauses.values(), *([(ThrottledError(""), timer[0])] if timer is not None else [])]
        if self.in_flight or not ends:
            return ""
        failure, at = min(ends, key=lambda end: end[1])
        return described_wait(failure, at - asyncio.get_running_loop().time())

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
                if tries.refused_by not in (None, sending.host) or not self._others(sending.host, tokens):
                    answer = refusal.answer if isinstance(refusal, RefusedError) else None
                    of_the_row = tries.refusal if isinstance(tries.refusal, RefusedError) else None
                    if tries.refused_by is not None and of_the_row is not None and answer is not None:
                        tries.refused_by.succeeded(0)  # both refuse it, so the fault is neither's
                    raise (refusal if answer is not None else of_the_row or refusal) from None
                tries.refusal, tries.refused_by, used = refusal, sending.host, 0
                what = refusal.what if isinstance(refusal, TeacherError) else str(refusal).removeprefix("refused: ")
                failure = RefusedHereError(what)
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
                now = asyncio.get_running_loop().time()
                others_free_at = (host.free_at(tokens, now) for host in self._others(sending.host, tokens))
                await self._pause(min(others_free_at, default=now) - now, failure, tries)
                self.retries_by_kind[failure.word] += 1
            else:
                await self._wait_or_give_up(failure, tries, control)
            sending = None

    def estimated_tokens(self, prompt_bytes: int, max_tokens: int | None, n: int) -> float:
        """Estimate the tokens of a request and its answer."""
        return prompt_bytes / 4 + n * (self._completion_tokens or max_tokens or _UNKNOWN_COMPLETION_TOKENS)

    def _others(self, host: TeacherHost, tokens: float, within_s: float = MAX_RETRY_AFTER_S) -> list[TeacherHost]:
        """The other addresses that may be asked within `within_s`, busy or not."""
        now = asyncio.get_running_loop().time()
        at = now + within_s
        return [one for one in self.hosts if one is not host and not one.is_resting and one.free_at(tokens, now) <= at]

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
        self._failed_share += ((failure is not None) - self._failed_share) * _SHARE_WEIGHT
        if answer is not None:
            self._given_up_in_a_row = 0
            self._failing.clear()
            self._silent_s, self._answered_at = 0.0, now
            self.answer_s += (now - sending.sent_at - self.answer_s) / 8
            if notice := sending.host.answered(sending, now, usable=bool(answer.choices)):
                self.say(f"warning: {sending.host.url} {notice}.")
            if answer.usage is not None:
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                each = answer.usage.completion_tokens / max(1, len(answer.choices))
                self._completion_tokens = each if self._completion_tokens is None else self._completion_tokens
                self._completion_tokens += (each - self._completion_tokens) / 8
        elif failure is not None:
            may_rest = any(host is not sending.host and not host.is_resting for host in self.hosts)
            sending.host.failed(sending, failure, self._number, now, may_rest=may_rest)
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

    async def _wait_or_give_up(self, failure: UnansweredError, tries: RetryState, control: Control | None) -> None:
        """Wait before the next try, or raise the error that the failure amounts to."""
        assert tries.host is not None
        where, before = tries.host.url, tries.looked_at
        silent_s = await self._count_failure(failure, tries, control)
        is_last = tries.counted > self._retries or tries.timeouts > tries.timeout_retries
        if isinstance(failure, UnconfirmedError):
            tries.doubts += 1
            shut = tries.host.key_is_refused and all(host.key_is_refused or host.is_resting for host in self.hosts)
            if shut if failure.of_key else is_last or tries.doubts > 1:
                raise failure.verdict
        allowed = self._retries + 1 if isinstance(failure, NotConnectedError) else _FIRST_CONNECT_TRIES
        never = isinstance(failure, BrokenError) and not any(host.connected for host in self.hosts)
        if never and tries.counted >= min(_FIRST_CONNECT_TRIES, allowed) + len(self.hosts) - 1:
            raise unreachable(failure, where)
        long_silent = silent_s >= MAX_RETRY_AFTER_S and is_cheap(failure)
        self._given_up_in_a_row += is_last
        last = f"all requests of {clock(silent_s)}" if long_silent else f"the last {len(self._failing)} requests"
        many = self._given_up_in_a_row >= max(10, self.first.limit(tries.prompt, self.concurrency))
        silent = isinstance(failure, TimedOutError) and self._answered_at < tries.failed_at
        many |= silent and len(self._failing) >= min(_TIMED_OUT, self.concurrency)
        is_brief = self._answered_at > 0 and tries.looked_at - tries.failed_at < self._outage_s
        gone = (long_silent or (is_last and many)) and not await self._is_answering(control)
        if gone and not (silent and is_brief):
            raise failure.verdict if isinstance(failure, UnconfirmedError) else gone_silent(failure, where, last)
        is_spared = tries.is_spared(silent=silent, hangs=gone, is_brief=is_brief, is_last=is_last)
        if is_last and not is_spared:
            raise failure
        if is_spared:
            tries.counted, self._given_up_in_a_row = self._retries, self._given_up_in_a_row - 1
        passing = self._answered_at > before and isinstance(failure, ThrottledError | ServerFaultError)
        first_s = min(self._backoff_s, self.answer_s) if passing else self._backoff_s
        wait_s = random.uniform(0, longest_backoff_s(first_s, tries.waits))
        asked_s = failure.retry_after_s or 0.0
        if asked_s <= MAX_RETRY_AFTER_S:
            wait_s = max(wait_s, asked_s * random.uniform(1, 1.1))
        elif control is None or not await self._is_answering(control):  # None: this is the control
            raise wait_too_long(asked_s, where, failure)
        silent, text = silent_s >= _REPORT_AFTER_WAITS * self._backoff_s, _WORD_WITH_DIGIT.sub("", str(failure))
        if (silent or self._failed_share > _MOSTLY) and (silent, text) not in self._reported:
            self._reported.add((silent, text))
            what = f"has not answered for {clock(silent_s)}" if silent else "fails nearly all requests"
            self.say(f"{where} {what} ({failure}); still retrying.")
        await self._pause(wait_s, failure, tries)
        self.retries_by_kind[failure.word] += 1

    async def _count_failure(self, failure: UnansweredError, tries: RetryState, control: Control | None) -> float:
        """Count the failure as a try unless the server is at fault. Returns for how long nothing has been answered."""
        now, others_answered = asyncio.get_running_loop().time(), self._answered_at > tries.looked_at
        answering, tries.looked_at = self._control_answered_at > min(tries.looked_at, now - self._control_counts_s), now
        tries.waits, tries.failed_at = tries.waits + 1, tries.failed_at or now
        waited_s, silent_s = now - tries.failed_at, self._silence_s(failure, tries, now)
        throttled, outage_s = isinstance(failure, ThrottledError), self._outage_s
        # A few that fail may be all that the shrunken window lets through, so no row is given up on their word alone.
        is_last = control is not None and tries.counted == self._retries and not others_answered
        many = is_last or len(self._failing) >= min(_OUTAGE, 2 * self.concurrency)
        all_fail = self._answered_at > 0 and many and outage_s > 0
        in_doubt = isinstance(failure, UnconfirmedError) and not failure.of_key  # two in a row are a refusal
        is_outage = all_fail and is_cheap(failure) and not (throttled or in_doubt)
        in_silence = not others_answered and silent_s >= (MAX_RETRY_AFTER_S if all_fail and throttled else outage_s)
        if not (throttled or (is_outage and not answering)) or in_silence or waited_s >= MAX_RETRY_AFTER_S:
            tries.counted += 1
        tries.timeouts += isinstance(failure, TimedOutError)
        unknown = is_outage and not (answering or self._controlling.locked()) and tries.counted <= self._retries
        return 0.0 if unknown and await self._is_answering(control) else silent_s

    async def _is_answering(self, control: Control | None) -> bool:
        """Ask the control, unless it was answered lately. Returns whether it was, or anything else meanwhile."""
        asked_at = asyncio.get_running_loop().time()
        if self._control_answered_at > asked_at - self._control_counts_s:
            return True
        async with self._controlling:  # after the one that is in flight, if any
            if control is not None and self._answered_at <= asked_at:
                is_up, longer_s = await control() == "", 2 * self._control_counts_s + self._backoff_s
                self._control_counts_s = min(longer_s, _REPORT_AFTER_WAITS * self._backoff_s) if is_up else 0.0
                self._control_answered_at = self._answered_at if is_up else self._control_answered_at
        return self._answered_at > asked_at

    def _silence_s(self, failure: UnansweredError, tries: RetryState, now: float) -> float:
        """How long nothing has been answered since this question first failed. Between two failures at most the longest
        wait counts: the rest of the time a slow server was working, or this machine was asleep."""
        self._silent_s += min(now - self._failed_at, MAX_BACKOFF_S + (failure.retry_after_s or 0))
        self._failed_at = now
        return self._silent_s - self._failing.setdefault(tries, self._silent_s)

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
