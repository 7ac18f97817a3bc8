"""The process of a job: `-m pairsmith.serve.child JOBDIR NTH` runs one command of pairsmith in itself.

It outlives the server that started it. What it leaves in the job's folder is all that a server needs to know of it:

| | |
|---|---|
| `lock` | held by the kernel as long as the process lives; it names its pid and part |
| `part-NTH.json` | what to run, written by the server |
| `starts.jsonl` | a line for each process that began, so that one which dies again and again is seen |
| `events.jsonl` | what is moving; its time is the last sign of life |
| `log/` | what it says, in pieces named by their first byte |
| `pins.json` | what shaped the stages when the job began, and what had been spent |
| `exit-NTH.json` | how it ended: written once, whole, last |
| `stopping` | somebody has stopped the job; a process that begins now ends at once |
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
from pairsmith.failures import as_json, exit_code_of
from pairsmith.folder_watch import gone
from pairsmith.serve.events import recorded
from pairsmith.serve.network import guard
from pairsmith.serve.pulse import beating
from pairsmith.serve.workspace import soon_locked
from pairsmith.stopping import INTERRUPTED
from pairsmith.watching import Watcher
from schemas.errors import Interrupted, PairsmithError, SpecError
from schemas.failpoints import failpoint
from schemas.files import one_at_a_time, replaced
from schemas.money import dollars, rounded_up

if TYPE_CHECKING:
    from schemas.store import Store

BUSY = 75  # exit code: another process runs this job
STOPPING = "stopping"  # the file that a job which was stopped has
PIECE = 1_000_000  # bytes of a piece of the log
KEPT = 5  # pieces that are kept of its beginning, and of its end
_LOOK_EVERY_S = 1.0
_WRITE_TIMEOUT_S = 60.0


def main(folder: Path, nth: int) -> int:
    """Run part `nth` of the job in `folder`."""
    began = time.time()
    with held(folder / "lock") as lock:
        if lock is None:
            return BUSY
        _label(lock, {"pid": os.getpid(), "part": nth})
        if (folder / f"exit-{nth}.json").exists():
            return 0
        # Asked to stop before or after the command, which has handlers of its own, it ends in order as well: it may
        # wait for the GPU, and without a word it would count as dead.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _append(folder / "starts.jsonl", {"part": nth, "pid": os.getpid(), "at": began})
            if (folder / STOPPING).exists():
                raise KeyboardInterrupt
            part = json.loads((folder / f"part-{nth}.json").read_bytes())
            # Of what needs the GPU two never compute at once, whatever a queue says.
            alone = one_at_a_time(Path(part["heavy_lock"])) if part["heavy_lock"] else contextlib.nullcontext()
            with _logged(folder / "log"), alone:
                return _run(folder, nth, part)
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, _ignored)
            if not (folder / f"exit-{nth}.json").exists():
                stopped = as_json(Interrupted("it was stopped before it had begun, or as it ended."))
                _write_exit(folder, nth, {"code": INTERRUPTED, "problem": stopped, "answer": None, "began": began})
            return INTERRUPTED


def _ignored(signum: int, frame: FrameType | None) -> None:
    """It ends already, and says how."""


@contextmanager
def held(path: Path) -> Iterator[int | None]:
    """The lock's descriptor; None if another process has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock if soon_locked(lock) else None
    finally:
        os.close(lock)


_NOTHING_USD = 1e-9  # a cap of 0 would be none


def _run(folder: Path, nth: int, part: dict[str, Any]) -> int:
    began, ended_with = time.time(), dict[str, Any]()
    argv: list[str] = part["argv"]
    try:
        argv = [*argv, *_left_of_the_cap(part, _pin(folder, part))]
    except PairsmithError as error:
        code = exit_code_of(error, None)
        ended_with = {"error": as_json(error)}
    else:
        with recorded(folder / "events.jsonl") as progress, beating(folder / "events.jsonl"):
            code = start(argv, Watcher(progress, ended_with.update))
    failpoint("before_exit")
    signal.signal(signal.SIGTERM, _ignored)
    problem = ended_with.pop("error", None)
    if problem and not Path(part["folder"]).exists():  # whatever it stumbled over
        problem = as_json(gone(Path(part["folder"])))
    if problem and problem["kind"] == "BudgetReached" and problem.get("where") == "--max-usd":
        problem |= _of_the_job(part["cap_usd"], problem["request_usd"])
    how = {"code": code, "problem": problem, "answer": ended_with or None, "began": began}
    _write_exit(folder, nth, {**how, "spent_usd": _spent_by_now(part)})
    return code


def _pin(folder: Path, part: dict[str, Any]) -> float:
    """Refuse to go on with another spec than the job began with; the dollars that had been spent then, less what the
    job has spent that this one continues: its cap is the same."""
    from pairsmith.plan import changed_since, pinned
    from schemas.spec_file import load
    from schemas.store import Store

    project, path = load(Path(part["folder"]), part["overrides"]), folder / "pins.json"
    url = Store.url_for(project)
    with Store.open(url, write=False) if Store.exists(url) else contextlib.nullcontext() as store:
        try:
            if not path.exists():
                by_now = _spent(store) if store else 0.0
                usd = by_now - _spent_before(folder, part.get("continues"), by_now)
                pins = {"stages": pinned(project, store), "usd": usd}
                with replaced(path) as partial:
                    partial.write_text(json.dumps(pins, default=str))
            pins = json.loads(path.read_bytes())
            changed = changed_since(pins["stages"], project, store)
        except OSError:  # a file that the spec names cannot be read: the command says which, and what to do
            return 0.0
        part["spent_usd"] = _spent(store) if store and part["cap_usd"] else 0.0
    if changed:
        raise SpecError(
            f"the spec was changed while it ran: {changed}.",
            why="Going on would ask and pay anew for what is there already.",
            fix="Start a new job to run it as it is now, or change it back and continue.",
        )
    return float(pins["usd"])


