"""The process of a job: `-m pairsmith.serve.child JOBDIR NTH` runs one pairsmith command in-process.

It outlives the server that started it. All that a server needs to know about it is in the job's folder:

| | |
|---|---|
| `lock` | held by the kernel as long as the process lives; contains its pid and part number |
| `part-NTH.json` | what to run, written by the server |
| `starts.jsonl` | a line for each process that started, so that one that keeps dying is noticed |
| `events.jsonl` | progress reports; its modification time is the last sign of life |
| `log/` | the output of the process, in files named by the offset of their first byte |
| `pins.json` | what determined the stages when the job started, and what had been spent by then |
| `exit-NTH.json` | how the process ended: written once, atomically, as the last file |
| `reserved` | room on the disk for the exit file, while the process runs |
| `stopping` | present once a user has stopped the job; a process that starts now ends at once |
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import orjson

from pairsmith.commands import start
from pairsmith.serve.events import record_progress
from pairsmith.serve.network import guard
from pairsmith.serve.pulse import heartbeat
from pairsmith.serve.workspace import lock_with_timeout
from pairsmith.terminal.failures import as_json, exit_code_of
from pairsmith.terminal.folder_watch import gone
from pairsmith.terminal.stopping import INTERRUPTED
from pairsmith.terminal.watching import Watcher
from schemas.blocking import beside
from schemas.errors import Interrupted, PairsmithError, SpecError
from schemas.failpoints import failpoint
from schemas.files import exclusive_lock, labelled_lock, replaced
from schemas.money import dollars, rounded_up

if TYPE_CHECKING:
    from schemas.store import Store

BUSY = 75  # exit code: another process is running this job
STOPPING = "stopping"  # this file marks a job that was stopped
_RESERVED, _RESERVED_BYTES = "reserved", 32_768
LOG_FILE_BYTES = 1_000_000  # bytes of one log file
LOG_FILES_KEPT = 5  # log files that are kept from the beginning, and from the end
_CHECK_EVERY_S = 1.0
_WRITE_TIMEOUT_S = 60.0


def main(folder: Path, nth: int) -> int:
    """Run part `nth` of the job in `folder` and return its exit code."""
    began = time.time()
    holder = json.dumps({"pid": os.getpid(), "part": nth}).encode()
    with labelled_lock(folder / "lock", holder, take=lock_with_timeout) as ours:
        if not ours:
            return BUSY
        if (folder / f"exit-{nth}.json").exists():
            return 0
        # The command has handlers of its own. This one ends the process cleanly before and after it, for example while
        # it waits for the GPU: without an exit file it would count as dead.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _append_line(folder / "starts.jsonl", {"part": nth, "pid": os.getpid(), "at": began})
            if (folder / STOPPING).exists():
                raise KeyboardInterrupt
            _reserve_room(folder)
            part = json.loads((folder / f"part-{nth}.json").read_bytes())
            # Two parts that need the GPU never run at once, whatever the queue does.
            gpu_lock = exclusive_lock(Path(part["heavy_lock"])) if part["heavy_lock"] else contextlib.nullcontext()
            with _log_to(folder / "log"), gpu_lock:
                return _run(folder, nth, part)
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, _ignore_signal)
            if not (folder / f"exit-{nth}.json").exists():
                stopped = as_json(Interrupted("it was stopped before it had started, or while it was ending."))
                _write_exit(folder, nth, {"code": INTERRUPTED, "problem": stopped, "answer": None, "began": began})
            return INTERRUPTED


def _ignore_signal(signum: int, frame: FrameType | None) -> None:
    """The process is already ending and recording how."""


_SMALLEST_CAP_USD = 1e-9  # a cap of 0 would mean no cap


def _run(folder: Path, nth: int, part: dict[str, Any]) -> int:
    began, ended_with = time.time(), dict[str, Any]()
    argv: list[str] = part["argv"]
    try:
        argv = [*argv, *_remaining_cap(part, _check_pins(folder, part))]
    except PairsmithError as error:
        code = exit_code_of(error, None)
        ended_with = {"error": as_json(error)}
    else:
        with record_progress(folder / "events.jsonl") as progress, heartbeat(folder / "events.jsonl"):
            code = start(argv, Watcher(progress, ended_with.update))
    failpoint("before_exit")
    signal.signal(signal.SIGTERM, _ignore_signal)
    problem = ended_with.pop("error", None)
    if problem and not Path(part["folder"]).exists():  # regardless of the error this led to
        problem = as_json(gone(Path(part["folder"])))
    if problem and problem["kind"] == "BudgetReached" and problem.get("where") == "--max-usd":
        problem |= _cap_reached(part["cap_usd"], problem["request_usd"])
    how = {"code": code, "problem": problem, "answer": ended_with or None, "began": began}
    _write_exit(folder, nth, {**how, "spent_usd": _current_spending(part)})
    return code


def _check_pins(folder: Path, part: dict[str, Any]) -> float:
    """Raises SpecError if the spec has changed since the job started.

    Returns the dollars that had been spent by then, less what the job that this one continues has spent: both share one
    cap.
    """
    from pairsmith.plan import changed_since, pinned
    from schemas.spec_file import load
    from schemas.store import Store

    project, path = load(Path(part["folder"]), part["overrides"]), folder / "pins.json"
    url = Store.url_for(project)
    with Store.open(url, write=False) if Store.exists(url) else contextlib.nullcontext() as store:
        try:
            if not path.exists():
                by_now = _total_spending(store) if store else 0.0
                usd = by_now - _spent_before(folder, part.get("continues"), by_now)
                pins = {"stages": pinned(project, store), "usd": usd}
                with replaced(path) as partial:
                    partial.write_text(json.dumps(pins, default=str))
            pins = json.loads(path.read_bytes())
            changed = changed_since(pins["stages"], project, store)
        except OSError:  # a file that the spec names is unreadable: the command reports which, and what to do
            return 0.0
        part["spent_usd"] = _total_spending(store) if store and part["cap_usd"] else 0.0
    if changed:
        raise SpecError(
            f"the spec was changed while the job was running: {changed}.",
            why="Continuing would request and pay again for results that exist already.",
            fix="Start a new job to use the spec as it is now, or change it back and continue.",
        )
    return float(pins["usd"])


def _spent_before(folder: Path, continued: str | None, by_now: float) -> float:
    """The dollars spent by another job and by those that it continued.

    A job that did not record its spending when it ended counts with everything spent since it started.
    """
    earlier = folder.parent / (continued or "")
    begun = _read_json(earlier / "pins.json").get("usd") if continued else None
    if begun is None:
        return 0.0
    last = max((int(path.stem.partition("-")[2]) for path in earlier.glob("part-*.json")), default=0)
    ended = _read_json(earlier / f"exit-{last}.json").get("spent_usd")
    return float(by_now if ended is None else ended) - float(begun)


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(path.read_bytes()))
    return {}


def _total_spending(store: Store) -> float:
    """The spending recorded in the store, including reserved amounts, in dollars."""
    spent = store.spent()
    return spent.usd + spent.reserved


def _current_spending(part: dict[str, Any]) -> float | None:
    """The project's spending so far, for a job with a cap; None if there is no cap or the store cannot be read."""
    from schemas.spec_file import load
    from schemas.store import Store

    if part["cap_usd"] is not None:
        with contextlib.suppress(PairsmithError, OSError):
            url = Store.url_for(load(Path(part["folder"]), part["overrides"]))
            with Store.open(url, write=False) as store:
                return _total_spending(store)
    return None


