"""Runs an external program for as long as the parent process lives: `-m synth.beside_parent PROGRAM ARGUMENT...`.

Standard input is a pipe from the parent. When it closes, however the parent ended, the program and all its children are
terminated, and killed after a grace period. The exit code is the program's, or 128 and the signal that ended it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

_GRACE_S = 20.0


def main() -> int:
    """Run the command in `sys.argv[1:]`."""
    # PYTHON* variables are meant for this process, not for a Python with other package versions.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, env=environment)

    def end() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would break the interpreter's shutdown while we wait
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
    code = program.wait()
    with contextlib.suppress(ProcessLookupError):  # worker processes that outlived the program
        os.killpg(program.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
