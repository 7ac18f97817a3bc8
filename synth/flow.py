"""When a request to a teacher may be sent, to which of its addresses, and when it is sent again or given up."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from schemas.errors import TeacherError, Unreachable
from schemas.progress import Say, unheard
from schemas.progress_line import clock
from schemas.records import Json
from synth.chat_completions import (
    Answer,
    BrokenError,
    DoubtedError,
    NotConnectedError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
)
from synth.connections import Outcome
from synth.places import Waiter
from synth.rate_limits import RateLimit
from synth.teacher_host import MAX_BACKOFF_S, MAX_RETRY_AFTER_S, Sending, TeacherHost, longest_backoff_s

FIRST_CONNECT_TRIES = 3
TIMEOUT_RETRIES = 2  # each of them may have been paid for, and the next is given twice the time
# First waits, two minutes: what a limit of a minute takes at the latest to be full again, and a server to be restarted.
_PASSES = 240
_OUTAGE = 10  # questions that fail one after the other, or all that may be open: it is not the rows
_SHOWN = 100  # letters of what a server says while nothing is sent
_SPOKEN_OF = 40  # first waits, twenty seconds without an answer, before what a server says is told
_NUMBERED = re.compile(r"\S*\d\S*")  # a moment, a request's id: other ones in every answer that says the same
_UNKNOWN_COMPLETION_TOKENS = 256


class _AskElsewhereError(ServerFaultError):
    """One of several addresses refuses this request: another one tells whether that is its own matter."""

    word = "refused"


class Tries:
    """What has become of one question so far, whose answer may take `limit_s`."""

    counted = waits = timeouts = doubts = 0
    refusal: RefusedError | TeacherError | None = None
    refused_by: TeacherHost | None = None
    host: TeacherHost | None = None
    failed_at = looked_at = 0.0  # when its first failure was, and its last one, or else when it was first sent

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s


class Begun(Protocol):
    """A request that was begun without a coroutine, to go on from: its place on the wire, what was set aside for it,
    when it was sent and what came, which is None where it was not."""

    body: Json
    tries: Tries
    sending: Sending
    reserved: Any
    began: float
    outcome: Outcome | None


_Waiting = tuple[Waiter, float, Tries]


class Flow:
    """The traffic to one teacher, at one address or several of the same model.

    At most `concurrency` requests are on the wire, each at the least busy address that may be asked: within its window
    (see `TeacherHost`), within what its headers leave, and not at rest after failures. `requests_per_minute` and
    `tokens_per_minute` hold for all addresses together; tokens are reckoned before sending and settled by the answer.

    `retries` is how often a request that brought no answer is sent again, after a wait of full-jitter exponential
    backoff (uniform in [0, min(30 s, first * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015) or
    of Retry-After and up to a tenth more, if that is longer. `first` is `backoff_s`, or the time that an answer takes
    where others are answered and that is shorter. A request that waits takes no place from others, and one that was
    throttled has not been tried: it waits its turn, at most ten minutes where others are answered or all are throttled,
    and two where it is alone. So does one that meets an outage: whatever is sent fails, and costs nothing. Where
    nothing that was sent in ten minutes is answered, there is no point in waiting, whatever is said.

    What one address refuses, for whatever reason, is asked at another before it is believed: a server with another
    model, context or key than the others costs no row, and ends no run, but is left alone like one that fails.
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
        self.say: Say = unheard
        self._spoken_of: set[str] = set()
        self.retries_by_kind: Counter[str] = Counter()
        self.in_flight = 0
        self.concurrency = concurrency
        self.hosts: tuple[TeacherHost, ...] = ()
        self._retries, self._backoff_s = retries, backoff_s
        self._requests = RateLimit(requests_per_minute) if requests_per_minute else None
        self._tokens = RateLimit(tokens_per_minute) if tokens_per_minute else None
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._pauses: dict[Tries, tuple[UnansweredError, float]] = {}
        self._timer: tuple[float, asyncio.Handle] | None = None
        self._given_up_in_a_row = 0
        self._failing: dict[Tries, float] = {}  # since something was answered, and how long nothing was then
        self._silent_s = self._failed_at = 0.0
        self._answered_at = -1.0
        self._answer_s = backoff_s
        self._completion_tokens: float | None = None

    def to(self, urls: Sequence[str]) -> None:
        """Send to these addresses."""
        self.hosts = tuple(TeacherHost(url, self.concurrency) for url in urls)

    @property
    def left_alone(self) -> dict[str, str]:
        """The addresses, of several, that have failed or refused whatever was asked of them last, and how."""
        return {host.url: host.failure for host in self.hosts if host.rests}

    @property
    def held(self) -> str:
        """Why nothing is on the wire though something waits to be sent, and how long it will: for who watches."""
        timer = self._timer if self._waiting else None
        ends = [*self._pauses.values(), *([(ThrottledError(""), timer[0])] if timer is not None else [])]
        if self.in_flight or not ends:
            return ""
        failure, at = min(ends, key=lambda end: end[1])
        why = "held by the rate limit" if isinstance(failure, ThrottledError) else f"{failure.word}: asked again"
        words = f" ({failure.what[:_SHOWN]})" if failure.what else ""
        return f"{why}{words}, next request in {clock(max(0.0, at - asyncio.get_running_loop().time()))}"

    def drain(self) -> None:
        """Send nothing more: what is on the wire may finish; one that waits raises StoppedError."""
        self.draining.set()
        self._let_go(StoppedError())

    async def through(
        self,
        send: Callable[[Sending], Awaitable[Answer]],
        tokens: float,
        limit_s: float,
        begun: Begun | None = None,
    ) -> Answer:
        """What `send` brings, sent when it may be and again until there is an answer, which may come to `tokens` and
        take `limit_s`. It has a place already where it is `begun`.

        Raises what `send` raises, UnansweredError after all retries, Unreachable, TeacherError for a wait of more than
        ten minutes, and StoppedError after `drain()`.
        """
        sending, tries = (None, Tries(limit_s)) if begun is None else (begun.sending, begun.tries)
        while True:
            sending = sending or self._at_once(tokens, tries) or await self._turn(tokens, tries)
            used, answer = tokens, None
            failure: UnansweredError | None = None
            try:
                answer = await send(sending)
            except (RefusedError, TeacherError) as refusal:
                if tries.refused_by not in (None, sending.host) or not self._others(sending.host, tokens):
                    answer = refusal.answer if isinstance(refusal, RefusedError) else None
                    rows_own = tries.refusal if isinstance(tries.refusal, RefusedError) else None
                    if tries.refused_by is not None and rows_own is not None and answer is not None:
                        tries.refused_by.succeeded(0)  # both refuse it, so neither failed
                    raise (refusal if answer is not None else rows_own or refusal) from None
                tries.refusal, tries.refused_by, used = refusal, sending.host, 0
                what = refusal.what if isinstance(refusal, TeacherError) else str(refusal).removeprefix("refused: ")
                failure = _AskElsewhereError(what)
            except UnansweredError as unanswered:
                used, failure = 0, unanswered
            finally:
                self.done(sending, answer, failure, used)
            if answer is not None:
                return answer
            assert failure is not None
            if isinstance(failure, _AskElsewhereError):
                tries.waits += 1
                now = asyncio.get_running_loop().time()
                others = self._others(sending.host, tokens)
                free_s = min((host.free_at(tokens, now) for host in others), default=now) - now
                await self._pause(free_s, failure, tries)
                self.retries_by_kind[failure.word] += 1
            else:
                await self._wait_or_give_up(failure, tries)
            sending = None

    def reckoned(self, prompt_bytes: int, max_tokens: int | None, n: int) -> float:
        """The tokens that a request may come to."""
        return prompt_bytes / 4 + n * (self._completion_tokens or max_tokens or _UNKNOWN_COMPLETION_TOKENS)

    def _others(self, host: TeacherHost, tokens: float, within_s: float = MAX_RETRY_AFTER_S) -> list[TeacherHost]:
        """The other addresses that may be asked again in that time, busy or not."""
        now = asyncio.get_running_loop().time()
        at = now + within_s
        return [one for one in self.hosts if one is not host and not one.rests and one.free_at(tokens, now) <= at]

    # -- a place on the wire -------------------------------------------------------------------------------------

    def begin(self, turn: Waiter, tokens: float, tries: Tries) -> None:
        """Give `turn` a place, now or as soon as there is one; it is told by its Sending. Raises StoppedError after
        `drain()`."""
        if (sending := self._at_once(tokens, tries)) is not None:
            turn.set_result(sending)
        else:
            self._wait(turn, tokens, tries)

    def _wait(self, turn: Waiter, tokens: float, tries: Tries) -> None:
        # What was sent before stands in front of what was not: otherwise a row could starve.
        (self._waiting.appendleft if tries.waits else self._waiting.append)((turn, tokens, tries))
        self._dispatch()

    def _at_once(self, tokens: float, tries: Tries) -> Sending | None:
        if self.draining.is_set():
            raise StoppedError
        if self._waiting or self.in_flight >= self.concurrency:
            return None
        now = asyncio.get_running_loop().time()
        host = self._ready(tokens, tries, now)
        return None if host is None else self._sent(host, tokens, tries, now)

    async def _turn(self, tokens: float, tries: Tries) -> Sending:
        future: asyncio.Future[Sending] = asyncio.get_running_loop().create_future()
        self._wait(future, tokens, tries)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.done(future.result(), None, None, 0)
            raise

    def _ready(self, tokens: float, tries: Tries, now: float) -> TeacherHost | None:
        if self.in_flight >= self.concurrency or self._paced_until() > now:
            return None
        if len(self.hosts) == 1:
            return self.hosts[0] if self.hosts[0].takes(tokens, now) else None
        # Where one has refused, another is asked, if there is any.
        may = (tries.refused_by and self._others(tries.refused_by, tokens, within_s=0)) or self.hosts
        free = [host for host in may if host.takes(tokens, now)]
        return min(free, key=lambda h: (h is tries.host, len(h.sending) / h.window, h.sent), default=None)

    def _paced_until(self) -> float:
        if self._requests is None and self._tokens is None:
            return 0.0
        return max(pace.free_at for pace in (self._requests, self._tokens) if pace is not None)

    def _sent(self, host: TeacherHost, tokens: float, tries: Tries, now: float) -> Sending:
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        self._number += 1
        self.in_flight += 1
        sending = Sending(host, self._number, now, tokens, tries.limit_s * 2.0**tries.timeouts)
        tries.host = host
        tries.looked_at = tries.looked_at or now
        host.send(sending)
        return sending

    def done(self, sending: Sending, answer: Answer | None, failure: UnansweredError | None, used: float) -> None:
        """Give its place to who waits, and take note of what came: the answer, what it amounts to that none came, or
        neither, and the tokens that were `used` where no answer tells."""
        now = asyncio.get_running_loop().time()
        self.in_flight -= 1
        sending.host.sending.pop(sending.number, None)
        if answer is not None:
            self._given_up_in_a_row = 0
            self._failing.clear()
            self._silent_s, self._answered_at = 0.0, now
            self._answer_s += (now - sending.sent_at - self._answer_s) / 8
            sending.host.succeeded(sending.number)
            if answer.usage is not None:
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                each = answer.usage.completion_tokens / max(1, len(answer.choices))
                self._completion_tokens = each if self._completion_tokens is None else self._completion_tokens
                self._completion_tokens += (each - self._completion_tokens) / 8
        elif failure is not None:
            may_rest = any(host is not sending.host and not host.rests for host in self.hosts)
            sending.host.failed(sending, failure, self._number, now, may_rest=may_rest)
        if self._tokens is not None:
            self._tokens.settle(used - sending.tokens)
        if self._waiting:
            self._dispatch()

    def _dispatch(self) -> None:
        """Give places to those who wait, and look again when the next one comes free by itself."""
        if self.in_flight >= self.concurrency:
            return  # whoever is done looks again
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            turn, tokens, tries = self._waiting[0]
            host = None
            if not turn.done() and (host := self._ready(tokens, tries, now)) is None:
                break
            self._waiting.popleft()
            if host is not None:
                turn.set_result(self._sent(host, tokens, tries, now))
        if not self._waiting:
            return
        free_at = min(host.free_at(tokens, now) for host in self.hosts)
        if free_at - now > MAX_RETRY_AFTER_S and not self.in_flight:
            self._let_go(_too_long(free_at - now, self.hosts[0].url))
        elif (at := max(self._paced_until(), free_at)) > now:
            self._timer = at, loop.call_at(at, self._dispatch)

    def _let_go(self, error: Exception) -> None:
        while self._waiting:
            turn, _, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    # -- again, or not -------------------------------------------------------------------------------------------

    async def _wait_or_give_up(self, failure: UnansweredError, tries: Tries) -> None:
        """Wait before the next try, or raise what the failure amounts to."""
        assert tries.host is not None
        where, now = tries.host.url, asyncio.get_running_loop().time()
        others_answered, tries.looked_at = self._answered_at > tries.looked_at, now
        tries.waits, tries.failed_at = tries.waits + 1, tries.failed_at or now
        waited_s, silent_s = now - tries.failed_at, self._silence_s(failure, tries, now)
        passes_s = _PASSES * self._backoff_s if self._retries else 0
        all_fail = self._answered_at > 0 and len(self._failing) >= min(_OUTAGE, 2 * self.concurrency) and passes_s > 0
        outage, throttled = all_fail and not failure.may_be_paid, isinstance(failure, ThrottledError)
        in_silence = not others_answered and silent_s >= (MAX_RETRY_AFTER_S if all_fail and throttled else passes_s)
        if not (outage or throttled) or in_silence or waited_s >= MAX_RETRY_AFTER_S:
            tries.counted += 1
        tries.timeouts += isinstance(failure, TimedOutError)
        is_last = tries.counted > self._retries or tries.timeouts > TIMEOUT_RETRIES
        if isinstance(failure, DoubtedError):
            tries.doubts += 1
            shut = tries.host.key_is_refused and all(host.key_is_refused or host.rests for host in self.hosts)
            if shut if failure.of_key else is_last or tries.doubts > 1:
                raise failure.verdict
        never = not any(host.connected for host in self.hosts)
        enough = FIRST_CONNECT_TRIES  # or as many as there are, where nobody was reached
        if isinstance(failure, NotConnectedError):
            enough = min(enough, self._retries + 1)
        if never and isinstance(failure, BrokenError) and tries.counted >= enough + len(self.hosts) - 1:
            raise unreachable(failure, where)
        in_vain = silent_s >= MAX_RETRY_AFTER_S and not failure.may_be_paid
        self._given_up_in_a_row += is_last
        last = f"all requests of {clock(silent_s)}" if in_vain else f"the last {self._given_up_in_a_row} requests"
        if in_vain or (is_last and self._given_up_in_a_row >= max(10, self.concurrency)):
            raise failure.verdict if isinstance(failure, DoubtedError) else silent(failure, where, last)
        if is_last:
            raise failure
        passing = others_answered and isinstance(failure, ThrottledError | ServerFaultError)
        first_s = min(self._backoff_s, self._answer_s) if passing else self._backoff_s
        wait_s = random.uniform(0, longest_backoff_s(first_s, tries.waits))
        if failure.retry_after_s is not None:
            if failure.retry_after_s > MAX_RETRY_AFTER_S:
                raise _too_long(failure.retry_after_s, where)
            wait_s = max(wait_s, failure.retry_after_s * random.uniform(1, 1.1))
        words = _NUMBERED.sub("", str(failure))
        if silent_s >= _SPOKEN_OF * self._backoff_s and words not in self._spoken_of:
            self._spoken_of.add(words)
            self.say(f"{where} has answered nothing for {clock(silent_s)} ({failure}); it is asked again for a while.")
        await self._pause(wait_s, failure, tries)
        self.retries_by_kind[failure.word] += 1

    def _silence_s(self, failure: UnansweredError, tries: Tries, now: float) -> float:
        """How long nothing was answered since this question failed. Of the time between two failures no more than the
        longest wait counts: in the rest a slow server was at work, or this machine asleep."""
        self._silent_s += min(now - self._failed_at, MAX_BACKOFF_S + (failure.retry_after_s or 0))
        self._failed_at = now
        return self._silent_s - self._failing.setdefault(tries, self._silent_s)

    async def _pause(self, wait_s: float, failure: UnansweredError, tries: Tries) -> None:
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


def silent(failure: UnansweredError, where: str, last: str) -> Unreachable:
    """What was answered before is so no more."""
    return Unreachable(
        f"The teacher has left {last} unanswered ({failure}).",
        where=where,
        why="Going on would fail every row that is left.",
        fix="Everything answered is kept. See to what it says, and that the endpoint works, then run the same command "
        "again.",
    )


def unreachable(failure: UnansweredError, where: str) -> Unreachable:
    """Nothing has ever answered at `where`, or nothing that can be read."""
    if not isinstance(failure, NotConnectedError | TimedOutError):
        return Unreachable(
            f"What comes from the teacher's address is no answer ({failure}).",
            where=where,
            fix="Requests reach it: see that the server is ready, what stands between, and that teacher.url is right.",
        )
    return Unreachable(
        f"Nothing answers at the teacher's address ({failure}).",
        where=where,
        fix="Start the server or correct teacher.url; 'pairsmith doctor' tries it without spending anything.",
    )


def _too_long(wait_s: float, where: str) -> TeacherError:
    return TeacherError(
        f"The teacher asks to wait {wait_s:.0f} s before the next request.",
        where=where,
        fix="Everything answered is kept. Run the same command again then, or lower teacher.concurrency.",
    )
