"""One writer a store: who holds it is readable by whoever comes second."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import sqlalchemy as sa

from schemas.errors import StoreBusy
from schemas.files import is_locked, locked
from schemas.store.failures import shown
from schemas.store.opening import is_older

_PRODUCT = "pairsmith"
_UPGRADE_S, _TICK_S = 120.0, 0.2  # how long an upgrade by another process is waited for, and how often it is looked


_UPGRADES = "upgrade of the store by"  # in the label of who holds the lock for no longer than that


def _me(upgrades: bool) -> dict[str, str]:
    words = takewhile(lambda word: not word.startswith("-"), sys.argv[1:3])
    command = shlex.join([Path(sys.argv[0]).name.replace("__main__.py", _PRODUCT), *words])
    return {
        "pid": str(os.getpid()),
        "host": socket.gethostname(),
        "command": f"{_UPGRADES} {command}" if upgrades else command,
        "since": datetime.now(UTC).strftime("%H:%M:%S UTC"),
    }


def _busy(url: str, who: str) -> StoreBusy:
    return StoreBusy(
        f"another process is writing to this store: {who}.",
        where=shown(url),
        why="Two writers would ask and pay for the same answers twice.",
        fix="Wait for it to end, or stop it with Ctrl-C and run this again.",
    )


StillHeld = Callable[[sa.Connection], None]
"""Called in a writer's transaction; raises StoreBusy if the lock was lost and another process has it."""


@contextlib.contextmanager
def writer_lock(path: Path | None, engine: sa.Engine, url: str, *, upgrades: bool = False) -> Iterator[StillHeld]:
    """Hold the writer's lock; with `upgrades` for no longer than an upgrade of the store takes.

    One that upgrades the store, if only to read it, is waited for: it needs seconds, and who began both did not ask
    for it. Raises StoreBusy.
    """
    with contextlib.ExitStack() as held:
        until, waits = time.monotonic() + _UPGRADE_S, True
        while True:
            try:
                still_held: StillHeld = held.enter_context(
                    file_lock(Path(f"{path}.lock"), url, upgrades) if path else advisory_lock(engine, url, upgrades)
                )
                break
            except StoreBusy as busy:
                if not (waits or _UPGRADES in str(busy)) or time.monotonic() > until:
                    raise
            waits = is_older(engine)  # once more after the upgrade: its lock is freed a little later
            time.sleep(_TICK_S)
        yield still_held


def writer_of(path: Path | None, engine: sa.Engine) -> str:
    """Who writes to the store at this moment, in words; empty where nobody does."""
    if path is None:
        with engine.connect() as connection:
            label = sa.text(f"SELECT a.application_name {_OURS}")
            return str(connection.scalar(label, {"key": _key(connection)}) or "")
    with contextlib.suppress(OSError):
        if is_locked(lock := Path(f"{path}.lock")):
            return _in_words(lock.read_bytes())
    return ""


def _in_words(label: bytes) -> str:
    try:
        return "pid {pid} on {host}, `{command}`, since {since}".format(**json.loads(label))
    except (ValueError, KeyError):
        return "it has just started"


@contextlib.contextmanager
def file_lock(path: Path, url: str, upgrades: bool) -> Iterator[StillHeld]:
    """Hold `path` for this process. The kernel frees it when the process dies, however it dies.

    Raises StoreBusy naming the holder's pid, command and start. Not covered: network file systems without flock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not locked(fd):
            raise _busy(url, _in_words(os.pread(fd, 4096, 0))) from None
        with contextlib.suppress(OSError):  # on a full disk the lock holds without its label
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(_me(upgrades)).encode(), 0)
        yield lambda connection: None  # the kernel does not lose it
    finally:
        os.close(fd)


@contextlib.contextmanager
def advisory_lock(engine: sa.Engine, url: str, upgrades: bool) -> Iterator[StillHeld]:
    """The same for PostgreSQL: a session-level advisory lock, freed when the connection ends. Raises StoreBusy.

    The lock is that of the schema that our tables are in, so two projects in two schemas of a database do not wait for
    each other. A connection that is cut loses it without a word, so the writer looks at it in every transaction, and
    takes it again if nobody else has. Not covered: a pairsmith of version 0.1 in the same database, which had one lock
    for all schemas.
    """
    lock = _AdvisoryLock(engine, url, upgrades)
    try:
        yield lock.still_held
    finally:
        lock.release()


_OURS = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.granted AND l.locktype = 'advisory'"
    " AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class _AdvisoryLock:
    def __init__(self, engine: sa.Engine, url: str, upgrades: bool) -> None:
        self._engine, self._url, self._upgrades = engine, url, upgrades
        self._take()

    def _take(self) -> None:
        self._connection = self._engine.connect()
        try:
            self._key, me = _key(self._connection), _me(self._upgrades)
            who = _UPGRADES if self._upgrades else "pairsmith"
            label = f"{who} pid {me['pid']} on {me['host']} since {me['since']}"[:63]
            named = sa.text("SELECT set_config('application_name', :label, false), pg_backend_pid()")
            self._pid = self._connection.execute(named, {"label": label}).one()[1]
            key = {"key": self._key}
            if not self._connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), key):
                raise _busy(self._url, str(self._connection.scalar(sa.text(f"SELECT a.application_name {_OURS}"), key)))
            self._connection.commit()
        except BaseException:
            self._connection.close()
            raise

    def still_held(self, writing: sa.Connection) -> None:
        """Look from the writer's own transaction."""
        ours = sa.text(f"SELECT count(*) {_OURS} AND l.pid = :pid")
        if not writing.scalar(ours, {"key": self._key, "pid": self._pid}):
            self.release()
            self._take()

    def release(self) -> None:
        if self._connection.closed:  # it was lost, and another process has the lock
            return
        with contextlib.suppress(sa.exc.DBAPIError):  # a lost connection has freed it already
            self._connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
            self._connection.commit()
        with contextlib.suppress(sa.exc.DBAPIError):
            self._connection.close()


def _key(connection: sa.Connection) -> int:
    """A number for the schema that our tables are in, or will be made in: a search path may name several."""
    schema = connection.scalar(
        sa.text(
            "SELECT coalesce((SELECT relnamespace::regnamespace::text FROM pg_class"
            " WHERE oid = to_regclass('alembic_version')), quote_ident(current_schema()))"
        )
    )
    digest = hashlib.sha256(f"{_PRODUCT} {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
