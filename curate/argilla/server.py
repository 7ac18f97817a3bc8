"""Life cycle of pairsmith's own Argilla server: `up` installs, migrates and starts it under a supervisor, or finds the
running one; `down` stops it.

The home folder (PAIRSMITH_ARGILLA_HOME, by default `pairsmith/argilla` in the user data directory) contains `venv/`,
`data/` (the SQLite database, Redis' file), `logs/`, `server.json` (the running server) and, readable by the owner
alone, `credentials.json` (the owner's name, password and API key, and the secret that keeps sessions valid across
restarts).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curate.argilla import supervisor
from curate.argilla.launch import (
    OWNER,
    Options,
    last_options,
    prepare_database,
    remove_leftovers,
    remove_shell_variables,
    restrict_permissions,
    server_variables,
    start_supervisor,
)
from curate.argilla.probe import fetch_username, identify_program, listen_problem, local_url, public_url
from curate.argilla.venv import ARGILLA_VERSION, VENV_BYTES, ensure_environment, fingerprint
from schemas.errors import ReviewError
from schemas.files import exclusive_lock, file_in_place_of, is_locked, read_json
from schemas.progress import Progress, unseen

_DATA_BYTES = 100_000_000
PORT = 6900  # default
_FULL_BYTES = 1_000_000
_STOP_TIMEOUT_S = 40.0
_ID_TIMEOUT_S = 5.0  # for a supervisor to write its process id once it has the lock


@dataclass(frozen=True)
class ArgillaServer:
    """A server that answers. `already_running`: an earlier call had started it. `public_url`: its URL for other
    machines, if it accepts them."""

    url: str
    version: str
    home: Path
    credentials: Path
    already_running: bool
    public_url: str | None = None

    @property
    def api_key(self) -> str:
        """Return the owner's API key from the credentials file."""
        key: str = json.loads(self.credentials.read_text(encoding="utf-8"))["api_key"]
        return key


@dataclass(frozen=True)
class Child:
    """One supervised process. `memory_mib` is its resident set size, None if it is not running."""

    name: str
    pid: int | None
    restarts: int
    memory_mib: float | None


@dataclass(frozen=True)
class ServerStatus:
    """The present status. `state`: absent, starting, running, unhealthy, stopped or failed; `reason` explains it."""

    state: str
    reason: str | None = None
    url: str | None = None
    version: str | None = None
    database: str | None = None
    started_at: float | None = None
    credentials: Path | None = None
    public_url: str | None = None
    children: tuple[Child, ...] = field(default=())


def default_home() -> Path:
    """Return the home folder, which need not exist. Raises ReviewError if there is a file in its place."""
    import platformdirs

    configured = os.environ.get("PAIRSMITH_ARGILLA_HOME")
    home = Path(configured).expanduser() if configured else Path(platformdirs.user_data_dir("pairsmith")) / "argilla"
    home = home.absolute()
    if (file := file_in_place_of(home)) is not None:
        fix = "Set the variable to a folder, which need not exist yet, or unset it."
        raise ReviewError("this is not a folder.", where=f"PAIRSMITH_ARGILLA_HOME, {file}", fix=fix)
    return home


def is_used(home: Path) -> bool:
    """Whether a server was ever started from this home or restored into it, so that it may hold rows. Read-only."""
    return is_running(home) or any((home / name).exists() for name in ("supervisor.json", "data/argilla.db"))