def _spent_before(folder: Path, continued: str | None, by_now: float) -> float:
    """The dollars that another job has spent, and those that it continued. One that has not said what was spent as it
    ended counts with all that was since it began."""
    earlier = folder.parent / (continued or "")
    begun = _read(earlier / "pins.json").get("usd") if continued else None
    if begun is None:
        return 0.0
    last = max((int(path.stem.partition("-")[2]) for path in earlier.glob("part-*.json")), default=0)
    ended = _read(earlier / f"exit-{last}.json").get("spent_usd")
    return float(by_now if ended is None else ended) - float(begun)


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(path.read_bytes()))
    return {}


def _spent(store: Store) -> float:
    spent = store.spent()
    return spent.usd + spent.reserved


def _spent_by_now(part: dict[str, Any]) -> float | None:
    """What the project has spent, where the job has a cap; None if nobody can tell."""
    from schemas.spec_file import load
    from schemas.store import Store

    if part["cap_usd"] is not None:
        with contextlib.suppress(PairsmithError, OSError):
            url = Store.url_for(load(Path(part["folder"]), part["overrides"]))
            with Store.open(url, write=False) as store:
                return _spent(store)
    return None


def _left_of_the_cap(part: dict[str, Any], spent_before_usd: float) -> list[str]:
    """The cap of the job less what its earlier processes have spent, as an option of the command."""
    if part["cap_usd"] is None:
        return []
    left = part["cap_usd"] - (part.get("spent_usd", spent_before_usd) - spent_before_usd)
    return ["--max-usd", f"{max(left, _NOTHING_USD):.9f}"]


def _of_the_job(cap_usd: float, request_usd: float) -> dict[str, str]:
    """What the command says of the part of the cap that was left to it, said of the job's cap."""
    what = f"the cap of this job, {dollars(cap_usd)}, is reached: the next request may cost {dollars(request_usd)}."
    why = "It is for all processes of a job and for the jobs that continue it."
    fix = f"Every answer is in the store. Start a new job: its cap counts from then on, and {rounded_up(request_usd)}"
    return {"where": "cap", "what": what, "why": why, "fix": f"{fix} is the least that lets it go on."}


class _Lossy(io.FileIO):
    """A file to which nothing is written where there is no room."""

    def write(self, text: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)


@contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """Send what this process and its children say to `folder`, in pieces, of which the middle ones are dropped.

    The descriptors point to the file itself, so that the last words of a process that is killed are kept. On a full
    disk lines are lost: an error of the log would end the command without a word.
    """
    folder.mkdir(exist_ok=True)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(_Lossy(number, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
        for number in (1, 2)
    )
    ended = threading.Event()
    piece = _next_piece(folder)

    def watch(piece: Path) -> None:
        while not ended.wait(_LOOK_EVERY_S):
            with contextlib.suppress(OSError):
                if piece.stat().st_size >= PIECE:
                    piece = _next_piece(folder)

    watching = threading.Thread(target=watch, args=(piece,), daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()  # a piece that it has begun gets its name
        sys.stdout.flush()
        sys.stderr.flush()


def _next_piece(folder: Path) -> Path:
    """The piece that is written to from now on: the last one, or a new one if it is full.

    A new one gets its name, the number of its first byte, when nothing is written to the one before it any more.
    """
    unnamed, pieces = folder / "next", sorted(folder.glob("*.txt"))
    if unnamed.exists():  # left by a process that was killed just then
        pieces.append(unnamed.rename(_after(pieces, folder)))
    is_full = not pieces or pieces[-1].stat().st_size >= PIECE
    handle = os.open(unnamed if is_full else pieces[-1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    if not is_full:
        return pieces[-1]
    for middle in pieces[KEPT : -KEPT + 1]:
        middle.unlink(missing_ok=True)
    return unnamed.rename(_after(pieces, folder))


def _after(pieces: Sequence[Path], folder: Path) -> Path:
    """The path of the piece behind the last one."""
    return folder / f"{int(pieces[-1].stem) + pieces[-1].stat().st_size if pieces else 0:015d}.txt"


def _write_exit(folder: Path, nth: int, how: dict[str, Any]) -> None:
    """On a full disk it is tried again for a minute; then the process counts as dead, and the command, which finds all
    its work done, is run again."""
    path, ended = folder / f"exit-{nth}.json", {**how, "ended": time.time()}
    until = time.monotonic() + _WRITE_TIMEOUT_S
    while True:
        try:
            with replaced(path) as partial:
                partial.write_bytes(orjson.dumps(ended, default=str, option=orjson.OPT_NON_STR_KEYS))
        except OSError as error:
            if time.monotonic() > until:
                raise
            sys.stderr.write(f"how it ended cannot be written yet: {error.strerror}\n")
            time.sleep(1.0)
        else:
            return


def _label(lock: int, holder: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # on a full disk the lock holds without its label
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(holder).encode(), 0)


def _append(path: Path, line: dict[str, Any]) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    guard()
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
