"""Ctrl-C: the first one (or SIGTERM) asks the running stage to drain and save, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Whether a person asked to stop, and the event that the running stage listens to."""

    def __init__(self) -> None:
        self.asked = False
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def draining(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that the first signal sets. Outside of this block the first signal raises
        KeyboardInterrupt instead, because nobody is there to drain."""
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            yield self._event
        finally:
            self._event = self._loop = None

    def heard(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT and SIGTERM."""
        if self.asked:
            sys.stderr.write("\x1b[?25h\n" if sys.stderr.isatty() else "")
            sys.stderr.write("stopped at once; everything that was finished is in the store.\n")
            sys.stderr.flush()
            os._exit(130)
        self.asked = True
        if self._event is None or self._loop is None:
            raise KeyboardInterrupt
        sys.stderr.write("\nstopping: finishing what is in flight; press Ctrl-C again to stop at once.\n")
        self._loop.call_soon_threadsafe(self._event.set)


@contextmanager
def listening() -> Iterator[Stopping]:
    """Handle SIGINT and SIGTERM for the length of the block."""
    stopping = Stopping()
    before = {number: signal.signal(number, stopping.heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
