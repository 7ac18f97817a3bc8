"""A limit of time for what a person's own regular expression searches: one as `(a+)+b` can take exponential time."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType
from typing import Any

LIMIT_S = 1.0  # of the processor's time for one text; an ordinary pattern takes a thousandth of a thousandth
_TEXTS = 3  # that may take so long
_WHY = (
    "A pattern that repeats what repeats itself, as (a+)+b does, can take exponential time: write it with one repeat."
)
_slow: Counter[tuple[str, str]] = Counter()  # texts by check and pattern


class TookTooLong(Exception):
    """A check was given up. The message is a sentence that names the check and the row."""


class _Expired(BaseException):
    """Raised by the timer, inside the search."""


def search(pattern: re.Pattern[str], text: str, check: str, row: str) -> re.Match[str] | None:
    """`pattern.search(text)`. Raises TookTooLong, for the check and the row as a person knows them, as `limited`."""
    if not _may_take_long(pattern.pattern):
        return pattern.search(text)
    with limited(check, pattern.pattern, row):
        return pattern.search(text)


@contextmanager
def limited(check: str, settings: str, row: str) -> Iterator[None]:
    """What is done within may take LIMIT_S of this thread's processor time. Raises TookTooLong where it takes more,
    and at once where the check with these settings has done so on _TEXTS rows.

    `re` looks for signals as it searches, in the main thread of a process alone: in another thread, and on a system
    without interval timers (Windows), nothing ends a search.
    """
    known = (check, settings)
    if _slow[known] >= _TEXTS:
        raise TookTooLong(f"{check} is not asked about row {row}: {_TEXTS} rows took it too long. {_WHY}")
    try:
        with _timer():
            yield
    except _Expired:
        _slow[known] += 1
        raise TookTooLong(f"{check} took more than {LIMIT_S:g} s on row {row}. {_WHY}") from None


@contextmanager
def _timer() -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = time.thread_time() + LIMIT_S

    def expire(number: int, frame: FrameType | None) -> None:
        if (left := ends - time.thread_time()) > 0:  # the timer counts what other threads of the process take, too
            signal.setitimer(signal.ITIMER_VIRTUAL, left)
        else:
            raise _Expired

    before: Any = signal.signal(signal.SIGVTALRM, expire)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@lru_cache(1024)
def _may_take_long(pattern: str) -> bool:
    """False for most patterns: with one repeat at most and no alternatives, a search takes quadratic time at worst."""
    return "|" in pattern or len(re.findall(r"[*+?{]", pattern)) > 1
