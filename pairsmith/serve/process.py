"""Keeping a job's process running until it has recorded its result: start, adopt, restart and stop it.

The server may end at any moment. The next one finds everything it needs to know in the job's folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from pairsmith.serve.child import BUSY, STOPPING
from pairsmith.serve.events import each
from pairsmith.serve.parts import Part
from pairsmith.terminal.failures import as_json
from pairsmith.terminal.stopping import INTERRUPTED
from schemas.errors import PairsmithError
from schemas.files import is_locked, read_json, replaced
from synth.embedded.child import child_command, child_environment

MOST_DEATHS = 4  # how many processes may die without a result before the job fails: the first and three more
MOST_INTERRUPTIONS = 20  # a process that keeps getting interrupted is not restarted forever
GRACE_S = 300.0  # between SIGTERM and SIGKILL; a draining stage needs seconds, training evaluates and saves
_START_TIMEOUT_S = 300.0
_CHECK_EVERY_S = 0.2

# When this server began to stop a job; monotonic, so independent of clock changes.
_stopping_since_s: dict[Path, float] = {}
# Started by this server; a process whose job was stopped is reaped here.
_started_processes: set[subprocess.Popen[bytes]] = set()


class End(TypedDict):
    """How a part ended. `problem` is the command's error, as in its `--json` output."""

    code: int
    problem: dict[str, Any] | None


async def keep_alive(
    folder: Path, nth: int, part: Part, environment: Callable[[], dict[str, str]], cancelled: Callable[[], bool]
) -> End:
    """Wait until part `nth` of the job in `folder` has ended, starting as many processes as that takes.

    A live process is adopted, whichever server started it. One that died without a result is restarted, as is one that
    was interrupted although the job was not cancelled, for example because its container was stopped; both only a
    limited number of times. `cancelled` returns whether a user has cancelled the job. `environment` returns the
    process's variables, or raises PairsmithError if the spec may not run.
    """
    last_code: int | None = None
    until_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        if end := ended(folder, nth):
            too_many = _count_interruptions(folder, nth) >= MOST_INTERRUPTIONS
            if end["code"] != INTERRUPTED or too_many or await asyncio.to_thread(cancelled):
                return End(code=end["code"], problem=end["problem"])
            (folder / f"exit-{nth}.json").replace(folder / f"interrupted-{nth}-{time.time_ns()}.json")
        if is_held(folder):
            await asyncio.sleep(_CHECK_EVERY_S)
            continue
        try:
            # first, because stopping the job puts a file there
            await asyncio.to_thread(folder.mkdir, 0o700, True, True)
            if await asyncio.to_thread(cancelled):
                return End(code=INTERRUPTED, problem=None)
            if ended(folder, nth):  # it ended between the two checks
                continue
            if (deaths := _count_deaths(folder, nth)) >= MOST_DEATHS:
                return _end_after_deaths(last_code, deaths)
            await asyncio.sleep(deaths / 2)
            process = await asyncio.to_thread(_start, folder, nth, part, environment)
        except PairsmithError as error:
            return End(code=error.exit_code, problem=as_json(error))
        except OSError as error:  # a full disk or no free process: may be temporary
            if time.monotonic() > until_s:
                return _not_started(error)
            await asyncio.sleep(1.0)
            continue
        until_s = time.monotonic() + _START_TIMEOUT_S
        # Waiting for it in a thread would keep the server from stopping.
        while (code := process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_CHECK_EVERY_S)
        last_code = code if code != BUSY else last_code


def ended(folder: Path, nth: int) -> dict[str, Any] | None:
    """The recorded result of a part; None if it has not ended."""
    return read_json(folder / f"exit-{nth}.json")


def starts(folder: Path) -> list[dict[str, Any]]:
    """The start record of every process, oldest first."""
    return [line for _, line in each(folder / "starts.jsonl")]


def is_held(folder: Path) -> bool:
    """Whether a process of this job is alive, whichever server started it."""
    return is_locked(folder / "lock")


def stop(folder: Path) -> None:
    """Ask the process of a job to stop. When called again after a grace period, kill it and its children.

    SIGTERM is sent only once, because a second one would end it without draining. A process that has only just been
    started finds the `stopping` file once it holds its lock.
    """
    mark = folder / STOPPING
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        send_signal, number = os.kill, signal.SIGTERM
    except FileExistsError:
        if time.monotonic() - _stopping_since_s.setdefault(mark, time.monotonic()) <= GRACE_S:
            return
        send_signal, number = os.killpg, signal.SIGKILL
    except OSError:
        return  # nothing was started yet, or the disk is full; a server that sees it running tries again
    with suppress(OSError, ValueError, KeyError):  # it has just started or ended
        if is_held(folder):
            send_signal(int(json.loads((folder / "lock").read_bytes())["pid"]), number)


def _count_deaths(folder: Path, nth: int) -> int:
    """How many processes of the part ended without a result."""
    began = [start for start in starts(folder) if start["part"] == nth]
    return len(began) - _count_interruptions(folder, nth)


def _count_interruptions(folder: Path, nth: int) -> int:
    return len(list(folder.glob(f"interrupted-{nth}-*.json")))


def _start(folder: Path, nth: int, part: Part, environment: Callable[[], dict[str, str]]) -> subprocess.Popen[bytes]:
    """Start a process for part `nth`, in a session of its own."""
    _started_processes.difference_update(
        [process for process in tuple(_started_processes) if process.poll() is not None]
    )
    variables = environment()
    with replaced(folder / f"part-{nth}.json", mode=0o600) as partial:
        heavy = str(folder.parent / "heavy.lock") if part["heavy"] else None
        partial.write_text(json.dumps({**part, "heavy_lock": heavy}))
    python_path = child_environment().get("PYTHONPATH")
    with (folder / "start.log").open("ab") as log:
        process = subprocess.Popen(
            child_command("pairsmith.serve.child", str(folder), str(nth)),
            env=variables | ({"PYTHONPATH": python_path} if python_path else {}),
            cwd=part["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _started_processes.add(process)  # recorded here because the caller of this thread may have been stopped
    return process


def _not_started(error: OSError) -> End:
    fix = "Free disk space and memory, then continue the job."
    what = f"the job's process could not be started: {error.strerror or error}."
    return End(code=1, problem={"kind": "NotStarted", "what": what, "fix": fix, "exit_code": 1})


def _end_after_deaths(code: int | None, deaths: int) -> End:
    """The end of a part whose processes keep dying. `code` is the last exit code, None if another server started it."""
    ending = "ended without a result"
    if code is not None:
        ending = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
    exit_code = 128 - code if code is not None and code < 0 else 1
    problem: dict[str, Any] = {
        "kind": "Killed",
        "what": f"the job's process {ending}, {deaths} times.",
        "fix": "Check the end of its log. Finished work is in the store; continuing the job does not request it again.",
        "exit_code": exit_code,
    }
    if code == -signal.SIGKILL:
        problem["why"] = "Usually the machine ran out of memory."
    return End(code=exit_code, problem=problem)