def up(
    home: Path | None = None,
    *,
    port: int | None = None,
    host: str | None = None,
    database_url: str | None = None,
    redis_url: str | None = None,
    progress: Progress = unseen,
    venv: Path | None = None,
    start_timeout_s: float = 240.0,
) -> ArgillaServer:
    """Return the server of this home, started if it is not running yet, as soon as it accepts our key.

    Options that are not given keep their last values, so that a server comes back unchanged after a reboot. The initial
    defaults are port 6900 on this machine, SQLite in the home folder, and a bundled Redis. `database_url` is a
    PostgreSQL URL, `redis_url` the address of an existing Redis. The first call takes minutes (it installs about 0.6
    GB), later ones 20 to 100 s, mostly for Argilla's imports. `venv` places the environment somewhere other than
    `home/venv`.

    Raises ReviewError if another program or another Argilla uses the port, if a server of another version or with other
    options runs from this home, if its data are in the other type of database, if the database or Redis cannot be used,
    if the disk is full, or if the server does not start; and MissingDependency if it cannot be installed.
    """
    home = (home or default_home()).absolute()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        waits = {"step": "waiting for another process that is starting it"}
        with exclusive_lock(home / "up.lock", lambda: progress("argilla", waits)):
            restrict_permissions(home)
            running = is_running(home)
            last = last_options(home)
            requested = Options(host, port, database_url, redis_url)
            if database_url is not None:
                _refuse_other_database(home)
            if running:
                _refuse_other_options(home, requested, last)
                return _already_running(home, start_timeout_s, progress)
            host, port = host or last.host or "127.0.0.1", (last.port or PORT) if port is None else port
            database_url, redis_url = database_url or last.database_url, redis_url or last.redis_url
            remove_leftovers(home)
            if shutil.disk_usage(home).free < _DATA_BYTES:
                raise OSError(28, "No space left on device")
            _refuse_taken_port(host, port, home)
            if redis_url is not None:
                _refuse_dead_redis(redis_url)
            python = ensure_environment(venv or home / "venv", progress)
            credentials = _credentials(home)
            environment = server_variables(home, database_url, redis_url, credentials["auth_secret"])
            prepare_database(python, environment, credentials, home, progress)
            start_supervisor(python, environment, home, host, port, redis_url)
            return _wait_until_ready(home, host, port, start_timeout_s, progress, already_running=False)
    except OSError as error:
        raise ReviewError(
            f"The review server's folder cannot be used: {error.strerror or error}.",
            where=str(home),
            fix="Free at least 0.1 GB there, or set PAIRSMITH_ARGILLA_HOME to a folder you may write to.",
        ) from error


