"""Ends with a thread still running, output not flushed, a function to call at exit, and a resource left open."""

from __future__ import annotations

import atexit
import sys
import threading
import time


class Resource:
    """Only the garbage collector frees it."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        print("left open")


def _go_on() -> None:
    time.sleep(0.1)
    print("thread")


if __name__ == "__main__":
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 buffered, also if PYTHONUNBUFFERED is set
    atexit.register(print, "at exit")
    Resource()
    threading.Thread(target=_go_on).start()
    print("main")
    sys.exit(int(sys.argv[1]))
