"""Runs the product's processes by forking, so that they need not import everything again: imports are most of a short
command's time, and cost six CPU seconds for a model of one kilobyte.

A server imports the product once and forks for each process. A forked process is like any other: it has its own folder,
environment, streams, signals, session and exit code. If the requesting process is killed, its connection closes, and
the forked process is killed too. Commands are requested with `run`; processes that the product
starts itself (jobs, embedded models) with `child_command`, whose program (`forked_child`) is a stand-in for the
process. There are two servers for commands, used in turn, so that consecutive processes have different hash seeds as
they normally would, and one for models, which are large. A process that needs another start-up environment
(`BEGINS_WITH`), or that cannot be forked safely, is started normally.
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
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module, reload
from pathlib import Path
from runpy import run_module
from typing import Any

from schemas import failpoints
from synth.embedded import process as embedded_process
from tests.pairsmith import forked_child

ROOT = Path(__file__).parents[2]
# Prefixes of variables that are read only once, when the interpreter starts or a module is imported.
STARTUP_VARS = ("PYTHON", "LC_", "LANG", "TZ", "HOME", "XDG_", "HF_", "OMP_", "OPENBLAS_")
_OWN_ENV = os.environ | {"PYTHONPATH": str(ROOT)}
# Variables that the tests have and a job does not, or that make no difference to it: threads are not forked.
_IGNORED = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "OMP_", "OPENBLAS_")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
COMMANDS, MODELS = "commands", "models"
NO_SERVER = "-"
"""The address of no server: processes requested there are started normally."""
_SERVERS = {COMMANDS: 2, MODELS: 1}
# NVIDIA, AMD and WSL. Torch initialises them when loaded, and processes forked afterwards cannot use them.
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_turn = itertools.count()
_starting = threading.Lock()  # concurrent threads must not start a server twice


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a command with this environment can be forked: it must start like the tests' own process."""
    ours, theirs = (
        {name: value for name, value in one.items() if name.startswith(STARTUP_VARS)} for one in (_OWN_ENV, environment)
    )
    return sys.platform == "linux" and ours == theirs


def _fixed_vars(environment: Mapping[str, str], kind: str) -> dict[str, object]:
    """The variables that an interpreter reads at start-up; a path that is on PYTHONPATH twice counts once. For models
    the settings that keep them from contacting a hub are ignored."""
    ignored = (*_IGNORED, *embedded_process._CHILD_SETTINGS) if kind == MODELS else _IGNORED
    return {
        name: set(value.split(os.pathsep)) if name == "PYTHONPATH" else value
        for name, value in environment.items()
        if name.startswith(STARTUP_VARS) and not name.startswith(ignored)
    }


def child_command(module: str, *arguments: str) -> list[str]:
    """Like `synth.embedded.child.child_command`, for a job or a model."""
    return in_its_place(address(MODELS if module == "synth.embedded.server" else COMMANDS), module, *arguments)


def training_command(module: str, *arguments: str) -> list[str]:
    """Like `child_command`, for a job that trains or serves a model."""
    return in_its_place(address(MODELS), module, *arguments)


def in_its_place(address: str, module: str, *arguments: str) -> list[str]:
    """The command of a stand-in for `python -P -m MODULE ARGUMENTS`, to be forked by the server at this address."""
    return [sys.executable, "-I", "-S", forked_child.__file__, address, module, *arguments]


def run(
    arguments: list[str], folder: Path, environment: Mapping[str, str], stdin: str | None, timeout_s: float,
    kind: str = COMMANDS,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `pairsmith` with these arguments in `folder`, like `subprocess.run`; raises TimeoutExpired. With
    `kind=MODELS` the modules for training and serving models are already imported."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        given.write((stdin or "").encode())
        given.seek(0)
        connection.settimeout(timeout_s)
        request = {"module": "pairsmith", "arguments": arguments, "folder": str(folder), "leads": False}
        streams = [given.fileno(), out.fileno(), err.fileno()]
        connection.connect(f"\0{address(kind)}")
        forked_child.ask(connection, streams, environment=dict(environment), **request)
        with connection.makefile("r") as responses:
            try:
                responses.readline()  # its pid
                code = int(responses.readline())
            except TimeoutError:  # closing the connection kills the process
                raise subprocess.TimeoutExpired(arguments, timeout_s) from None
        output, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err))
        return subprocess.CompletedProcess(arguments, code, output, errors)


def address(kind: str) -> str:
    """The address of the next server in turn, or NO_SERVER if there can be none."""
    if sys.platform != "linux":
        return NO_SERVER
    if kind == MODELS and any(Path(device).exists() for device in _GPUS):
        kind = COMMANDS
    with _starting:
        return _server(kind, next(_turn) % _SERVERS[kind])


@cache
def _server(kind: str, number: int) -> str:
    """The address of a server, which is started on first use and ends with this process."""
    words = [str(os.getpid()), kind, str(number)]
    command = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-m", "tests.pairsmith.forked", *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_OWN_ENV | _ONE_THREAD | (embedded_process._CHILD_SETTINGS if kind == MODELS else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C reaches the tests only
    )
    atexit.register(process.communicate)  # it ends when its input ends
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return _server_address(*words)


def _server_address(owner: str, kind: str, number: str) -> str:
    return f"pairsmith-tests-{owner}-{kind}-{number}"


