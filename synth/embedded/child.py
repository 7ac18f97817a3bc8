"""Child processes of ours: how a child Python finds these packages, and nobody else's of the same name, and a child
that serves for as long as it is wanted."""

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

_GRACE_S = 30.0  # more than `synth.beside_parent` gives what it runs


def child_command(module: str, *arguments: str) -> list[str]:
    """Runs a module of ours; -P keeps a `train.py` or `schemas.py` in the working folder off the child's path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """This environment, with the folder that holds our packages in front where they are not installed ones."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([root, before] if before else [root])
    return environment


@contextlib.asynccontextmanager
async def serving_child(
    command: Sequence[str],
    log: IO[bytes],
    *,
    tells: bool = True,
    more: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Process]:
    """A child that serves while the block runs, with the variables `more`. What it writes goes to `log`, but for
    standard output where it `tells` its parent something there.

    It is in a session of its own, so Ctrl-C reaches only the parent, which can drain first. At the end of the block its
    standard input closes, at which it ends, as it does when its parent dies; one that does not is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**child_environment(), **more},
        stdin=PIPE,
        stdout=PIPE if tells else log,
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
        # On a busy machine it may end between the last look and this one.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def first_line(process: Process, log: IO[bytes], within_s: float, name: str, begins: bytes = b"") -> bytes:
    """The first line that `begins` so of what a child tells its parent; nothing where it has ended. Raises TeacherError
    where none comes in time."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within_s):
            while (line := await process.stdout.readline()) and not line.startswith(begins):
                pass
    except TimeoutError:
        raise TeacherError(
            f"{name} did not start within {within_s:.0f} s.",
            why=last_words(log) or None,
            fix="End other work on this machine.",
        ) from None
    return line


def last_words(log: IO[bytes], most: int = 2000) -> str:
    """The end of what a child wrote. Reads without moving the offset, which the child shares and writes at."""
    end = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), most, max(0, end - most)).decode(errors="replace").strip()
