"""The entry point of the `pairsmith` script and of `python -m pairsmith`."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from contextlib import suppress

_INTERRUPTED = 130


def main() -> int:
    """Run the command line and return its exit code; docs/cli.md lists the codes."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        code = _start()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads of a user's functions: Ctrl-C ends that
        _ignore_signals()
    except KeyboardInterrupt:  # before the handler of `pairsmith.terminal.stopping` is there, or after it has gone
        _ignore_signals()
        with suppress(OSError):  # it may be closed, or nobody reads it
            os.write(2, b"\nstopped: the command was starting or ending. What was stored is kept.\n")
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _exit_at_once(code)
    return code


def _exit_at_once(code: int) -> None:
    """End the process without taking its modules apart."""
    _ignore_signals()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it may be closed, or on a full disk
            stream.flush()
    os._exit(code)


def _ignore_signals() -> None:
    """Ignore what would end the process without our exit code while Python takes its modules apart."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        while signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(KeyboardInterrupt):  # by one that has just come
                signal.signal(number, signal.SIG_IGN)


def _start() -> int:
    # Imports create many objects and no garbage, and collecting it takes a sixth of the time of a short command.
    gc.set_threshold(50_000)
    from pathlib import Path
    from runpy import run_path

    run_path(str(Path(__file__).parents[1] / "schemas/package_binding.py"))["bind_packages_without_cwd"]()
    from pairsmith.commands import start

    return start()
