"""Runs a program of somebody else's for as long as its parent lives: `-m synth.beside_parent PROGRAM ARGUMENT...`.

Standard input is a pipe from the parent. When it ends, whatever ended the parent, the program and all its children are
asked to end, and killed after a while. The exit code is the program's.
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
    """Run `sys.argv[1:]`."""
    # Our packages are this child's, not those of a Python with other pins.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True, env=environment)

    def end() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock would end this interpreter badly while we wait
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
    with contextlib.suppress(ProcessLookupError):  # workers that outlived their head
        os.killpg(program.pid, signal.SIGKILL)
    return code


if __name__ == "__main__":
    sys.exit(main())
