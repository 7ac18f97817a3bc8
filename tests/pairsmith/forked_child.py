"""`python -I -S forked_child.py ADDRESS MODULE ARGUMENTS` stands in the place of `python -P -m MODULE ARGUMENTS`.

The server of `forked` at this address forks that process; this one passes signals on to it and ends as it ends. Where
no server is there, or the process has to begin otherwise, it becomes that process itself. Killing it kills both.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

KILL = signal.SIGUSR1
"""Kills the process, and ends this one when that is gone; a kill of this one does not wait for it."""
PASSED_ON = {number: number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)} | {KILL: signal.SIGKILL}


def ask(talk: socket.socket, streams: list[int], **asked: object) -> None:
    """Ask the server that is connected to for a process with these streams."""
    body = json.dumps(asked).encode()
    socket.send_fds(talk, [len(body).to_bytes(8, "big")], streams)
    talk.sendall(body)


def main(address: str, module: str, *arguments: str) -> int:
    """The exit code of the process that is forked."""
    given = {"folder": os.getcwd(), "environment": dict(os.environ), "leads": os.getsid(0) == os.getpid()}
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with socket.socket(socket.AF_UNIX) as talk:
        try:
            talk.connect(f"\0{address}")
            ask(talk, [0, 1, 2], module=module, arguments=arguments, **given)
            answers = talk.makefile("r")
            process = int(answers.readline())
        except (OSError, ValueError):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])

        def pass_on(number: int, frame: object) -> None:
            with suppress(ProcessLookupError):  # it has ended, which is told next
                os.kill(process, PASSED_ON[signal.Signals(number)])

        for number in PASSED_ON:
            signal.signal(number, pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        code = int(answers.readline())
    if code < 0:
        if -code in PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
