"""Ctrl-C: the first one (or SIGTERM) asks the running stage to drain and save, the second ends the process at once.

A terminal or an ssh session that goes away (SIGHUP) counts as a first one, however often it is told: its kernel and its
shell both say it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from schemas.progress import Asked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED = 130  # exit code
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


def _let_go_of_the_terminal() -> None:
    """Point what writes to a terminal elsewhere: writing to one that is gone is an error, in the middle of draining."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _say(text: str) -> None:
    """Write to standard error past its stream: a signal may come while that is being written to, and it refuses a
    second writer within the first."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


class _Terminal(io.FileIO):
    """A terminal. When it is gone, what is written to it goes nowhere, and the work goes on: the hangup may come after
    the first failed write, or not at all where the shell let go of the job."""

    def write(self, text: ReadableBuffer, /) -> int:
        try:
            return super().write(text)
        except OSError as gone:
            if gone.errno != errno.EIO:
                raise
            _let_go_of_the_terminal()
            return len(memoryview(text))


def _outliving(stream: TextIO) -> TextIO:
    """The same stream, which a terminal that goes away does not end."""
    if not stream.isatty():
        return stream
    binary = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(binary, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


class Stopping:
    """The request of a person to stop, and the event that the running stage listens to."""

    def __init__(self) -> None:
        self.asked = False
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looked_at = False

    @contextmanager
    def draining(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that the first signal sets. Outside of this block the first signal raises
        KeyboardInterrupt instead, because nobody is there to drain."""
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            yield self._event
        finally:
            self._event = self._loop = None

    @contextmanager
    def looked_at(self) -> Iterator[Asked]:
        """The question whether somebody has asked to stop, for work without a loop that asks it now and then."""
        self._looked_at = True
        try:
            yield lambda: self.asked
        finally:
            self._looked_at = False

    def heard(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT, SIGTERM and SIGHUP."""
        if signum == _HANGUP:
            _let_go_of_the_terminal()
            if self.asked:
                return
        if self.asked:
            _say("\x1b[?25h\n" if sys.stderr.isatty() else "")
            _say("stopped at once; everything that was finished is in the store.\n")
            os._exit(INTERRUPTED)
        self.asked = True
        if self._event is None and not self._looked_at:
            raise KeyboardInterrupt
        _say("\nstopping: finishing what is in flight; press Ctrl-C again to stop at once.\n")
        if self._event is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)


@contextmanager
def listening() -> Iterator[Stopping]:
    """Handle SIGINT, SIGTERM and SIGHUP for the length of the block; where nohup has SIGHUP ignored, it stays so."""
    stopping = Stopping()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        numbers.append(_HANGUP)
    before = {number: signal.signal(number, stopping.heard) for number in numbers}
    sys.stdout, sys.stderr, *shown = _outliving(sys.stdout), _outliving(sys.stderr), sys.stdout, sys.stderr
    try:
        yield stopping
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = shown
        for number, handler in before.items():
            signal.signal(number, handler)
