"""How much and how often: request rates, tries to sign in, and how many of a thing at once."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pairsmith.serve.problems import Refusal

BODY_BYTES = 1_000_000
UPLOAD_BYTES = 50_000_000
PROJECT_BYTES = 1_000_000_000
UPLOAD_ROWS = 200_000  # of a file of seeds, which is read into memory
ANONYMOUS_BYTES = 64_000
# Paths that take files; a form around a file has some bytes of its own.
_UPLOADS = re.compile(r"/v1/files|/api/v1/projects/[^/]+/seeds|/new|/p/[^/]+/setup/seeds")


def check_size(size: int) -> None:
    """Raises Refusal (413) for a file that is too large to be sent."""
    if size > UPLOAD_BYTES:
        raise Refusal(413, f"the file has more than {UPLOAD_BYTES // 10**6} MB.", code="too_large")


def check_quota(whose: str, size: int, fix: str) -> None:
    """Raises Refusal (413) where `whose` files, as the beginning of a sentence, would take `size` bytes in all."""
    if size > PROJECT_BYTES:
        raise Refusal(413, f"{whose} would take more than {PROJECT_BYTES // 10**9} GB.", code="quota", fix=fix)


class Rate(NamedTuple):
    """At most `burst` at once, and `per_second` of them in the long run."""

    per_second: float
    burst: int


REQUESTS = Rate(10, 50)
SIGN_INS = Rate(5 / 60, 5)
PREVIEWS = Rate(20 / 3600, 20)
AT_ONCE = {"chat": 4, "streams": 100}
_MOST_BUCKETS = 20_000


def most_bytes(path: str, *, signed_in: bool) -> int:
    """How long the body of a request to `path` may be."""
    if not signed_in:
        return ANONYMOUS_BYTES
    return UPLOAD_BYTES + 100_000 if _UPLOADS.fullmatch(path) else BODY_BYTES


class Limits:
    """Counts in this process: a service is one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._buckets: OrderedDict[tuple[str, Rate], tuple[float, float]] = OrderedDict()
        self._running: dict[str, int] = {}

    def take(self, who: str, rate: Rate, what: str) -> None:
        """Count one. Raises Refusal (429) with the seconds until the next is allowed."""
        with self._lock:
            now = self._clock()
            left, at = self._buckets.pop((who, rate), (float(rate.burst), now))
            left = min(float(rate.burst), left + (now - at) * rate.per_second)
            allowed = left >= 1
            self._buckets[who, rate] = (left - 1 if allowed else left, now)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)
        if not allowed:
            wait_s = max(1, math.ceil((1 - left) / rate.per_second))
            raise Refusal(429, f"too many {what}.", code="rate_limited", fix=f"Wait {wait_s} s.", retry_after_s=wait_s)

    @contextmanager
    def one_of(self, what: str) -> Iterator[None]:
        """One of at most `AT_ONCE[what]` at the same time. Raises Refusal (429)."""
        with self._lock:
            count = self._running.get(what, 0)
            if count >= AT_ONCE[what]:
                raise Refusal(
                    429,
                    f"{count} {what} are open already.",
                    code="too_many_at_once",
                    fix="Close one.",
                    retry_after_s=10,
                )
            self._running[what] = count + 1
        try:
            yield
        finally:
            with self._lock:
                self._running[what] -= 1

    def running(self, what: str) -> int:
        """How many are open now."""
        return self._running.get(what, 0)