def foreseen() -> None:
    """Raise ReviewError if `up` could not start the server with its last options: the disk is full, or another program
    uses its port.

    Only quick checks are made, nothing is created, and a running server is not checked.
    """
    home = default_home().absolute()
    if is_running(home):
        return
    existing = next(folder for folder in (home, *home.parents) if folder.is_dir())
    needed = _DATA_BYTES if (home / "venv").is_dir() else VENV_BYTES
    if (free := shutil.disk_usage(existing).free) < needed:
        raise ReviewError(
            f"The disk has {free / 1e9:.2f} GB free, and the review server needs about {needed / 1e9:.2f} GB.",
            where=str(home),
            fix="Free some space, or set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        )
    last = last_options(home)
    _refuse_taken_port(last.host or "127.0.0.1", last.port or PORT, home)


def down(home: Path | None = None) -> bool:
    """Stop the server, its worker and its Redis; False if it was not running. The data are kept."""
    home = (home or default_home()).absolute()
    remove_shell_variables(home)
    if not is_running(home):
        return False
    began, signalled = time.monotonic(), 0
    while is_running(home):
        # The supervisor writes its process id into the lock file shortly after it locks it. Only if a full disk
        # prevented that, `server.json` may have it, but before, it has the id of an earlier one.
        pid, waited_s = int((home / "lock").read_text(encoding="utf-8") or 0), time.monotonic() - began
        if not pid and waited_s > _ID_TIMEOUT_S:
            pid = _read_facts(home).get("supervisor") or 0
        is_late = waited_s > _STOP_TIMEOUT_S
        if is_late and not pid:
            raise ReviewError(
                "A review server runs from here, but its process id is not recorded.",
                where=str(home / "lock"),
                fix="Stop the process `supervisor.py` of this folder by hand.",
            )
        with suppress(ProcessLookupError):
            if is_late:
                os.killpg(pid, signal.SIGKILL)
            elif pid != signalled:
                signalled = pid
                os.kill(pid, signal.SIGTERM)
        if is_late:
            break
        time.sleep(0.1)
    return True


def status(home: Path | None = None) -> ServerStatus:
    """Return the status of this home's server. Read-only."""
    home = (home or default_home()).absolute()
    facts = _read_facts(home)
    if not facts:
        return ServerStatus("starting" if is_running(home) else "absent")
    alive = is_running(home)
    state, reason = facts["state"], facts["reason"]
    if not alive and state == "running":
        state = "stopped"
        reason = "its supervisor ended without giving a reason: it was killed, or the machine restarted"
    elif alive and shutil.disk_usage(home).free < _FULL_BYTES:
        state, reason = "unhealthy", "its disk is full, so it cannot store anything: free at least 0.1 GB"
    elif alive and identify_program(facts["host"], facts["port"]) != f"Argilla {facts['version']}":
        state = "unhealthy" if time.time() - facts["started_at"] > 120 else "starting"
    children = tuple(
        Child(name, child["pid"] if alive else None, child["restarts"], _memory_mib(child["pid"]) if alive else None)
        for name, child in facts["children"].items()
    )
    return ServerStatus(
        state=state,
        reason=reason,
        url=facts["url"],
        version=facts["version"],
        database=facts["database"],
        started_at=facts["started_at"],
        credentials=home / "credentials.json",
        public_url=public_url(facts["host"], facts["port"]),
        children=children,
    )


def logs(home: Path | None = None, lines: int = 40) -> dict[str, list[str]]:
    """Return the last lines of each log: server, worker, redis, supervisor, migrate."""
    folder = (home or default_home()).absolute() / "logs"
    return {path.stem: path.read_text(errors="replace").splitlines()[-lines:] for path in sorted(folder.glob("*.log"))}


# ---- one server per home --------------------------------------------------------------------------------------------


def is_running(home: Path) -> bool:
    """Whether a supervisor holds this home's lock, which is true exactly as long as it runs, whatever server.json
    contains."""
    return is_locked(home / "lock")


def _read_facts(home: Path) -> dict[str, Any]:
    return read_json(home / "server.json") or {}


def _already_running(home: Path, timeout_s: float, progress: Progress) -> ArgillaServer:
    facts = _read_facts(home)
    if facts.get("fingerprint") != fingerprint():
        raise ReviewError(
            f"A server started by another version of pairsmith (argilla-server {facts.get('version')}) runs from here.",
            where=str(facts.get("url")),
            why="This version has not been tested with its search.",
            fix="Run `pairsmith review down`, then `pairsmith review up`; the data are kept.",
        )
    return _wait_until_ready(home, facts["host"], facts["port"], timeout_s, progress, already_running=True)


def _refuse_other_options(home: Path, requested: Options, now: Options) -> None:
    """Raise ReviewError if options were given that differ from those of the running server: they cannot be changed
    while it runs."""
    other = [
        name.replace("_", "-")
        for name, value, running in zip(Options._fields, requested, now, strict=True)
        if value is not None and value != running
    ]
    if other:
        raise ReviewError(
            f"The review server is already running, with another {' and another '.join(other)}.",
            where=str(_read_facts(home).get("url") or home),
            fix="Run `pairsmith review down` first, then `pairsmith review up` with these options; the data are kept.",
        )


def _refuse_other_database(home: Path) -> None:
    """Raise ReviewError if this home was used with SQLite: after a switch to PostgreSQL, its rows and answers would
    seem to be gone."""
    config = read_json(home / "supervisor.json")
    if config is None or (before := config["facts"]["database"]) == "PostgreSQL":
        return
    raise ReviewError(
        f"The review server of this folder was used with {before}, and PostgreSQL is requested now.",
        where=str(home),
        why="Every row and answer would seem to be gone.",
        fix="Leave --database-url out to continue with it, or set PAIRSMITH_ARGILLA_HOME to another folder to start"
        " afresh on PostgreSQL.",
    )


def _refuse_taken_port(host: str, port: int, home: Path) -> None:
    if problem := listen_problem(host, port):
        raise ReviewError(
            problem, fix="Give --port and --host (127.0.0.1: this machine only; 0.0.0.0: other machines too)."
        )
    answering = identify_program(host, port)
    if answering is None:
        return
    other = ""
    if answering.startswith("Argilla ") and answering != f"Argilla {ARGILLA_VERSION}":
        other = f" This version of pairsmith starts Argilla {ARGILLA_VERSION}."
    elif answering.startswith("Argilla "):
        other = f" It was not started from {home}."
    raise ReviewError(
        f"Port {port} is taken: {answering} answers there.{other}",
        where=local_url(host, port),
        fix="Stop it, use another port with `pairsmith review up --port`, or set [review] url to use it as it is.",
    )


def _refuse_dead_redis(redis_url: str) -> None:
    parts = urlsplit(redis_url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(5)
                probe.connect(parts.path)
        else:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=5).close()
    except OSError as error:
        raise ReviewError(
            f"No Redis answers: {error.strerror or error}.",
            where=f"{parts.scheme}://{parts.hostname or parts.path}:{parts.port or 6379}",
            why="Argilla does not start without Redis.",
            fix="Start it, or leave the address out: pairsmith then starts its own.",
        ) from error


def _credentials(home: Path) -> dict[str, str]:
    path = home / "credentials.json"
    if not path.exists():
        credentials = {
            "username": OWNER,
            "password": secrets.token_urlsafe(15),
            "api_key": secrets.token_urlsafe(48),
            "auth_secret": secrets.token_hex(32),
        }
        supervisor.write_json(path, credentials)
    read: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _wait_until_ready(
    home: Path, host: str, port: int, timeout_s: float, progress: Progress, *, already_running: bool
) -> ArgillaServer:
    """Wait until the server accepts our key, which another program or another Argilla on the port would not. Raises
    ReviewError if it does not start within `timeout_s`."""
    started, url = time.monotonic(), local_url(host, port)
    key = _credentials(home)["api_key"]
    problem: ReviewError | None = None
    while time.monotonic() - started < timeout_s:
        try:
            fetch_username(url, key, timeout_s=5.0)
        except ReviewError as error:
            problem = error
        else:
            public = public_url(host, port)
            return ArgillaServer(url, ARGILLA_VERSION, home, home / "credentials.json", already_running, public)
        if not is_running(home):
            facts = _read_facts(home)
            raise ReviewError(
                f"The review server did not start: {facts.get('reason') or 'its supervisor gave no reason'}.",
                where=str(home / "logs"),
                fix="Read server.log and supervisor.log there; `pairsmith review logs` shows their last lines.",
            )
        restarts = int(_read_facts(home).get("children", {}).get("server", {}).get("restarts", 0))
        if not already_running and restarts:  # another attempt would fail in the same way
            down(home)
            last = [line for line in logs(home, 40).get("server", ()) if line.strip()][-1:] or ["no output"]
            raise ReviewError(
                f"The review server ended while it was starting: {last[0].strip()[:300]}",
                where=str(home / "logs"),
                fix="Read server.log there; `pairsmith review logs` shows its last lines.",
            )
        progress("argilla", {"step": "starting (20 to 100 s)"})
        time.sleep(0.5)
    fix = "on a busy machine try again."
    if already_running:  # reviewers may be using its page, so it is not stopped here
        fix += " `pairsmith review down`, then `pairsmith review up`, restarts it; the data are kept."
    else:
        down(home)
    raise ReviewError(
        f"The review server did not answer within {timeout_s:.0f} s: {problem}",
        where=str(home / "logs"),
        fix=f"Read server.log there; {fix}",
    )


def _memory_mib(pid: int | None) -> float | None:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
    return int(done.stdout) / 1024 if done.stdout.strip() else None
