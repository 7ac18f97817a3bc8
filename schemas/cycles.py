"""Python's search for objects that hold each other, put off where very many are made and none of them do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_YOUNG = 50_000
_lock = Lock()
_before: list[tuple[int, int, int]] = []  # the thresholds when each block began that has not ended


@contextmanager
def seldom_sought() -> Iterator[None]:
    """A block, or the call of a function, in which the collector waits for 50,000 new objects, not for 700. Of blocks
    that overlap, in whatever order they end, the last one puts back what was before the first.

    A row on its way is a hundred objects or more, which end without a cycle: at 700 all that are on their way are
    looked through every few rows, which took a fifth of the CPU of a generated row.
    """
    with _lock:
        young, *older = held = gc.get_threshold()
        _before.append(held)
        gc.set_threshold(max(young, _YOUNG) if young else 0, *older)  # 0: somebody has switched it off
    try:
        yield
    finally:
        with _lock:
            held = _before.pop()
            if not _before:
                gc.set_threshold(*held)