def _remaining_cap(part: dict[str, Any], spent_before_usd: float) -> list[str]:
    """The job's cap less what its earlier processes have spent, as a command-line option."""
    if part["cap_usd"] is None:
        return []
    left = part["cap_usd"] - (part.get("spent_usd", spent_before_usd) - spent_before_usd)
    return ["--max-usd", f"{max(left, _SMALLEST_CAP_USD):.9f}"]


def _cap_reached(cap_usd: float, request_usd: float) -> dict[str, str]:
    """Rewrite the command's message about the remaining cap in terms of the job's cap."""
    what = f"the cap of this job, {dollars(cap_usd)}, is reached: the next request may cost {dollars(request_usd)}."
    why = "The cap covers all processes of a job and the jobs that continue it."
    fix = f"Every answer is in the store. Start a new job: its cap counts from then on, and {rounded_up(request_usd)}"
    return {"where": "cap_usd", "what": what, "why": why, "fix": f"{fix} is the least that lets it continue."}


class _LossyFile(io.FileIO):
    """A file that drops writes for which there is no space."""

    def write(self, text: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)


@contextmanager
def _log_to(folder: Path) -> Iterator[None]:
    """Redirect the output of this process and its children to files in `folder`; the middle of a long log is dropped.

    The file descriptors point to the file itself, so the last output of a process that is killed is kept. On a full
    disk lines are lost: an error of the log would end the command without a message.
    """
    folder.mkdir(exist_ok=True)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(_LossyFile(number, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
        for number in (1, 2)
    )
    log_file = _open_log_file(folder)

    def watch(ended: threading.Event) -> None:
        nonlocal log_file
        while not ended.wait(_CHECK_EVERY_S):
            with contextlib.suppress(OSError):
                if log_file.stat().st_size >= LOG_FILE_BYTES:
                    log_file = _open_log_file(folder)

    try:
        with beside(watch):  # which has named the last file that it opened when this ends
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _open_log_file(folder: Path) -> Path:
    """Redirect the output to the file to write from now on: the last one, or a new one if that is full.

    A new file gets its name, the offset of its first byte, once nothing is written to the previous file any more.
    """
    unnamed, log_files = folder / "next", sorted(folder.glob("*.txt"))
    if unnamed.exists():  # left by a process that was killed at this point
        log_files.append(unnamed.rename(_following_path(log_files, folder)))
    is_full = not log_files or log_files[-1].stat().st_size >= LOG_FILE_BYTES
    handle = os.open(unnamed if is_full else log_files[-1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if not is_full:
        return log_files[-1]
    for middle in log_files[LOG_FILES_KEPT : -LOG_FILES_KEPT + 1]:
        middle.unlink(missing_ok=True)
    return unnamed.rename(_following_path(log_files, folder))


def _following_path(log_files: Sequence[Path], folder: Path) -> Path:
    """The path of the log file after the last one."""
    return folder / f"{int(log_files[-1].stem) + log_files[-1].stat().st_size if log_files else 0:015d}.txt"


def _reserve_room(folder: Path) -> None:
    """Reserve room for the exit file, if the disk has any."""
    with contextlib.suppress(OSError):
        (folder / _RESERVED).write_bytes(b"\0" * _RESERVED_BYTES)


def _write_exit(folder: Path, nth: int, how: dict[str, Any]) -> None:
    """Write the exit file.

    On a full disk the reserved room is used. If there is none, this is retried for a minute. After that the process
    counts as dead and its command is run again, which finds all its work done.
    """
    path, ended = folder / f"exit-{nth}.json", {**how, "ended": time.time()}
    until = time.monotonic() + _WRITE_TIMEOUT_S
    while True:
        try:
            with replaced(path) as partial:
                partial.write_bytes(orjson.dumps(ended, default=str, option=orjson.OPT_NON_STR_KEYS))
        except OSError as error:
            if (folder / _RESERVED).exists():
                (folder / _RESERVED).unlink()
                continue
            if time.monotonic() > until:
                raise
            sys.stderr.write(f"the exit file cannot be written yet: {error.strerror}\n")
            time.sleep(1.0)
        else:
            (folder / _RESERVED).unlink(missing_ok=True)
            return


def _append_line(path: Path, line: dict[str, Any]) -> None:
    """Append a line of JSON to a file; lost on a full disk."""
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    guard()
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
