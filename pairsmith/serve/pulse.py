"""A sign of life of a job's process that has nothing to report: it computes, or a process does that it has started.

A long step, a model that is loaded, an answer that takes minutes on a busy machine are no silence.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_COMPUTES = 0.02  # of a processor; who only waits uses less


@contextmanager
def beating(path: Path, every_s: float = 15.0) -> Iterator[None]:
    """Renew the time of `path`, which holds the reports, as long as this process or its children compute."""
    ended = threading.Event()

    def beat() -> None:
        before_s = _cpu_s()
        while not ended.wait(every_s):
            now_s = _cpu_s()
            if now_s - before_s > _COMPUTES * every_s:
                with suppress(OSError):
                    os.utime(path)
            before_s = now_s

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # a look that has begun may still end in a sign


def _cpu_s() -> float:
    """What this process and all below it have used, those included that have ended; looking does not count."""
    processes = (ours := psutil.Process(), *ours.children(recursive=True))
    seconds = -time.thread_time()
    for process in processes:
        with suppress(psutil.Error):  # it has just ended
            seconds += sum(process.cpu_times()[:4])
    return seconds
