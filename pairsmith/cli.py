"""The entry point of the `pairsmith` script and of `python -m pairsmith`."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from runpy import run_path

_INTERRUPTED = 130
OWN_FOLDERS = Path(__file__).parents[1] / "schemas/package_binding.py"


def main() -> int:
    """Run the command line and return its exit code; docs/cli.md lists the codes."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        code = _start()
    except KeyboardInterrupt:  # before the handler of `pairsmith.terminal.stopping` is there, or after it has gone
        with suppress(OSError):  # the stream may be closed, unread, or be writing
            os.write(2, b"\nstopped: the command was starting or ending. What was stored is kept.\n")
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _exit_at_once(code)
    return code


def _exit_at_once(code: int) -> None:
    """End the process. While Python takes its modules apart, one more Ctrl-C would end it without our exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it may be closed, or on a full disk
            stream.flush()
    os._exit(code)


def _start() -> int:
    # Imports create many objects and no garbage, and collecting it takes a sixth of the time of a short command.
    gc.set_threshold(50_000)
    run_path(str(OWN_FOLDERS))["bind_packages_without_cwd"]()
    from pairsmith.commands import start

    return start()
