"""Child processes: making a child Python import these packages rather than others of the same name, and running a
server process for the duration of a block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import sysconfig
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

from schemas.errors import TeacherError

_GRACE_S = 30.0  # longer than `synth.beside_parent` gives the process that it runs


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules; -P keeps a `train.py` or `schemas.py` in the working folder from being
    imported instead of ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """The current environment. If our packages are not installed, their parent folder is put first on PYTHONPATH."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([root, before] if before else [root])
    return environment


@contextlib.asynccontextmanager
async def serving_child(
    command: Sequence[str], log: IO[bytes], *, pipe_stdout: bool = True, more: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Process]:
    """A server process that runs for the duration of the block, with `more` added to its environment variables.

    Its output goes to `log`, except that with `pipe_stdout` standard output is a pipe to the parent. It runs in its own
    session, so Ctrl-C reaches only the parent, which can drain first. At the end of the block the child's standard
    input is closed. The child is expected to exit then, as it does when its parent dies; if it does not, it is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**child_environment(), **more},
        stdin=PIPE,
        stdout=PIPE if pipe_stdout else log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _GRACE_S)
    except TimeoutError:
        # On a busy machine the process may exit between the timeout and this call.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def first_line(process: Process, log: IO[bytes], within_s: float, name: str, begins: bytes = b"") -> bytes:
    """The first line of the child's standard output that starts with `begins`; empty if the child has exited.

    Raises TeacherError if no such line arrives within `within_s` seconds.
    """
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within_s):
            while (line := await process.stdout.readline()) and not line.startswith(begins):
                pass
    except TimeoutError:
        raise TeacherError(
            f"{name} did not start within {within_s:.0f} s.",
            why=last_words(log) or None,
            fix="Stop other work on this machine, and try again.",
        ) from None
    return line


def how_ended(name: str, code: int, when: str) -> str:
    """What to say of a child that ended with `code` when it should not have."""
    killed = " It was killed; is there enough memory?" if code in (-9, 137) else ""  # 137: from `synth.beside_parent`
    return f"{name} ended with code {code} {when}.{killed}"


def last_words(log: IO[bytes], most: int = 2000) -> str:
    """The last `most` bytes of a child's log. Reads without moving the file offset, which the child shares and writes
    at."""
    end = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), most, max(0, end - most)).decode(errors="replace").strip()
