"""The product's processes, each one of its own, that do not import everything anew: most of a short command, and six
seconds of a processor for a model of a kilobyte.

A server imports the product once and forks for each process. What is forked is a process like any other: its own
folder, environment, streams, signals, session and exit code. Commands are asked for by `run`; what the product starts
itself (jobs, embedded models) by `child_command`, whose program (`forked_child`) stands in the process's place.
Of each kind there are two servers which take turns, so that a process and the one behind it differ in their hash seeds,
as they would anywhere; one of models, which are large. Where the interpreter has to begin with something else
(`BEGINS_WITH`), and where forking is not safe, the process is started as it is.
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

from schemas import failpoints
from synth.embedded import process as embedded_process
from tests.pairsmith import forked_child

ROOT = Path(__file__).parents[2]
# What is read once, as the interpreter starts or as something is imported.
BEGINS_WITH = ("PYTHON", "LC_", "LANG", "TZ", "HOME", "XDG_", "HF_", "OMP_", "OPENBLAS_")
_BEGAN = os.environ | {"PYTHONPATH": str(ROOT)}
# What a job has none of though the tests have it, and what it has no use for: threads do not go along.
_NO_MATTER = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "OMP_", "OPENBLAS_")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
COMMANDS, MODELS = "commands", "models"
NOBODY = "-"
"""No server's address: what is to be forked there is started."""
_SERVERS = {COMMANDS: 2, MODELS: 1}
# Of NVIDIA, AMD and WSL. Torch looks at them as it is loaded, and what is forked afterwards cannot use them.
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_turn = itertools.count()
_starting = threading.Lock()  # threads that ask for a server at once start one


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a command in this environment may be forked: it begins with what the tests themselves began with."""
    ours, theirs = (
        {name: value for name, value in one.items() if name.startswith(BEGINS_WITH)} for one in (_BEGAN, environment)
    )
    return sys.platform == "linux" and ours == theirs


def _beginning(environment: Mapping[str, str], kind: str) -> dict[str, object]:
    """What an interpreter that our processes start reads as it begins; a folder twice on its path is there once. With
    models nothing asks a hub, and whether it might is no matter."""
    no_matter = (*_NO_MATTER, *embedded_process._CHILD_SETTINGS) if kind == MODELS else _NO_MATTER
    return {
        name: set(value.split(os.pathsep)) if name == "PYTHONPATH" else value
        for name, value in environment.items()
        if name.startswith(BEGINS_WITH) and not name.startswith(no_matter)
    }


def child_command(module: str, *arguments: str) -> list[str]:
    """As `synth.embedded.child.child_command`, for a job or a model."""
    return in_its_place(address(MODELS if module == "synth.embedded.server" else COMMANDS), module, *arguments)


def training_command(module: str, *arguments: str) -> list[str]:
    """The same for a job that trains or serves a model."""
    return in_its_place(address(MODELS), module, *arguments)


def in_its_place(address: str, module: str, *arguments: str) -> list[str]:
    """`python -P -m MODULE ARGUMENTS`, forked by the server at this address."""
    return [sys.executable, "-I", "-S", forked_child.__file__, address, module, *arguments]


def run(
    arguments: list[str], folder: Path, environment: Mapping[str, str], stdin: str | None, timeout_s: float,
    kind: str = COMMANDS,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """`pairsmith` with these arguments in `folder`, as `subprocess.run` would; raises TimeoutExpired. A command of the
    kind `MODELS` has what trains and serves models imported."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as talk,
    ):
        given.write((stdin or "").encode())
        given.seek(0)
        talk.settimeout(timeout_s)
        asked = {"module": "pairsmith", "arguments": arguments, "folder": str(folder), "leads": False}
        streams = [given.fileno(), out.fileno(), err.fileno()]
        talk.connect(f"\0{address(kind)}")
        forked_child.ask(talk, streams, environment=dict(environment), **asked)
        with talk.makefile("r") as answers:
            try:
                answers.readline()  # its number
                code = int(answers.readline())
            except TimeoutError:  # nobody listens any more, which kills it
                raise subprocess.TimeoutExpired(arguments, timeout_s) from None
        output, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err))
        return subprocess.CompletedProcess(arguments, code, output, errors)


