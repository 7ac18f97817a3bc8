"""One address of a teacher: its requests in flight and its recent record."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.errors import TeacherError, Unreachable
from schemas.progress_line import clock
from synth.chat.completions import (
    BrokenError,
    LostError,
    NoProxyError,
    NotConnectedError,
    RefusedError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    UnconfirmedError,
    one_line,
)
from synth.endpoints.rate_limits import remaining_in_headers

MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 600.0
_SHOWN_CHARACTERS = 100  # characters of a server's message that are shown while nothing is sent
_MARK_WEIGHT = 1 / 16  # weight of the newest answer in the share of throttled ones; g in DCTCP
_FAILURES_TO_REST = 3  # in a row, before an address is left alone while another answers
# In a row, of a key: about three seconds if it was accepted before. Where it is sometimes refused, more are needed, by
# so many for each series that an answer ended, up to the most: one gateway of four may always refuse it, and be met
# four times in a row by chance.
_KEY_REFUSALS, _MORE_KEY_REFUSALS, _MOST_KEY_REFUSALS = 4, 3, 16
# Doubtful refusals without an answer between them. One gateway in four that sends them at once reaches that, too; the
# next answer ends it.
_REFUSED_TOGETHER = 8
_TIMEOUTS = 3  # before its first answer, after which an address gets one request at a time until there is one
_LOST = 10  # after answers, in a row, of requests that may have been charged for: it gets one at a time
_TIMEOUT_RETRIES = 2  # a request that timed out may have been charged for, and each retry gets twice the time
_SLOWEST, _MARGIN = 2.0**_TIMEOUT_RETRIES, 1.25  # times the limit at most; above what an answer took


class TeacherHost:
    """One address of a teacher, and its recent record.

    `window` is how many requests it is given at once. Once a round it shrinks by half the share of throttled answers,
    and it grows by a sixteenth of the concurrency a round (DCTCP; Alizadeh et al., SIGCOMM 2010). So a stray 429 costs
    next to nothing, and a server that throttles everything gets half as many requests each time.

    An address that `may_rest`, because another one is not resting, is left alone for a while after several failures in
    a row, and then gets a single request. An address that refuses the key again, without having answered anything sent
    after the first refusal, gets one request at a time, with a wait before each. So does one that answered before and
    now loses one request after another (broken connections, a gateway's 502), and, without the wait, an address that
    has answered nothing, or `hangs`, and let several requests time out: each of them may have been charged for.

    An answer that took longer than its time limit, to a request that had been sent again with a longer one, raises the
    limit of all further requests: without that, each answer of a slow model would be paid for twice. A request that
    times out while nothing is answered lowers it again: a server that hangs would be waited for several times as long.

    The first wait of one that loses requests is `first_wait_s`. `queue` are the requests that were written to a
    connection, in that order, in which the server works on them.
    """

    def __init__(self, url: str, concurrency: int, first_wait_s: float = 0.5) -> None:
        self.url, self._first_wait_s = url, first_wait_s
        self.connected = False
        self.failure = ""  # the latest
        self.refusal: str | None = ""  # if the latest failure is one; None once its rest was reported
        self.notice: str | None = ""  # that its end was announced; None once that was reported
        self.in_flight: dict[int, InFlight] = {}
        self.queue: dict[int, InFlight] = {}
        self.sent = 0
        self.window = float(concurrency)
        self.opens_at = 0.0
        self._timer: tuple[float, asyncio.Handle] | None = None  # with its time: uvloop's call_at may return no `when`
        self._max_window, self._step = float(concurrency), max(1.0, concurrency / 16)
        self._throttled = 0.0
        self._shrunk_at = 0
        self._failures = self._rest_count = self._timeouts = 0
        self._lost = self._lost_at = self._probes = 0  # in a row; the newest request at the last probe; probes
        self._has_answered = False
        self._slow, self._answered_at = 1.0, 0.0  # how many times their limit answers may take; the last usable one
        self._reported_slow = False
        self._refused_at = 0  # the newest request at the last refusal of the key; concurrent ones count once
        self._key_refusals: list[int] = []  # the same of each since which nothing was answered
        self._most_key_refusals = _KEY_REFUSALS
        self._refused_together = 0  # doubtful refusals since the last answer, concurrent ones too
        self._limits_from = 0
        self._remaining: dict[str, tuple[float, float]] = {}  # unit -> what is left of it, and until when

    def can_take(self, tokens: float, now: float) -> bool:
        """Whether one more request may be sent to it at `now`."""
        hangs = self._timeouts >= _TIMEOUTS and not self._has_answered
        loses = self._lost >= _LOST and self._has_answered
        refuses = self._seems_to_refuse_key or self._refused_together >= _REFUSED_TOGETHER
        one = self.is_resting or refuses or hangs or loses
        return len(self.in_flight) + 1 <= (1 if one else self.window) and self.free_at(tokens, now) <= now

    @property
    def is_resting(self) -> bool:
        """Whether it is left alone, apart from an occasional request."""
        return self._failures >= _FAILURES_TO_REST

    @property
    def key_is_refused(self) -> bool:
        """Whether it does not accept the key, or no longer."""
        return len(self._key_refusals) >= self._most_key_refusals

    @property
    def _seems_to_refuse_key(self) -> bool:
        return len(self._key_refusals) > self._most_key_refusals - _KEY_REFUSALS + 1

    def free_at(self, tokens: float, now: float) -> float:
        """When it may be asked again, if it is not busy."""
        at = self.opens_at
        for unit, (left, until) in self._remaining.items():
            if now < until and left < (1 if unit == "requests" else tokens):
                at = max(at, until)
        return at

    def send(self, sending: InFlight) -> None:
        self.in_flight[sending.number] = sending
        self.sent += 1
        if self._remaining:
            for unit, (left, until) in self._remaining.items():
                self._remaining[unit] = left - (1 if unit == "requests" else sending.tokens), until

    def limit_s(self, tries: RetryState) -> float:
        """How long the answer to the next try may take."""
        return tries.limit_s * max(2.0**tries.timeouts, self._slow)

    def ended(self, sending: InFlight) -> None:
        self.in_flight.pop(sending.number, None)
        self.queue.pop(sending.number, None)

    def record_limits(self, sending: InFlight, headers: Mapping[str, str], now: float) -> None:
        """Record the limits in the headers of a response. The server counted them when that request arrived, so
        requests sent after it are subtracted."""
        self.connected = True
        if self.notice == "":
            self.notice = announced_end(headers)
        if sending.number <= self._limits_from:
            return
        self._remaining.clear()
        for unit, left, reset_s in remaining_in_headers(headers):
            self._limits_from = sending.number
            later = [other for number, other in self.in_flight.items() if number > sending.number]
            left -= len(later) if unit == "requests" else sum(other.tokens for other in later)
            tighter = min((left, now + reset_s), self._remaining.get(unit, (left, now + reset_s)))
            self._remaining[unit] = tighter

    def schedule_check(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Check the clocks of all requests in flight at `at` at the latest, with one timer for all of them."""
        if self._timer is None or self._timer[0] > at:
            if self._timer is not None:
                self._timer[1].cancel()
            self._timer = at, loop.call_at(at, self._check_clocks, loop)

    def _check_clocks(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None:
            return
        now = loop.time()
        late_s, self._timer = now - self._timer[0], None
        clocks = [one.check_clock(now, ahead, late_s) for ahead, one in enumerate(self.queue.values())]
        clocks += [one.check_clock(now, 0, late_s) for one in self.in_flight.values() if not one.is_sent]
        at = min(clocks, default=math.inf)
        if at < math.inf:
            self.schedule_check(at, loop)

    def answered(self, sending: InFlight, now: float, *, usable: bool) -> str:
        """Record an answer, or unless `usable` a refusal. Returns what is to be reported of the address."""
        self.succeeded(sending.number)
        self._refused_together *= not usable
        if notice := self.notice or "":
            self.notice = None
        took_s, limit_s = now - sending.since, sending.tries.limit_s
        if usable:
            self._answered_at = now
        if not usable or sending.limit_s <= limit_s or took_s <= limit_s * self._slow:
            return notice
        self._slow = min(_SLOWEST, _MARGIN * took_s / limit_s)
        if self._reported_slow:
            return notice
        self._reported_slow = True
        what = f"needed {took_s:.3g} s for an answer that was asked for again after {limit_s:g} s"
        slow = f"{what}, so all may take as long now; with a longer teacher.timeout_s none is asked for twice"
        return f"{notice}, and {slow}" if notice else slow

    def succeeded(self, number: int) -> None:
        """Record that request `number` was answered."""
        self._failures = self._rest_count = self._lost = self._probes = 0
        self._has_answered = True
        if self._key_refusals and number > self._key_refusals[0]:  # it was sent after that refusal, a stray one
            self._key_refusals = [newest for newest in self._key_refusals if newest >= number]
            self._most_key_refusals = min(_MOST_KEY_REFUSALS, self._most_key_refusals + _MORE_KEY_REFUSALS)
        self._throttled -= self._throttled * _MARK_WEIGHT
        if self.window < self._max_window:
            self.window = min(self._max_window, self.window + self._step / self.window)

    def hangs(self) -> None:
        """Record that it no longer answers what it answered before, until it `succeeded`."""
        self._has_answered, self._timeouts = False, _TIMEOUTS

    def failed(self, sending: InFlight, failure: UnansweredError, newest: int, now: float, *, may_rest: bool) -> None:
        self._refused_together += isinstance(failure, UnconfirmedError)
        if isinstance(failure, UnconfirmedError) and failure.of_key and sending.number > self._refused_at:
            self._refused_at = newest
            self._key_refusals.append(newest)
            if self._seems_to_refuse_key and self._has_answered:
                tries = len(self._key_refusals) - self._most_key_refusals + _KEY_REFUSALS
                self.opens_at = max(self.opens_at, now + longest_backoff_s(0.5, tries))
        if isinstance(failure, TimedOutError):
            self._timeouts += 1
            self._slow = self._slow if self._answered_at >= sending.sent_at else 1.0
        if failure.may_be_paid and is_cheap(failure):
            self._lost += 1
            if self._lost >= _LOST and self._has_answered and sending.number > self._lost_at:
                self._lost_at, self._probes = newest, self._probes + 1
                self.opens_at = max(
                    self.opens_at, now + longest_backoff_s(self._first_wait_s, min(self._probes, 6))
                )  # 16 s
        throttled = isinstance(failure, ThrottledError | TimedOutError) or failure.retry_after_s is not None
        if may_rest and not isinstance(failure, ThrottledError):
            self._failures += 1
            self.failure = str(failure)
            if self.is_resting and now >= self.opens_at:
                self._rest_count += 1
                self.opens_at = now + longest_backoff_s(0.5, self._rest_count)
        if not throttled:
            return
        self._throttled += (1 - self._throttled) * _MARK_WEIGHT
        if sending.number > self._shrunk_at:
            self._shrunk_at = newest
            self.window = max(1.0, self.window * (1 - self._throttled / 2))
        asked_s = failure.retry_after_s or 0.0
        # Without another address, a longer wait either ends the run or is not meant for every request.
        if self._throttled > 0.5 and (asked_s <= MAX_RETRY_AFTER_S or may_rest):
            self.opens_at = max(self.opens_at, now + min(asked_s, MAX_RETRY_AFTER_S))


class InFlight:
    """A request in flight: number `number` of its flow, sent to `host`, with an estimated token count. `is_sent` is
    set once it has been written to a connection.

    As a context manager it raises TimedOutError `limit_s` after it was entered, or was sent. While the server still
    answers requests that were sent earlier, the time counts from the last of those answers, since this request waits in
    the server's queue. Without a context manager, `start_clock` takes the function to call on timeout.
    """

    __slots__ = (
        *("_cancelling", "_on_timeout", "_timed_out", "_ahead", "_task"),
        *("host", "is_sent", "limit_s", "number", "sent_at", "since", "tokens", "tries"),
    )

    def __init__(
        self, host: TeacherHost, number: int, sent_at: float, tokens: float, limit_s: float, tries: RetryState
    ) -> None:
        self.host, self.number, self.sent_at, self.tokens, self.limit_s = host, number, sent_at, tokens, limit_s
        self.tries, self.since = tries, sent_at  # the time counts from `since`
        self._task: asyncio.Task[Any] | None = None
        self._on_timeout: Callable[[], bool] | None = None
        self._timed_out = self.is_sent = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self.start_clock(task.cancel)

    def start_clock(self, on_timeout: Callable[[], bool]) -> None:
        """Call `on_timeout` when the time is over, unless `stop_clock` is called before."""
        loop, self._on_timeout = asyncio.get_running_loop(), on_timeout
        self.since, self._ahead = loop.time(), 0
        self.host.schedule_check(self.since + self.limit_s / 8, loop)

    def mark_sent(self) -> None:
        """It has been written to a connection: its time counts, and the server has it in its queue, from now on."""
        self.is_sent, self.since = True, asyncio.get_running_loop().time()
        self._ahead, self.host.queue[self.number] = len(self.host.queue), self

    def stop_clock(self) -> None:
        """Stop the clock."""
        self._on_timeout = None

    @property
    def timeout_error(self) -> TimedOutError:
        """The error for a request whose time is over."""
        return TimedOutError(f"no answer within {self.limit_s:g} s; raise teacher.timeout_s if it needs longer")

    def check_clock(self, now: float, ahead: int, late_s: float) -> float:
        """Time the request out if its time is over, given `ahead` requests in flight that were sent before it. Returns
        when to check again. The check is `late_s` late, for which this process was stopped or busy: no answer could be
        read in that time, so it does not count."""
        if self._on_timeout is None or self._timed_out:
            return math.inf
        self.since += late_s
        if ahead < self._ahead:
            self.since, self._ahead = now, ahead
        if (left_s := self.since + self.limit_s - now) > 0:
            return now + min(left_s, self.limit_s / 8)
        self._timed_out = self._on_timeout()
        return math.inf

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task, self._on_timeout = self._task, None, None
        if (
            self._timed_out
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise self.timeout_error from None


class RetryState:
    """The retry state of a question of `prompt`, whose answer may take `limit_s`. One that goes `ahead` of those that
    wait decides about them: it is not sent again if it times out, because they wait for it. `again`: after a refusal,
    in another form."""

    counted = timeouts = doubts = 0
    _hung = _silent = _spared = False
    refusal: RefusedError | TeacherError | None = None
    refused_by: TeacherHost | None = None
    host: TeacherHost | None = None
    failed_at = looked_at = 0.0  # time of the first failure; time of the last failure, or else of the first sending

    def __init__(self, limit_s: float, prompt: str | None, *, ahead: bool = False, again: bool = False) -> None:
        self.limit_s, self.prompt, self.ahead, self.waits = limit_s, None if ahead else prompt, ahead, int(again)
        self.timeout_retries = 0 if ahead else _TIMEOUT_RETRIES

    def is_spared(self, *, silent: bool, hangs: bool, is_brief: bool, is_last: bool) -> bool:
        """Whether it may be sent once more although its last time limit is over: the server `hangs`, or did until now.
        Or nothing was answered from its first failure to now (`silent`) or to the time limit before, so that nothing
        shows whether the server or this question was at fault; then once, and only if that was brief."""
        if hangs and self.host is not None:
            self.host.hangs()
        spared = is_last and (self._hung or hangs)
        if is_last and is_brief and (silent or self._silent) and not (spared or self._spared):
            spared = self._spared = True
        self._hung, self._silent = hangs, silent
        if spared:
            self.timeouts = self.timeout_retries
        return spared


def longest_backoff_s(first_s: float, tries: int) -> float:
    """The upper bound of the wait after try number `tries`: it doubles from `first_s` up to 30 s."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(tries - 1, 64))


def is_cheap(failure: UnansweredError) -> bool:
    """Whether waiting for the end of an outage with this failure costs little: it is not charged for, or the address
    gets one request at a time because of it."""
    return not failure.may_be_paid or isinstance(failure, LostError | BrokenError)


def described_wait(failure: UnansweredError, wait_s: float) -> str:
    """Why nothing is in flight although requests are waiting, and for how long."""
    why = "held by the rate limit" if isinstance(failure, ThrottledError) else f"{failure.word}: retrying"
    detail = f" ({failure.what[:_SHOWN_CHARACTERS]})" if failure.what else ""
    return f"{why}{detail}, next request in {clock(max(0.0, wait_s))}"


def announced_end(headers: Mapping[str, str]) -> str:
    """What the headers of an answer say about the end of its address or model (RFC 8594 and 9745; LLM Gateway,
    BrainstormRouter); empty if nothing."""
    if "Sunset" not in headers and "Deprecation" not in headers:
        return ""
    deprecated = headers.get("Deprecation", "").strip()
    since = datetime.fromtimestamp(int(deprecated[1:]), UTC) if re.fullmatch(r"@\d{1,10}", deprecated) else None
    if sunset := one_line(headers.get("Sunset", ""), 60):
        return f"announces that it answers only until {sunset} (the header Sunset)"
    if not deprecated or deprecated.lower() in ("false", "?0"):
        return ""
    day = f" as of {since:%Y-%m-%d}" if since else ""
    return f"announces that this model or address is deprecated{day} (the header Deprecation)"


def gone_silent(failure: UnansweredError, where: str, last: str) -> Unreachable:
    """The error for a teacher that answered before and no longer does."""
    return Unreachable(
        f"The teacher has left {last} unanswered ({failure}).",
        where=where,
        why="Continuing would fail every remaining row.",
        fix="Every answer so far is kept. Check the message and the endpoint, then run the same command again.",
    )


def unreachable(failure: UnansweredError, where: str) -> Unreachable:
    """The error for an address that has never answered, or never with anything readable."""
    if not isinstance(failure, NotConnectedError | TimedOutError):
        return Unreachable(
            f"The response from the teacher's address cannot be read ({failure}).",
            where=where,
            fix="Requests reach it: check that the server is ready, any proxy or gateway in between, and teacher.url"
            + (", which begins with https:// if the server speaks TLS." if where.startswith("http:") else "."),
        )
    fix = "Start the server or correct teacher.url"
    if isinstance(failure, NoProxyError):
        fix = "Start the proxy or correct its environment variable; NO_PROXY lists hosts to bypass"
    return Unreachable(
        f"Nothing answers at the teacher's address ({failure.what}).",
        where=where,
        fix=f"{fix}; `pairsmith doctor` tries it without spending anything.",
    )


def wait_too_long(wait_s: float, where: str, failure: UnansweredError | None = None) -> TeacherError:
    """The error for a wait that is too long to sit out, which the teacher asks for in a `failure`, or else in the
    rate-limit headers of an answer."""
    words = "the rate-limit headers of its last answer" if failure is None else failure.what
    return TeacherError(
        f"The teacher asks to wait {clock(wait_s)} before the next request ({words}).",
        where=where,
        fix="Every answer so far is kept. Run the same command again after that time, or lower teacher.concurrency.",
    )