def _import_commands() -> None:
    """Import what most commands import, except models, and judge one text to load what takes a curation its first
    second: the patterns of English and the language identifier."""
    import click

    for name in (
        *("datasets", "pyarrow.parquet", "sqlalchemy.dialects.sqlite", "curate.export.card", "uvloop"),
        *("prompts.sandbox", "pairsmith.terminal.screen", "pairsmith.terminal.folder_watch", "pairsmith.report"),
        *("curate.review.gold", "curate.similarity.semantic", "curate.flags.unlikely_labels", "rich.progress"),
        "synth.endpoints.endpoint",
    ):
        import_module(name)
    from curate.gates import gates_for, judge_text
    from pairsmith.commands import COMMANDS, group
    from pairsmith.stages import generate
    from schemas.spec import GateSettings, TaskSettings
    from schemas.store import opening

    for name, _, _ in COMMANDS:
        group.get_command(click.Context(group), name)
    steps = gates_for(TaskSettings(name="first", style="Say more of it."), GateSettings(), ROOT)
    judge_text(
        "two boats on 3 May", "two boats, 3 May, worn edges under fine dust, candle light from left, calm END", steps
    )
    generate.free_tables = lambda: None  # they are the server's, and curation in the same process would load its own
    opening._SYNCHRONOUS, os.fsync = "OFF", lambda file: None  # no test loses power (see tests/conftest.py)


def _import_models() -> None:
    """Import what trains and serves a model, without loading a model."""
    from train.quiet import quiet

    with quiet():
        for name in (
            "synth.embedded.server",
            "train.trainer",
            "transformers.models.llama.modeling_llama",
            "peft",
            "bitsandbytes",
        ):
            import_module(name)


def _serve(owner: str, kind: str, number: str) -> str:
    """Fork for every requested process; returns the module in the process that is to run it."""
    _import_commands()
    if kind == MODELS:
        _import_models()
    embedded_process.child_command = partial(in_its_place, _server_address(owner, MODELS, "0"))  # if running
    gc.freeze()
    running: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> the process and who waits for it
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{_server_address(owner, kind, number)}")
        listening.listen()
        os.write(1, b"ready\n")
        os.dup2(2, 1)  # a process that a forked one started may outlive the tests, which read this stream to its end
        while True:
            waiting = {connection: process for process, connection in running.values()}
            ready, _, _ = select.select([0, listening, *running, *waiting], [], [])
            if 0 in ready:  # the tests have ended
                for process, _ in running.values():
                    os.kill(process, signal.SIGKILL)
                os._exit(0)
            for one in ready:
                if one in waiting:  # the requesting process was killed
                    os.kill(waiting[one], signal.SIGKILL)
            for ended in running.keys() & set(ready):
                _report_end(ended, *running.pop(ended))
            if listening in ready:
                connection, _ = listening.accept()
                if (request := _request(connection, kind)) is None:
                    connection.close()
                    continue
                if (process := os.fork()) == 0:
                    break
                for stream in request["streams"]:
                    os.close(stream)
                with suppress(OSError):
                    connection.sendall(f"{process}\n".encode())
                running[os.pidfd_open(process)] = process, connection
    for ended, (_, other) in running.items():
        os.close(ended)
        other.close()
    connection.close()
    return _become_the_process(request)


def _request(connection: socket.socket, kind: str) -> dict[str, Any] | None:
    """The requested process, or None if it cannot be forked here or the requesting process was killed meanwhile."""
    connection.settimeout(60)
    streams: list[int] = []
    try:
        length, streams, _, _ = socket.recv_fds(connection, 8, 3)
        with connection.makefile("rb") as sent:
            request: dict[str, Any] = json.loads(sent.read(int.from_bytes(length, "big")))
    except (OSError, ValueError):
        request = {}
    if request.get("module") == "pairsmith" or (
        request and _fixed_vars(os.environ, kind) == _fixed_vars(request["environment"], kind)
    ):
        return request | {"streams": streams}
    for stream in streams:
        os.close(stream)
    return None


def _report_end(ended: int, process: int, connection: socket.socket) -> None:
    """Report how a process ended to the one that requested it."""
    os.close(ended)
    _, status = os.waitpid(process, 0)
    with connection, suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become_the_process(request: dict[str, Any]) -> str:
    """Turn this process into the requested one; returns the module to run."""
    if request["leads"]:
        os.setsid()
    for number, stream in enumerate(request["streams"]):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    reload(failpoints)
    os.chdir(request["folder"])
    sys.argv = [str(ROOT / "pairsmith" / "__main__.py"), *request["arguments"]]
    if request["module"] == "pairsmith":
        sys.path.insert(0, request["folder"])
    random.seed()
    return str(request["module"])


def _end(code: int) -> None:
    """End like an interpreter does, except that modules are not taken apart: that copies every page of the server's
    memory that holds an object, and takes more CPU than most commands. If an output stream cannot be written, return,
    so that the interpreter ends and reports it."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    gc.collect()  # resources left open are reported; the server's own objects are frozen and not traversed
    with suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code & 0xFF)


if __name__ == "__main__":
    module = _serve(*sys.argv[1:])
    try:
        if module == "pairsmith":
            from pairsmith.cli import main

            sys.exit(main())
        sys.modules.pop(module, None)
        run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            _end(ended.code or 0)
        raise
