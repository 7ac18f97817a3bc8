"""Supervisor of Argilla's server, its worker and Redis: a detached process, started by this file's path with the home
folder as its argument.

It reads `supervisor.json` (the children and their environments) and holds the lock of the home folder as long as it
runs. It restarts a child that dies. If a child dies repeatedly, it stops everything and writes the reason to
`server.json`. Only the standard library is imported, so the process is small and later changes of the project's
environment do not affect it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

_MAX_RESTARTS = 5
_RESTARTS_WITHIN_S = 300.0
_STOP_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 60.0  # on a busy machine, a process that checks the lock may hold it for a while
_LOG_BYTES = 5_000_000
PRIVATE = 0o077  # umask: answers, names and password hashes are readable by the owner only


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically to a file that only the owner can read."""
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    os.replace(part, path)


def _die_with_parent() -> None:
    if sys.platform == "linux":  # Redis cannot monitor its parent itself
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class _Child:
    """One process to keep running, and the times at which it was restarted."""

    def __init__(self, name: str, argv: list[str], environment: dict[str, str], log: Path, folder: str) -> None:
        self.name, self.argv, self.environment, self.log, self.folder = name, argv, environment, log, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts: list[float] = []

    def rotate(self) -> None:
        """Copy the log aside and truncate it once it is large. The process keeps writing, because it opened the log for
        appending."""
        with contextlib.suppress(OSError):  # no log yet, or the disk is full
            if self.log.stat().st_size > _LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".1.log"))
                os.truncate(self.log, 0)

    def start(self) -> None:
        self.rotate()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.argv,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def stop(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_log_line(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines()[-40:] if line.strip()]
        return lines[-1].strip()[:300] if lines else ""


class Supervisor:
    """The children of one home folder, and their state in `server.json`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        config: dict[str, Any] = json.loads((home / "supervisor.json").read_text(encoding="utf-8"))
        self.facts: dict[str, Any] = config["facts"]
        self.most_restarts: int = config.get("most_restarts", _MAX_RESTARTS)
        self.scratch: str | None = config.get("scratch")
        self.started_at = time.time()
        (home / "logs").mkdir(exist_ok=True)
        self.children = [
            _Child(c["name"], c["argv"], c["environment"], home / "logs" / f"{c['name']}.log", config["folder"])
            for c in config["children"]
        ]
        self.stopping = False
        self.state_outdated = False  # whether `server.json` is out of date because the disk was full

    def write_state(self, state: str, reason: str | None = None) -> None:
        """Write the present state to `server.json`. A full disk is tolerated: it must not end a server that still
        answers."""
        children = {
            child.name: {"pid": child.process.pid if child.process else None, "restarts": len(child.restarts)}
            for child in self.children
        }
        now = {"state": state, "reason": reason, "supervisor": os.getpid(), "started_at": self.started_at}
        self.state_outdated = True
        with contextlib.suppress(OSError):
            write_json(self.home / "server.json", {**self.facts, **now, "children": children})
            self.state_outdated = False

    def run(self) -> str | None:
        """Run until stopped (returns None) or until a child cannot be kept alive (returns the reason)."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for child in self.children:
                child.start()
            self.write_state("running")
            while not self.stopping:
                for child in self.children:
                    child.rotate()
                    assert child.process is not None
                    code = child.process.poll()
                    if code is not None and not self.stopping and (reason := self._restart(child, code)):
                        return reason
                if self.state_outdated:
                    self.write_state("running")
                time.sleep(0.25)
        except OSError as error:
            return f"a process could not be started: {error}"
        finally:
            for child in reversed(self.children):
                child.stop()
            if self.scratch:
                shutil.rmtree(self.scratch, ignore_errors=True)
        return None

    def _restart(self, child: _Child, code: int) -> str | None:
        last = child.last_log_line()
        if "address already in use" in last:
            return f"{child.name} could not take its port: {last}"
        now = time.time()
        recent = [moment for moment in child.restarts if now - moment < _RESTARTS_WITHIN_S]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        if len(recent) >= self.most_restarts:
            times = f"{len(recent) + 1} times in {_RESTARTS_WITHIN_S / 60:.0f} minutes"
            return f"{child.name} {how}, {times}; the last line of its log: {last}"
        with contextlib.suppress(OSError):  # the disk of our log may be full, which is no reason to stop
            print(f"{time.strftime('%F %T')} {child.name} {how}; restarted", flush=True)
        child.restarts.append(now)
        if recent:
            time.sleep(min(2.0 ** len(recent), 10.0))
        child.start()
        self.write_state("running")
        return None


def _acquire_lock(lock: TextIO) -> bool:
    """Acquire the lock; False if another process keeps it. Retries for a while, because a process that checks for a
    supervisor holds it briefly."""
    until = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True


def main(home: Path, *, detach: bool = False) -> int:
    """Supervise until stopped. Returns the exit status: 1 if another process holds the lock, 2 if a child could not be
    kept alive, otherwise 0.

    `detach`: once the lock is held, continue in a forked process and let the started one exit.
    """
    os.umask(PRIVATE)
    with (home / "lock").open("a") as lock:
        if not _acquire_lock(lock):
            print("another supervisor already runs for this folder", flush=True)
            return 1
        with contextlib.suppress(OSError):
            lock.truncate(0)
        if detach:
            if os.fork():
                os._exit(0)  # the starting process need not wait for us, and we cannot become its zombie
            os.setsid()  # a terminal's Ctrl-C does not reach us or the children, and one signal can end the group
        with contextlib.suppress(OSError):
            lock.write(str(os.getpid()))
            lock.flush()
        supervisor = Supervisor(home)
        reason = supervisor.run()
        supervisor.write_state("failed" if reason else "stopped", reason)
        return 2 if reason else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), detach=sys.argv[2:] == ["--detach"]))
