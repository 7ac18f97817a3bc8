"""The writer lock of a store: one writer at a time, and others can see who holds it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from schemas.errors import StoreBusy, StoreError
from schemas.files import is_locked, labelled_lock
from schemas.progress import Say, discard_message
from schemas.store.failures import shown
from schemas.store.opening import is_older

_PRODUCT = "pairsmith"
_UPGRADE_S, _TICK_S = 120.0, 0.2  # how long to wait for an upgrade by another process, and how often to check
_REPORT_AFTER_S = 1.0
_UNLABELLED = "it has just started"  # the lock is taken before its label is written, which a full disk prevents
_UNLABELLED_TICKS = 5  # how often to check again for the label


_NO_REVIEW = "--no-review"
_UPGRADES = "upgrade of the store by"  # in the holder's label if the lock is held only for an upgrade


def _own_label(upgrades: bool) -> dict[str, str]:
    words = takewhile(lambda word: not word.startswith("-"), sys.argv[1:3])
    unreviewed = [_NO_REVIEW] if _NO_REVIEW in sys.argv else []  # decides what is left of a run that is killed
    command = shlex.join([Path(sys.argv[0]).name.replace("__main__.py", _PRODUCT), *words, *unreviewed])
    return {
        "pid": str(os.getpid()),
        "host": socket.gethostname(),
        "command": f"{_UPGRADES} {command}" if upgrades else command,
        "since": datetime.now(UTC).strftime("%H:%M:%S UTC"),
        "at": datetime.now(UTC).isoformat(),
    }


_BUSY = "another process is writing to this store: "


def _busy_error(url: str, who: str) -> StoreBusy:
    return StoreBusy(
        f"{_BUSY}{who}.",
        where=shown(url),
        why="Two writers would request and pay for the same answers twice.",
        fix="Wait for it to finish, or stop it with Ctrl-C and run this again.",
    )


StillHeld = Callable[[sa.Connection], None]
"""Called in a writer's transaction; raises StoreBusy if the lock was lost and another process has it."""


@contextlib.contextmanager
def writer_lock(
    path: Path | None, engine: sa.Engine, url: str, say: Say = discard_message, *, upgrades: bool = False
) -> Iterator[StillHeld]:
    """Hold the writer lock; with `upgrades`, only for the duration of a store upgrade.

    If another process holds it for an upgrade, even one on behalf of a reader, this waits: the upgrade takes seconds,
    and the user of either process did not ask for it. After a second, `say` gets a line with its name. A process that
    has just taken it is given a second to write its label, which says whether it upgrades. Raises StoreBusy.
    """
    with contextlib.ExitStack() as locks:
        began, may_wait, reported, unlabelled = time.monotonic(), True, False, 0
        while True:
            try:
                still_held: StillHeld = locks.enter_context(
                    file_lock(Path(f"{path}.lock"), url, upgrades) if path else advisory_lock(engine, url, upgrades)
                )
                break
            except StoreBusy as busy:
                waited_s = time.monotonic() - began
                unlabelled = unlabelled + 1 if _UNLABELLED in str(busy) else 0
                is_upgrade = may_wait or _UPGRADES in str(busy) or 0 < unlabelled <= _UNLABELLED_TICKS
                if not is_upgrade or waited_s > _UPGRADE_S:
                    raise
                if waited_s >= _REPORT_AFTER_S and not reported:
                    reported = True
                    say(f"Waiting for the store: {busy.what.removeprefix(_BUSY).rstrip('.')}.")
            may_wait = is_older(engine)  # try once more after the upgrade, because its lock is freed slightly later
            time.sleep(_TICK_S)
        yield still_held


def writer_of(path: Path | None, engine: sa.Engine) -> str:
    """A description of the process that is writing to the store; empty if there is none."""
    if path is None:
        with engine.connect() as connection:
            label = sa.text(f"SELECT a.application_name {_LOCK_ROW}")
            return str(connection.scalar(label, {"key": _key(connection)}) or "")
    with contextlib.suppress(OSError):
        if is_locked(lock := Path(f"{path}.lock")):
            return _describe(lock.read_bytes())
    return ""


