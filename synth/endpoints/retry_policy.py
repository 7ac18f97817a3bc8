"""Decides whether a request that brought no answer is sent again, and after which wait."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Awaitable, Callable, Sequence

from schemas.progress import Say
from schemas.progress_line import clock
from synth.chat.completions import (
    BrokenError,
    NotConnectedError,
    ServerFaultError,
    ThrottledError,
    TimedOutError,
    UnansweredError,
    UnconfirmedError,
)
from synth.endpoints.host import (
    MAX_BACKOFF_S,
    MAX_RETRY_AFTER_S,
    RetryState,
    TeacherHost,
    gone_silent,
    is_cheap,
    longest_backoff_s,
    unreachable,
    wait_too_long,
)

_FIRST_CONNECT_TRIES = 3
_TIMED_OUT = 3  # this many questions without any answer since, of which one has used up its retries: decide at once
# A server that hangs is left when so many requests in a row hang as would by chance once in 100,000 times, if each
# hangs as often as until its last answer (once more, for want of experience). At most this many.
_BY_CHANCE, _MOST_HANGS, _FORGOTTEN = 1e-5, 20, 1 / 64
_OUTAGE_WAITS = 240  # first waits, two minutes by default: a limit has refilled, a server may have been restarted
_OUTAGE = 10  # this many failing questions in a row, or all that may be open: the rows are not the cause
_SHARE_WEIGHT, _MOSTLY = 1 / 64, 0.9  # of one result in the share of failed ones; a share that is reported
_REPORT_AFTER_WAITS = 40  # first waits (20 s) of silence before it is reported, and for which a control counts at most
_WORD_WITH_DIGIT = re.compile(r"\S*\d\S*")  # times and request ids, which differ between otherwise equal messages

Control = Callable[[], Awaitable[str | None]]
"""Sends, once, a question that was answered before. Returns "" if it is answered again."""


class RetryPolicy:
    """What becomes of requests to one teacher that brought no answer.

    `retries` is how often such a request is sent again, after full-jitter exponential backoff (uniform in
    [0, min(30 s, first * 2**i)]; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), or Retry-After plus up
    to 10%, whichever is longer. `first` is `backoff_s`, or the typical time of an answer if that is shorter and other
    requests are being answered.

    Being throttled does not count as a try: the request waits up to ten minutes if others are answered or all are
    throttled, and two if it is the only one, as in an outage, where everything fails. If nothing is answered for ten
    minutes, waiting ends.

    Whether everything that is open fails because of the server or because of these rows is decided by a `control`: a
    question that was answered before. While it is answered, failures count as tries, and no run ends because of them.
    Because an answer costs money, it counts for a while, for longer after each in a row (0.5, 1.5, 3.5, ... 20 s). If
    everything times out, one question that has used up its retries is enough to ask.
    """

    def __init__(self, *, concurrency: int, retries: int, backoff_s: float) -> None:
        self.backoff_s = backoff_s
        self.answer_s = backoff_s  # the usual time of an answer, once some have arrived
        self.silent_s = 0.0  # since the last answer, counted in the failures since
        self.failing: dict[RetryState, float] = {}  # since the last answer -> `silent_s` at the first failure
        self._concurrency, self._retries = concurrency, retries
        self._reported: set[tuple[bool, str]] = set()
        self._given_up_in_a_row = 0
        self._failed_at = self._failed_share = self._control_counts_s = 0.0
        self._answered_at = self._control_answered_at = -1.0
        self._hanging = 0  # requests since the last answer; until then, what hung and what was answered lately:
        self._hung = self._answered = 0.0
        self._controlling = asyncio.Lock()

    def record(self, now: float, failure: UnansweredError | None, took_s: float | None) -> None:
        """Record that a request ended at `now`: answered after `took_s`, with a `failure`, or neither."""
        failed = failure is not None
        self._hanging += isinstance(failure, TimedOutError)
        self._failed_share += (failed - self._failed_share) * _SHARE_WEIGHT
        if took_s is not None:
            self._given_up_in_a_row = 0
            self.failing.clear()
            self._hung += self._hanging - self._hung * _FORGOTTEN
            self._hanging, self._answered = 0, 1 + self._answered * (1 - _FORGOTTEN)
            self.silent_s, self._answered_at = 0.0, now
            self.answer_s += (took_s - self.answer_s) / 8

    async def wait_s(
        self,
        failure: UnansweredError,
        tries: RetryState,
        control: Control | None,
        hosts: Sequence[TeacherHost],
        most_open: int,
        say: Say,
    ) -> float:
        """How long to wait until the request is sent again, now that `tries.host` has not answered it.

        `hosts` are all addresses of the teacher, and `most_open` is how many requests of this prompt may be open.
        Without a `control`, this is the control. `say` gets what a person should know of the server. Raises the error
        that the failure amounts to if the request is not sent again: `failure` itself if it has used up its retries,
        the verdict of an UnconfirmedError, Unreachable, or TeacherError for a wait of more than ten minutes.
        """
        assert tries.host is not None
        where, before = tries.host.url, tries.looked_at
        silent_s = await self._count(failure, tries, control)
        is_last = tries.counted > self._retries or tries.timeouts > tries.timeout_retries
        if isinstance(failure, UnconfirmedError):
            self._check_refusal(failure, tries, hosts, is_last=is_last)
        if isinstance(failure, BrokenError) and not any(host.connected for host in hosts):
            self._check_first_connection(failure, tries, len(hosts))
        self._given_up_in_a_row += is_last
        has_hung = isinstance(failure, TimedOutError) and self._answered_at < tries.failed_at
        is_brief = self._answered_at > 0 and tries.looked_at - tries.failed_at < self._outage_s
        long_silent = silent_s >= MAX_RETRY_AFTER_S and is_cheap(failure)
        many = self._given_up_in_a_row >= max(10, most_open)
        many |= has_hung and len(self.failing) >= min(_TIMED_OUT, self._concurrency)
        gone = (long_silent or (is_last and many)) and await self._is_gone(control, has_hung=has_hung)
        if gone and not (has_hung and is_brief):
            last = f"all requests of {clock(silent_s)}" if long_silent else f"the last {len(self.failing)} requests"
            raise failure.verdict if isinstance(failure, UnconfirmedError) else gone_silent(failure, where, last)
        if tries.is_spared(silent=has_hung, hangs=gone, is_brief=is_brief, is_last=is_last):
            tries.counted, self._given_up_in_a_row = self._retries, self._given_up_in_a_row - 1
        elif is_last:
            raise failure
        wait_s = await self._backoff_s(failure, tries, control, others_answered=self._answered_at > before)
        self._report(failure, silent_s, where, say)
        return wait_s

    @property
    def _outage_s(self) -> float:
        return _OUTAGE_WAITS * self.backoff_s * (self._retries > 0)

    async def _count(self, failure: UnansweredError, tries: RetryState, control: Control | None) -> float:
        """Count the failure as a try unless the server is at fault. Returns for how long nothing has been answered."""
        now, others_answered = asyncio.get_running_loop().time(), self._answered_at > tries.looked_at
        answering, tries.looked_at = self._control_answered_at > min(tries.looked_at, now - self._control_counts_s), now
        tries.waits, tries.failed_at = tries.waits + 1, tries.failed_at or now
        waited_s, silent_s = now - tries.failed_at, self._silence_s(failure, tries, now)
        throttled, outage_s = isinstance(failure, ThrottledError), self._outage_s
        # A few that fail may be all that the shrunken window lets through, so no row is given up on their word alone.
        is_last = control is not None and tries.counted == self._retries and not others_answered
        many = is_last or len(self.failing) >= min(_OUTAGE, 2 * self._concurrency)
        all_fail = self._answered_at > 0 and many and outage_s > 0
        in_doubt = isinstance(failure, UnconfirmedError) and not failure.of_key  # two in a row are a refusal
        is_outage = all_fail and is_cheap(failure) and not (throttled or in_doubt)
        in_silence = not others_answered and silent_s >= (MAX_RETRY_AFTER_S if all_fail and throttled else outage_s)
        if not (throttled or (is_outage and not answering)) or in_silence or waited_s >= MAX_RETRY_AFTER_S:
            tries.counted += 1
        tries.timeouts += isinstance(failure, TimedOutError)
        unknown = is_outage and not (answering or self._controlling.locked()) and tries.counted <= self._retries
        return 0.0 if unknown and await self._is_answering(control) else silent_s

    def _silence_s(self, failure: UnansweredError, tries: RetryState, now: float) -> float:
        """How long nothing has been answered since this question first failed. Between two failures at most the longest
        wait counts: the rest of the time a slow server was working, or this machine was asleep."""
        self.silent_s += min(now - self._failed_at, MAX_BACKOFF_S + (failure.retry_after_s or 0))
        self._failed_at = now
        return self.silent_s - self.failing.setdefault(tries, self.silent_s)

    async def _is_gone(self, control: Control | None, *, has_hung: bool) -> bool:
        """Whether the control is not answered. One that hangs is asked again where others did and were answered."""
        share = (self._hung + 1) / (self._hung + 1 + self._answered) if self._hung else _BY_CHANCE
        enough = min(_MOST_HANGS, math.log(_BY_CHANCE) / math.log(share)) if self._answered else 0
        hanging = -1
        while not await self._is_answering(control):
            if not has_hung or not hanging < self._hanging < enough:  # the control must have hung as well
                return True
            hanging = self._hanging
        return False

    async def _is_answering(self, control: Control | None) -> bool:
        """Ask the control, unless it was answered lately. Returns whether it was, or anything else meanwhile."""
        asked_at = asyncio.get_running_loop().time()
        if self._control_answered_at > asked_at - self._control_counts_s:
            return True
        async with self._controlling:  # after the one that is in flight, if any
            if control is not None and self._answered_at <= asked_at:
                is_up, longer_s = await control() == "", 2 * self._control_counts_s + self.backoff_s
                self._control_counts_s = min(longer_s, _REPORT_AFTER_WAITS * self.backoff_s) if is_up else 0.0
                self._control_answered_at = self._answered_at if is_up else self._control_answered_at
        return self._answered_at > asked_at

    def _check_refusal(
        self, failure: UnconfirmedError, tries: RetryState, hosts: Sequence[TeacherHost], *, is_last: bool
    ) -> None:
        """Raise what the doubtful refusal amounts to if it is beyond doubt: it was repeated, or every address that is
        not resting has refused the key several times."""
        assert tries.host is not None
        tries.doubts += 1
        if failure.of_key:
            confirmed = tries.host.key_is_refused and all(host.key_is_refused or host.is_resting for host in hosts)
        else:
            confirmed = is_last or tries.doubts > 1
        if confirmed:
            raise failure.verdict

    def _check_first_connection(self, failure: BrokenError, tries: RetryState, addresses: int) -> None:
        """Raise Unreachable after a few tries at a server that has never answered, rather than after all retries."""
        assert tries.host is not None
        allowed = self._retries + 1 if isinstance(failure, NotConnectedError) else _FIRST_CONNECT_TRIES
        if tries.counted >= min(_FIRST_CONNECT_TRIES, allowed) + addresses - 1:
            raise unreachable(failure, tries.host.url)

    async def _backoff_s(
        self, failure: UnansweredError, tries: RetryState, control: Control | None, *, others_answered: bool
    ) -> float:
        """How long to wait before the next try. Raises TeacherError if the server asks for too long a wait, and the
        `control` is not answered meanwhile."""
        assert tries.host is not None
        passing = others_answered and isinstance(failure, ThrottledError | ServerFaultError)
        first_s = min(self.backoff_s, self.answer_s) if passing else self.backoff_s
        wait_s = random.uniform(0, longest_backoff_s(first_s, tries.waits))
        asked_s = failure.retry_after_s or 0.0
        if asked_s <= MAX_RETRY_AFTER_S:
            return max(wait_s, asked_s * random.uniform(1, 1.1))
        if control is None or not await self._is_answering(control):  # None: this is the control
            raise wait_too_long(asked_s, tries.host.url, failure)
        return wait_s

    def _report(self, failure: UnansweredError, silent_s: float, where: str, say: Say) -> None:
        """Say, once for each message, that the server at `where` is silent or fails nearly always."""
        is_silent, text = silent_s >= _REPORT_AFTER_WAITS * self.backoff_s, _WORD_WITH_DIGIT.sub("", str(failure))
        if (is_silent or self._failed_share > _MOSTLY) and (is_silent, text) not in self._reported:
            self._reported.add((is_silent, text))
            what = f"has not answered for {clock(silent_s)}" if is_silent else "fails nearly all requests"
            say(f"{where} {what} ({failure}); still retrying.")
