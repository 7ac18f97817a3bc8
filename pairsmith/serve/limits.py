"""Limits: request rates, sign-in attempts, sizes, and how many of a thing may be open at once."""

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
from schemas.compressed import unpack

BODY_BYTES = 1_000_000
UPLOAD_BYTES = 50_000_000
PROJECT_BYTES = 1_000_000_000
UPLOAD_ROWS = 200_000  # in a file of seeds, which is read into memory
ANONYMOUS_BYTES = 64_000
# Paths that accept file uploads. The form around a file adds some bytes of its own.
_UPLOADS = re.compile(r"/v1/files|/api/v1/projects/[^/]+/seeds|/new|/p/[^/]+/setup/seeds")


def check_size(size: int, what: str = "the file") -> None:
    """Raises Refusal (413) for a file that is too large to upload."""
    if size > UPLOAD_BYTES:
        raise Refusal(
            413,
            f"{what} is larger than {UPLOAD_BYTES // 10**6} MB.",
            code="too_large",
            fix="Split it into several files.",
        )


def unpacked(name: str, content: bytes) -> tuple[str, bytes]:
    """Name and content of an uploaded file, unpacked if it is compressed with gzip. Raises Refusal (413) if either is
    too large, InputError for a damaged file."""
    check_size(len(content))
    name, content = unpack(content, name, UPLOAD_BYTES + 1)
    check_size(len(content), "the unpacked file")
    return name, content


def check_quota(whose: str, size: int, fix: str) -> None:
    """Raises Refusal (413) if the files of `whose`, a noun phrase that begins the message, would take `size` bytes in
    all."""
    if size > PROJECT_BYTES:
        raise Refusal(413, f"{whose} would take up more than {PROJECT_BYTES // 10**9} GB.", code="quota", fix=fix)


class Rate(NamedTuple):
    """A token bucket: at most `burst` at once, and `per_second` in the long run."""

    per_second: float
    burst: int


REQUESTS = Rate(10, 50)
SIGN_INS = Rate(5 / 60, 5)
PREVIEWS = Rate(20 / 3600, 20)
AT_ONCE = {"chat": 4, "streams": 100}
_MOST_BUCKETS = 20_000


def max_body_bytes(path: str, *, signed_in: bool) -> int:
    """The maximum size in bytes of the body of a request to `path`."""
    if not signed_in:
        return ANONYMOUS_BYTES
    return UPLOAD_BYTES + 100_000 if _UPLOADS.fullmatch(path) else BODY_BYTES


class Limits:
    """Counts in memory: a service is a single process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._buckets: OrderedDict[tuple[str, Rate], tuple[float, float]] = OrderedDict()
        self._running: dict[str, int] = {}

    def take(self, who: str, rate: Rate, what: str) -> None:
        """Count one use. Raises Refusal (429) with the seconds until the next one is allowed."""
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
        """Hold one of at most `AT_ONCE[what]` slots. Raises Refusal (429) if all are taken."""
        with self._lock:
            count = self._running.get(what, 0)
            if count >= AT_ONCE[what]:
                raise Refusal(
                    429,
                    f"{count} {what} are already open.",
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
        """The number of slots that are taken now."""
        return self._running.get(what, 0)