def last_writer_of(path: Path | None, engine: sa.Engine) -> tuple[str, datetime] | None:
    """The command that last wrote to the store, and when it began; None if it is still writing, or if that is
    unknown."""
    with contextlib.suppress(OSError, ValueError, TypeError):  # a comment may be somebody else's
        if writer_of(path, engine):
            return None
        if path is None:
            with engine.connect() as connection:
                labels = [_noted(connection, place)[1] for place in _NOTED_ON]
        else:
            labels = [_label(Path(f"{path}.lock").read_text())]
        if known := [label for label in labels if label]:
            return max(known, key=lambda label: label[1])
    return None


# The index is ours alone. Versions before 2026-12-01 wrote over what the owner of the database says about the table.
_NOTED_ON = {"INDEX": "receipts_pkey", "TABLE": "receipts"}


def _noted(connection: sa.Connection, place: str) -> tuple[str | None, tuple[str, datetime] | None]:
    """The comment there, and the command that it names if it is one of ours."""
    comment = connection.scalar(sa.text("SELECT obj_description(to_regclass(:name))"), {"name": _NOTED_ON[place]})
    return comment, _label(comment or "")


def _label(text: str) -> tuple[str, datetime] | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        label = json.loads(text)
        return label["command"], datetime.fromisoformat(label["at"])
    return None


def note_writer(engine: sa.Engine) -> None:
    """Note in a PostgreSQL store which command writes to it, as SQLite's lock file does: once the process has been
    killed, nothing else knows. It is a comment on an index, so it needs no other schema; somebody else's index has
    none, and somebody else's comment stays."""
    if engine.dialect.name != "postgresql":
        return
    label = json.dumps(_own_label(upgrades=False)).replace("'", "''").replace("%", r"\u0025")
    with contextlib.suppress(sa.exc.DBAPIError), engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        for place, name in _NOTED_ON.items():
            comment, ours = _noted(connection, place)
            if ours or (comment is None and place == "INDEX"):
                new = f"'{label}'" if place == "INDEX" else "NULL"
                connection.exec_driver_sql(f"COMMENT ON {place} {name} IS {new}")


def _describe(label: bytes) -> str:
    try:
        return "pid {pid} on {host}, `{command}`, since {since}".format(**json.loads(label))
    except (ValueError, KeyError):
        return _UNLABELLED


@contextlib.contextmanager
def file_lock(path: Path, url: str, upgrades: bool) -> Iterator[StillHeld]:
    """Hold `path` for this process. The kernel frees the lock when the process dies, however it dies.

    Raises StoreBusy with the holder's pid, command and start time. Not covered: network file systems without flock.
    """
    with labelled_lock(path, json.dumps(_own_label(upgrades)).encode(), mode=0o644) as ours:
        if not ours:
            raise _busy_error(url, _describe(path.read_bytes()))
        yield _in_place_check(path.with_suffix(""), url)  # a kernel lock cannot be lost, but the file can


