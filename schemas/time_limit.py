"""A time limit for a user's regular expressions, because a pattern such as `(a+)+b` can take exponential time."""

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

LIMIT_S = 1.0  # CPU time for one text; an ordinary pattern takes about a microsecond
_MAX_SLOW_TEXTS = 3  # slow texts after which a check is given up
_WHY = "A pattern with nested repeats such as (a+)+b can take exponential time: write it with a single repeat."
_slow: Counter[tuple[str, str]] = Counter()  # number of slow texts by check and pattern


class CheckTimedOut(Exception):
    """A check was given up. The message names the check and the row."""


class _Expired(BaseException):
    """Raised by the timer inside the search."""


def search(pattern: re.Pattern[str], text: str, check: str, row: str) -> re.Match[str] | None:
    """`pattern.search(text)` under `limited`. Raises CheckTimedOut; `check` and `row` are named in the message."""
    if not _may_take_long(pattern.pattern):
        return pattern.search(text)
    with limited(check, pattern.pattern, row):
        return pattern.search(text)


@contextmanager
def limited(check: str, settings: str, row: str) -> Iterator[None]:
    """Limit the block to LIMIT_S of this thread's CPU time. Raises CheckTimedOut if it takes longer, and immediately if
    the check with these settings has already done so on _MAX_SLOW_TEXTS rows.

    `re` checks for signals during a search, but Python handles signals only in the main thread. In another thread
    nothing ends a search.
    """
    key = (check, settings)
    if _slow[key] >= _MAX_SLOW_TEXTS:
        raise CheckTimedOut(f"{check} is skipped for row {row}: it took too long on {_MAX_SLOW_TEXTS} rows. {_WHY}")
    try:
        with _timer():
            yield
    except _Expired:
        _slow[key] += 1
        raise CheckTimedOut(f"{check} took more than {LIMIT_S:g} s on row {row}. {_WHY}") from None


@contextmanager
def _timer() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deadline_s = time.thread_time() + LIMIT_S

    def expire(number: int, frame: FrameType | None) -> None:
        if (left := deadline_s - time.thread_time()) > 0:  # the timer also counts other threads of the process
            signal.setitimer(signal.ITIMER_VIRTUAL, left)
        else:
            raise _Expired

    previous: Any = signal.signal(signal.SIGVTALRM, expire)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@lru_cache(1024)
def _may_take_long(pattern: str) -> bool:
    """False for most patterns: with at most one repeat and no alternatives, a search takes quadratic time at worst."""
    return "|" in pattern or len(re.findall(r"[*+?{]", pattern)) > 1
