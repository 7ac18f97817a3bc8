"""A time limit for a user's regular expressions, because a pattern such as `(a+)+b` can take exponential time."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import FrameType
from typing import Any, TypeVar

from schemas.main_thread import in_main_thread

Result = TypeVar("Result")

LIMIT_S = 1.0  # CPU time for one text; an ordinary pattern takes about a microsecond
_LONG = 10_000  # characters; in a longer text even quadratic time is too long
_MAX_SLOW_TEXTS = 3  # slow texts after which a check is given up
_WHY = "A pattern with nested repeats such as (a+)+b can take exponential time: write it with a single repeat."
_slow: Counter[tuple[str, str]] = Counter()  # number of slow texts by check and pattern


class CheckTimedOut(Exception):
    """A check was given up. The message names the check and the row."""


class _Expired(BaseException):
    """Raised by the timer inside the search."""


def search(pattern: re.Pattern[str], text: str, check: str, row: str) -> re.Match[str] | None:
    """`pattern.search(text)` under `limited`. Raises CheckTimedOut; `check` and `row` are named in the message."""
    if len(text) <= _LONG and not _may_take_long(pattern.pattern):
        return pattern.search(text)
    return limited(check, pattern.pattern, row, partial(pattern.search, text))


def limited(check: str, settings: str, row: str, compute: Callable[[], Result]) -> Result:
    """`compute()` with at most LIMIT_S of CPU time. Raises CheckTimedOut if it takes longer, and immediately if the
    check with these settings has already done so on _MAX_SLOW_TEXTS rows.

    `re` checks for signals during a search, but Python handles signals only in the main thread, which therefore calls
    it (`schemas.main_thread`). If that is busy with something else, nothing ends a search.
    """
    key = (check, settings)
    if _slow[key] >= _MAX_SLOW_TEXTS:
        raise CheckTimedOut(f"{check} is skipped for row {row}: it took too long on {_MAX_SLOW_TEXTS} rows. {_WHY}")

    def timed() -> Result:
        try:
            with _timer():
                return compute()
        except _Expired:
            _slow[key] += 1
            raise CheckTimedOut(f"{check} took more than {LIMIT_S:g} s on row {row}. {_WHY}") from None

    return in_main_thread(timed)


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


_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")
_REPEAT = re.compile(r"[*+]|\{\d*,\d*\}")
_OPTIONAL = re.compile(r"(?<![(*+?}])\?")
_MAX_CHOICES = 10  # independent ones, which can be combined in a thousand ways


@lru_cache(1024)
def _may_take_long(pattern: str) -> bool:
    """False for most patterns: without a repeated group, with at most one repeat and few choices, a search takes
    quadratic time at worst."""
    plain = _CLASS.sub("x", pattern)
    choices = len(_OPTIONAL.findall(plain)) + min(plain.count("("), plain.count("|"))
    return bool(_REPEATED_GROUP.search(plain)) or len(_REPEAT.findall(plain)) > 1 or choices > _MAX_CHOICES