def _in_place_check(path: Path, url: str) -> StillHeld:
    """A check that a SQLite file was neither deleted nor replaced since the lock was taken, or since the first call if
    it was created later.

    SQLite would keep writing to the deleted file without an error, and everything would be lost when it is closed.
    What was confirmed is therefore copied to a new file, whose name is in the StoreError.
    """
    logs = Path(f"{path}-wal"), Path(f"{path}-shm")
    first = _inodes(path, path.parent) if path.exists() else []
    last: list[Any] = []  # the driver's connection to the file in its place, and the inodes of its logs

    def check(connection: sa.Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        try:
            now = _inodes(path, path.parent)
            first[:] = first or now
            if now == first:
                last[:] = driver, _inodes(*logs)
        except OSError:  # a slow network drive
            return
        # A sync may hide the folder for a moment, and in another one with its name a copy would be out of place.
        if now == first or now[1] != first[1]:
            return
        # A connection that was opened later would be to another file.
        old, inodes = last or (driver, [(), ()])
        copy = path.with_name(f"{path.name}.saved-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        fix = (
            f"If it was renamed, move it back. Otherwise delete {path.name}-wal, which belongs to the old file, and "
            "restore a backup, if there is one. Then run the same command again."
        )
        if _is_copied(old, copy):
            # The logs of the old file would be applied to another one with its name, and the copy has what is in them.
            with contextlib.suppress(OSError):
                for log, was, is_ in zip(logs, inodes, _inodes(*logs), strict=True):
                    if was == is_ != ():
                        log.unlink()
            in_place = shlex.join(["mv", str(copy), str(path)])
            fix = f"Everything confirmed before was saved to {copy.name}: {in_place}, and run the same command again."
        raise StoreError("its file was deleted or replaced while this ran.", where=shown(url), fix=fix)

    return check


def _inodes(*paths: Path) -> list[tuple[int, ...]]:
    """What each path leads to; () for nothing. Raises OSError."""
    identities: list[tuple[int, ...]] = []
    for path in paths:
        try:
            status = path.stat()
            identities.append((status.st_dev, status.st_ino))
        except FileNotFoundError:
            identities.append(())
    return identities


def _is_copied(old: Any, copy: Path) -> bool:
    """Copy the database of a SQLite connection to a new file, unless it has no tables; whether that succeeded."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(copy)) as new:
        old.backup(new)
        if new.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return True
    with contextlib.suppress(OSError):
        copy.unlink()
    return False


@contextlib.contextmanager
def advisory_lock(engine: sa.Engine, url: str, upgrades: bool) -> Iterator[StillHeld]:
    """The same for PostgreSQL: a session-level advisory lock, freed when the connection ends. Raises StoreBusy.

    The lock belongs to the schema with our tables, so two projects in two schemas of a database do not block each
    other. If the connection is cut, the lock is lost without notice. The writer therefore checks it in every
    transaction, and takes it again if nobody else has it. Not covered: a pairsmith of version 0.1 in the same database,
    which used one lock for all schemas.
    """
    lock = _AdvisoryLock(engine, url, upgrades)
    try:
        yield lock.still_held
    finally:
        lock.release()


_LOCK_ROW = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.granted AND l.locktype = 'advisory'"
    " AND ((l.classid::bigint << 32) | l.objid::bigint) = :key"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class _AdvisoryLock:
    def __init__(self, engine: sa.Engine, url: str, upgrades: bool) -> None:
        self._engine, self._url, self._upgrades = engine, url, upgrades
        self._acquire()

    def _acquire(self) -> None:
        self._connection = self._engine.connect()
        try:
            self._key, label_parts = _key(self._connection), _own_label(self._upgrades)
            who = _UPGRADES if self._upgrades else "pairsmith"
            label = f"{who} pid {label_parts['pid']} on {label_parts['host']} since {label_parts['since']}"[:63]
            named = sa.text("SELECT set_config('application_name', :label, false), pg_backend_pid()")
            self._pid = self._connection.execute(named, {"label": label}).one()[1]
            key = {"key": self._key}
            if not self._connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), key):
                raise _busy_error(
                    self._url, str(self._connection.scalar(sa.text(f"SELECT a.application_name {_LOCK_ROW}"), key))
                )
            self._connection.commit()
        except BaseException:
            self._connection.close()
            raise

    def still_held(self, writing: sa.Connection) -> None:
        """Check from within the writer's own transaction."""
        ours = sa.text(f"SELECT count(*) {_LOCK_ROW} AND l.pid = :pid")
        if not writing.scalar(ours, {"key": self._key, "pid": self._pid}):
            self.release()
            self._acquire()

    def release(self) -> None:
        if self._connection.closed:  # the lock was lost and another process has it
            return
        with contextlib.suppress(sa.exc.DBAPIError):  # a lost connection has already freed it
            self._connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
            self._connection.commit()
        with contextlib.suppress(sa.exc.DBAPIError):
            self._connection.close()


def _key(connection: sa.Connection) -> int:
    """A lock number for the schema that contains our tables, or in which they will be created; a search path may name
    several."""
    schema = connection.scalar(
        sa.text(
            "SELECT coalesce((SELECT relnamespace::regnamespace::text FROM pg_class"
            " WHERE oid = to_regclass('alembic_version')), quote_ident(current_schema()))"
        )
    )
    digest = hashlib.sha256(f"{_PRODUCT} {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
