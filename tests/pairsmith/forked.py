"""The command line as a process of its own that does not import everything anew, which is most of a short command.

A server imports the product once and forks for each command. What is forked is a process like any other: its own
folder, environment, streams, signals and exit code. Two servers take turns, so that a command and the one behind it
differ in their hash seeds, as they would anywhere. Where the interpreter has to begin with something else
(`BEGINS_WITH`), and where forking is not safe, `python -m pairsmith` is run as it is.
"""

from __future__ import annotations

import atexit
import gc
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What is read once, as the interpreter starts or as something is imported.
BEGINS_WITH = ("PYTHON", "LC_", "LANG", "TZ", "HOME", "XDG_", "HF_", "OMP_", "OPENBLAS_", "PAIRSMITH_FAILPOINT")
_BEGAN = os.environ | {"PYTHONPATH": str(ROOT)}
# Threads do not go along.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_turn = itertools.count()


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a command in this environment may be forked: it begins with what the tests themselves began with."""
    ours, theirs = (
        {name: value for name, value in one.items() if name.startswith(BEGINS_WITH)} for one in (_BEGAN, environment)
    )
    return sys.platform == "linux" and ours == theirs


def run(
    arguments: list[str], folder: Path, environment: Mapping[str, str], stdin: str | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """`pairsmith` with these arguments in `folder`, as `subprocess.run` would; raises TimeoutExpired."""
    address = _server(next(_turn) % 2)
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as talk,
    ):
        given.write((stdin or "").encode())
        given.seek(0)
        talk.settimeout(timeout_s)
        talk.connect(address)
        asked = json.dumps({"arguments": arguments, "folder": str(folder), "environment": dict(environment)}).encode()
        socket.send_fds(talk, [len(asked).to_bytes(8, "big")], [given.fileno(), out.fileno(), err.fileno()])
        talk.sendall(asked)
        with talk.makefile("r") as answers:
            process = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout_s) from None
        said, told = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err))
        return subprocess.CompletedProcess(arguments, code, said, told)


@cache
def _server(number: int) -> str:
    """The address of a server, which is started when it is asked for first and ends with this process."""
    address = f"\0pairsmith-tests-{os.getpid()}-{number}"
    command = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-m", "tests.pairsmith.forked", address[1:]]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_BEGAN | _ONE_THREAD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    atexit.register(process.communicate)  # the end of its input is its end
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address


def _import_commands() -> None:
    """What most commands import, and no model."""
    import click

    for name in ("datasets", "pyarrow.parquet", "sqlalchemy.dialects.sqlite", "curate.card", "synth.endpoint"):
        import_module(name)
    from pairsmith.commands import COMMANDS, group

    for name, _, _ in COMMANDS:
        group.get_command(click.Context(group), name)


def _serve(address: str) -> None:
    """Fork for every command that is asked for; returns in the process that is to be the command."""
    _import_commands()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{address}")
        listening.listen()
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listening.fileno(), 0], [], [])
            if 0 in ready:
                os._exit(0)
            talk, _ = listening.accept()
            if os.fork() == 0:
                break
            talk.close()
    with talk:
        _become_the_command(talk)


def _become_the_command(talk: socket.socket) -> None:
    """Fork once more: this process tells the number of the other, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(talk, 8, 3)
    asked = json.loads(talk.makefile("rb").read(int.from_bytes(length, "big")))
    process = os.fork()
    if process:
        talk.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        with suppress(BrokenPipeError):
            talk.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = [str(ROOT / "pairsmith" / "__main__.py"), *asked["arguments"]]
    sys.path.insert(0, asked["folder"])
    random.seed()


if __name__ == "__main__":
    _serve(sys.argv[1])
    from pairsmith.cli import main

    sys.exit(main())
