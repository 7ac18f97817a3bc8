"""Heartbeat of a job's process that has no progress to report, while it or one of its child processes is computing.

So a long step, the loading of a model, or an answer that takes minutes on a busy machine do not count as silence.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from schemas.blocking import beside

_BUSY_SHARE = 0.02  # share of one CPU; a process that only waits uses less


@contextmanager
def heartbeat(path: Path, every_s: float = 15.0) -> Iterator[None]:
    """Touch `path`, the file of the progress reports, as long as this process or its children use the CPU."""

    def beat(ended: threading.Event) -> None:
        before_s = _cpu_s()
        while not ended.wait(every_s):
            now_s = _cpu_s()
            if now_s - before_s > _BUSY_SHARE * every_s:
                with suppress(OSError):
                    os.utime(path)
            before_s = now_s

    with beside(beat):  # a check in progress at the end may still touch the file
        yield


def _cpu_s() -> float:
    """The CPU seconds used by this process and all its descendants, including ended ones, without this thread's own."""
    processes = (ours := psutil.Process(), *ours.children(recursive=True))
    seconds = -time.thread_time()
    for process in processes:
        with suppress(psutil.Error):  # the process has just ended
            seconds += sum(process.cpu_times()[:4])
    return seconds
