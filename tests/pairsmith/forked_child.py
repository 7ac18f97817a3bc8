"""`python -I -S forked_child.py ADDRESS MODULE ARGUMENTS` is a stand-in for `python -P -m MODULE ARGUMENTS`.

The server of `forked` at this address forks that process; the stand-in forwards signals to it and ends the way it ends.
Without a server, or if the process needs another start-up environment, the stand-in becomes that process itself.
Killing the stand-in kills both.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

KILL = signal.SIGUSR1
"""Kills the process and ends the stand-in once it is gone; killing the stand-in itself does not wait for that."""
FORWARDED = {number: number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)} | {KILL: signal.SIGKILL}


def ask(connection: socket.socket, streams: list[int], **request: object) -> None:
    """Ask the connected server for a process with these streams."""
    body = json.dumps(request).encode()
    socket.send_fds(connection, [len(body).to_bytes(8, "big")], streams)
    connection.sendall(body)


def main(address: str, module: str, *arguments: str) -> int:
    """Returns the exit code of the forked process."""
    given = {"folder": os.getcwd(), "environment": dict(os.environ), "leads": os.getsid(0) == os.getpid()}
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(f"\0{address}")
            ask(connection, [0, 1, 2], module=module, arguments=arguments, **given)
            responses = connection.makefile("r")
            process = int(responses.readline())
        except (OSError, ValueError):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])

        def forward(number: int, frame: object) -> None:
            with suppress(ProcessLookupError):  # it has ended; the next line of the response says how
                os.kill(process, FORWARDED[signal.Signals(number)])

        for number in FORWARDED:
            signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = int(responses.readline())
    if code < 0:
        if -code in FORWARDED:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
