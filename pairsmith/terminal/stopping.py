"""Handling of Ctrl-C. The first one (or SIGTERM) asks the running stage to drain and save, the second ends the process
at once.

A terminal or ssh session that goes away (SIGHUP) counts as a first Ctrl-C, even if SIGHUP arrives several times: both
the kernel and the shell send it.
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
from typing import TYPE_CHECKING, NoReturn, TextIO

from pairsmith.terminal.failures import discard_output
from schemas.progress import ShouldStop

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INTERRUPTED = 130  # exit code
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IMPORTING = "<frozen importlib._bootstrap>"  # the file of a frame
_IMPORT_S, _TICK_S = 5.0, 0.02  # how long an import is waited for, and how often it is looked whether it has ended


def detach_from_terminal() -> None:
    """Redirect stdout and stderr to /dev/null if they are terminals: writing to a terminal that is gone raises an
    error, which would interrupt draining."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                discard_output(descriptor)


def _write_stderr(text: str) -> None:
    """Write to descriptor 2 directly. A signal handler may run while the stream is being written to, and the stream
    does not allow a nested write."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def end_at_once(kept: str) -> NoReturn:
    """End the process without waiting for anything, and say what is `kept`."""
    _write_stderr("\x1b[?25h\n" if sys.stderr.isatty() else "")
    _write_stderr(f"stopped at once; {kept}.\n")
    if folders := sys.modules.get("schemas.temporary_folders"):  # imported by whoever makes one
        folders.remove_temporary_folders()
    os._exit(INTERRUPTED)


class _Watched(io.FileIO):
    """A terminal or a pipe whose reader may go away. Once it has, output is discarded and work continues: SIGHUP may
    come after the first failed write, or not at all if the shell has disowned the job. Of progress and notes that go to
    a file on a full disk, what does not fit is lost: an error would end the command without a message."""

    def write(self, text: ReadableBuffer, /) -> int:
        try:
            return super().write(text)
        except OSError as gone:
            if gone.errno == errno.EPIPE:
                discard_output(self.fileno())
            elif gone.errno == errno.EIO:
                detach_from_terminal()
            elif gone.errno not in _FULL or self.fileno() != 2:
                raise
            return len(memoryview(text))


def _surviving_hangup(stream: TextIO) -> TextIO:
    """`stream`, or a replacement for it that keeps working when its terminal goes away or, for progress and notes, the
    reader of its pipe (`pairsmith generate 2>&1 | head`) or the room for its file."""
    if not stream.isatty() and not _is_stderr(stream):
        return stream
    binary = io.BufferedWriter(_Watched(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(binary, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


def _is_stderr(stream: TextIO) -> bool:
    with contextlib.suppress(OSError):  # a stream of a test or a notebook may have no descriptor
        return stream.fileno() == 2 and type(getattr(stream, "buffer", None)) in (io.BufferedWriter, io.FileIO)
    return False


class Stopping:
    """The user's request to stop, and the event that the running stage waits on."""

    def __init__(self) -> None:
        self.asked = False
        self.raised = False
        """The request has raised KeyboardInterrupt, because nothing was running that could drain."""
        self._postponed = 0
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._polled = False

    @contextmanager
    def draining(self) -> Iterator[asyncio.Event]:
        """An event of the running loop, set by the first signal. Outside this block the first signal raises
        KeyboardInterrupt, because nothing is running that could drain."""
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            yield self._event
        finally:
            self._event = self._loop = None

    @contextmanager
    def polled(self) -> Iterator[ShouldStop]:
        """A function that returns whether a stop was requested, for work without an event loop that polls it now and
        then."""
        self._polled = True
        try:
            yield lambda: self.asked
        finally:
            self._polled = False

    def handle_signal(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT, SIGTERM and SIGHUP, and of SIGALRM, by which `_interrupt` is called again."""
        if signum == signal.SIGHUP:
            detach_from_terminal()
            if self.asked:
                return
        if self.asked and signum != signal.SIGALRM:
            end_at_once("everything finished is in the store")
        self.asked = True
        if self._event is None and not self._polled:
            self._interrupt(frame)
            return
        _write_stderr("\nstopping: finishing what is in flight; press Ctrl-C again to stop at once.\n")
        if self._event is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)

    def _interrupt(self, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, but not within an import, as long as that takes no more than `_IMPORT_S`: an
        extension module that is being initialised may end the process with a segmentation fault (orjson)."""
        while frame is not None and frame.f_code.co_filename != _IMPORTING:
            frame = frame.f_back
        if frame is None or self._postponed * _TICK_S >= _IMPORT_S:
            self.raised = True
            raise KeyboardInterrupt
        self._postponed += 1
        signal.setitimer(signal.ITIMER_REAL, _TICK_S)


@contextmanager
def listening() -> Iterator[Stopping]:
    """Handle SIGINT, SIGTERM and SIGHUP inside the block. Where these are ignored, they stay so: SIGHUP under nohup,
    and SIGINT after `pairsmith ... &` in a script, whose Ctrl-C is meant for what the script does next."""
    stopping = Stopping()
    hears = (number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN)
    numbers = [signal.SIGTERM, signal.SIGALRM, *hears]
    before = {number: signal.signal(number, stopping.handle_signal) for number in numbers}
    shown = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_surviving_hangup, shown)
    try:
        yield stopping
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = shown
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
