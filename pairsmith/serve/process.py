"""Keeping a job's process alive until it has said how it ended: started, adopted, started again, stopped.

The server may end at any moment; whatever comes next finds in the job's folder what there is to know.
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

from pairsmith.failures import as_json
from pairsmith.serve.child import BUSY, STOPPING
from pairsmith.serve.events import each
from pairsmith.serve.parts import Part
from pairsmith.stopping import INTERRUPTED
from schemas.errors import PairsmithError
from schemas.files import is_locked, replaced
from synth.embedded.child import child_command, child_environment

MOST_DEATHS = 4  # processes that may die without a word before the job has failed: the first and three more
MOST_INTERRUPTIONS = 20  # a process that interrupts itself is not started for ever
GRACE_S = 300.0  # from the request to stop to a kill; a stage that drains needs seconds, a training measures and saves
_START_TIMEOUT_S = 300.0
_LOOK_EVERY_S = 0.2

_asked_s: dict[Path, float] = {}  # by this server, since when jobs are stopping, whatever is done to the clock
_begun: set[subprocess.Popen[bytes]] = set()  # of this server; one whose job was stopped is waited for here


class End(TypedDict):
    """How a part ended. `problem` is the command's error as its `--json` has it."""

    code: int
    problem: dict[str, Any] | None


async def kept_alive(
    folder: Path, nth: int, part: Part, environment: Callable[[], dict[str, str]], cancelled: Callable[[], bool]
) -> End:
    """Wait until part `nth` of the job in `folder` has ended, with as many processes as that takes.

    One that lives is adopted, whoever started it. One that died without a word is started again, as is one that was
    interrupted by nobody's wish, such as a container that was stopped; not for ever. `cancelled` says whether somebody
    wished it. `environment` gives the process's variables, or raises PairsmithError for a spec that may not run.
    """
    how: int | None = None
    until_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        if end := ended(folder, nth):
            often = _interruptions(folder, nth) >= MOST_INTERRUPTIONS
            if end["code"] != INTERRUPTED or often or await asyncio.to_thread(cancelled):
                return End(code=end["code"], problem=end["problem"])
            (folder / f"exit-{nth}.json").replace(folder / f"interrupted-{nth}-{time.time_ns()}.json")
        if is_held(folder):
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        try:
            await asyncio.to_thread(folder.mkdir, 0o700, True, True)  # first: who stops the job leaves a mark there
            if await asyncio.to_thread(cancelled):
                return End(code=INTERRUPTED, problem=None)
            if ended(folder, nth):  # between the two looks
                continue
            if (deaths := _deaths(folder, nth)) >= MOST_DEATHS:
                return _died(how, deaths)
            await asyncio.sleep(deaths / 2)
            process = await asyncio.to_thread(_started, folder, nth, part, environment)
        except PairsmithError as error:
            return End(code=error.exit_code, problem=as_json(error))
        except OSError as error:  # a full disk, no process left: it may pass
            if time.monotonic() > until_s:
                return _not_started(error)
            await asyncio.sleep(1.0)
            continue
        until_s = time.monotonic() + _START_TIMEOUT_S
        # A thread that waits for it would keep the server from stopping.
        while (code := process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        how = code if code != BUSY else how


def ended(folder: Path, nth: int) -> dict[str, Any] | None:
    """What a part said when it ended; None before that."""
    try:
        end: dict[str, Any] = json.loads((folder / f"exit-{nth}.json").read_bytes())
    except FileNotFoundError:
        return None
    return end


def starts(folder: Path) -> list[dict[str, Any]]:
    """Every process that began, the first one first."""
    return [line for _, line in each(folder / "starts.jsonl")]


def is_held(folder: Path) -> bool:
    """True if a process of this job lives, whoever started it."""
    return is_locked(folder / "lock")


def stop(folder: Path) -> None:
    """Ask the process of a job to stop; the second time, after a while, kill it and its children.

    It is asked once: a second signal would end it without draining. One that has only just been started finds the mark
    that is left here when it has its lock.
    """
    asked = folder / STOPPING
    try:
        os.close(os.open(asked, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        ask, number = os.kill, signal.SIGTERM
    except FileExistsError:
        if time.monotonic() - _asked_s.setdefault(asked, time.monotonic()) <= GRACE_S:
            return
        ask, number = os.killpg, signal.SIGKILL
    except OSError:
        return  # nothing of it was started, or the disk is full; a server that sees it run asks again
    with suppress(OSError, ValueError, KeyError):  # it has just begun, or ended
        if is_held(folder):
            ask(int(json.loads((folder / "lock").read_bytes())["pid"]), number)


def _deaths(folder: Path, nth: int) -> int:
    began = [start for start in starts(folder) if start["part"] == nth]
    return len(began) - _interruptions(folder, nth)


def _interruptions(folder: Path, nth: int) -> int:
    return len(list(folder.glob(f"interrupted-{nth}-*.json")))


def _started(folder: Path, nth: int, part: Part, environment: Callable[[], dict[str, str]]) -> subprocess.Popen[bytes]:
    _begun.difference_update([process for process in tuple(_begun) if process.poll() is not None])
    variables = environment()
    with replaced(folder / f"part-{nth}.json", mode=0o600) as partial:
        heavy = str(folder.parent / "heavy.lock") if part["heavy"] else None
        partial.write_text(json.dumps({**part, "heavy_lock": heavy}))
    ours = child_environment().get("PYTHONPATH")
    with (folder / "start.log").open("ab") as log:
        process = subprocess.Popen(
            child_command("pairsmith.serve.child", str(folder), str(nth)),
            env=variables | ({"PYTHONPATH": ours} if ours else {}),
            cwd=part["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _begun.add(process)  # here: who waits for this thread may have been stopped
    return process


def _not_started(error: OSError) -> End:
    fix = "Free room on the disk and in memory; then go on."
    what = f"its process could not be started: {error.strerror or error}."
    return End(code=1, problem={"kind": "NotStarted", "what": what, "fix": fix, "exit_code": 1})


def _died(code: int | None, deaths: int) -> End:
    """The end of a part whose processes die: `code` is that of the last one, None if another server started it."""
    how = "ended without a word"
    if code is not None:
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with code {code}"
    exit_code = 128 - code if code is not None and code < 0 else 1
    problem: dict[str, Any] = {
        "kind": "Killed",
        "what": f"its process {how}, {deaths} times.",
        "fix": "Look at the end of its log; what was finished is in the store, and going on asks for none of it again.",
        "exit_code": exit_code,
    }
    if code == -signal.SIGKILL:
        problem["why"] = "Usually the machine ran out of memory."
    return End(code=exit_code, problem=problem)
