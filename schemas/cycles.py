"""Python's search for objects that hold each other, put off where very many are made and none of them do."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 50_000
_lock = threading.Lock()
_blocks, _before = 0, gc.get_threshold()


@contextmanager
def seldom_sought() -> Iterator[None]:
    """A block, or the call of a function, in which the collector waits for 50,000 new objects, not for 700.

    A row on its way is a hundred objects or more, which end without a cycle: at 700 all that are on their way are
    looked through every few rows, which took a fifth of the CPU of a generated row. The collector is the process's: it
    is as before once the last such block has ended, in whatever thread.
    """
    global _blocks, _before
    with _lock:
        if not _blocks:
            _before = young, *older = gc.get_threshold()
            gc.set_threshold(max(young, _YOUNG) if young else 0, *older)  # 0: somebody has switched it off
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                gc.set_threshold(*_before)