def address(kind: str) -> str:
    """The address of the server whose turn it is, where there can be one."""
    if sys.platform != "linux":
        return NOBODY
    if kind == MODELS and any(Path(device).exists() for device in _GPUS):
        kind = COMMANDS
    with _starting:
        return _server(kind, next(_turn) % _SERVERS[kind])


@cache
def _server(kind: str, number: int) -> str:
    """The address of a server, which is started when it is asked for first and ends with this process."""
    words = [str(os.getpid()), kind, str(number)]
    command = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-m", "tests.pairsmith.forked", *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_BEGAN | _ONE_THREAD | (embedded_process._CHILD_SETTINGS if kind == MODELS else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    atexit.register(process.communicate)  # the end of its input is its end
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return _named(*words)


def _named(owner: str, kind: str, number: str) -> str:
    return f"pairsmith-tests-{owner}-{kind}-{number}"


def _import_commands() -> None:
    """What most commands import, and no model; and what takes a curation its first second: the patterns of English and
    the identifier of languages."""
    import click

    for name in (
        *("datasets", "pyarrow.parquet", "sqlalchemy.dialects.sqlite", "curate.card", "synth.endpoint", "uvloop"),
        *("prompts.sandbox", "pairsmith.screen", "pairsmith.folder_watch", "pairsmith.report", "rich.progress"),
        *("curate.review.gold", "curate.semantic", "curate.unlikely_labels"),
    ):
        import_module(name)
    from curate.gates import gates_for, judge_text
    from pairsmith.commands import COMMANDS, group
    from schemas.spec import GateSettings, TaskSettings

    for name, _, _ in COMMANDS:
        group.get_command(click.Context(group), name)
    steps = gates_for(TaskSettings(name="first", style="Say more of it."), GateSettings(), ROOT)
    judge_text(
        "two boats on 3 May", "two boats, 3 May, worn edges under fine dust, candle light from left, calm END", steps
    )


def _import_models() -> None:
    """What trains and serves a model, and none that is loaded."""
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
    """Fork for every process that is asked for; returns in the one that is to be it, with its module."""
    _import_commands()
    if kind == MODELS:
        _import_models()
    embedded_process.child_command = partial(in_its_place, _named(owner, MODELS, "0"))  # of commands; if it is there
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{_named(owner, kind, number)}")
        listening.listen()
        os.write(1, b"ready\n")
        os.dup2(2, 1)  # what is forked may outlive the tests, which read this stream to its end
        while True:
            ready, _, _ = select.select([listening.fileno(), 0], [], [])
            if 0 in ready:
                os._exit(0)
            talk, _ = listening.accept()
            if os.fork() == 0:
                break
            talk.close()
    with talk:
        return _become_the_process(talk, kind)


def _become_the_process(talk: socket.socket, kind: str) -> str:
    """Fork once more: this process tells the number of the other, and how it ended. Whoever asked may be killed at any
    moment: then nobody listens, and the other is killed too."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(talk, 8, 3)
    try:
        asked = json.loads(talk.makefile("rb").read(int.from_bytes(length, "big")))
    except ValueError:  # killed as it asked
        os._exit(0)
    if asked["module"] != "pairsmith" and _beginning(os.environ, kind) != _beginning(asked["environment"], kind):
        os._exit(0)
    process = os.fork()
    if process:
        for stream in streams:
            os.close(stream)
        ended = os.pidfd_open(process)
        with suppress(OSError):
            talk.sendall(f"{process}\n".encode())
        if ended not in select.select([ended, talk], [], [])[0]:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        with suppress(OSError):
            talk.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    if asked["leads"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    reload(failpoints)
    os.chdir(asked["folder"])
    sys.argv = [str(ROOT / "pairsmith" / "__main__.py"), *asked["arguments"]]
    if asked["module"] == "pairsmith":
        sys.path.insert(0, asked["folder"])
    random.seed()
    return str(asked["module"])


if __name__ == "__main__":
    module = _serve(*sys.argv[1:])
    if module == "pairsmith":
        from pairsmith.cli import main

        sys.exit(main())
    sys.modules.pop(module, None)
    run_module(module, run_name="__main__", alter_sys=True)
