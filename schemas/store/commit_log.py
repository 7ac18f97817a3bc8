"""Rows that are durable and not in their tables yet: a log beside a SQLite store, `FILE-commits`.

Three indexes go by hash, so nearly every row has leaves of its own in each, and a commit writes all of them: three
quarters of what a row costs SQLite. Rows that come by the dozen are therefore appended here first, one write for all,
and go into their tables by the thousand, where many share a leaf. Readers see them then, after a second at most; a
store that reads what it has written itself sees them at once. What a process that was killed has left here, the next
to open or read the store puts into its tables. To do so twice changes nothing: only rows with a place of their own
come here, and nothing else is written while they are here.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from zlib import crc32

import orjson
import sqlalchemy as sa

from schemas.errors import StoreBusy
from schemas.money import Hold
from schemas.records import Call, Candidate, Pair, Record
from schemas.store import tables
from schemas.store.failures import explained
from schemas.store.lock import STARTED, UPGRADES, file_lock
from schemas.store.opening import log_of
from schemas.store.rows import Into, Row, into

_KINDS = {Call, Candidate, Hold, Pair}
_MANY = 32  # records at once: fewer go into their tables, and can be read there, at once
_MOST = 3_000  # records: they are in memory too
_MOST_S = 1.0  # after which they can be read, at the latest
_OTHER_S, _TICK_S = 10.0, 0.01  # how long another reader that settles is waited for, and how often it is looked
_NOTHING = b"\n"  # at the beginning: no entries; behind one: no more
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no other


def _salt() -> int:
    return int.from_bytes(os.urandom(4), "big")


def is_left(path: Path) -> bool:
    """Whether the log of this store holds rows."""
    try:
        with log_of(path).open("rb") as log:
            return log.read(1) not in (b"", _NOTHING)
    except FileNotFoundError:
        return False


class CommitLog:
    """The log as its writer, who holds the store's lock, sees it.

    It begins with a salt, and then each line is an entry behind the checksum of all up to it: the file is written over
    again and again, as to lengthen it costs three times as much, and what lies behind the last entry is of before.
    """

    def __init__(self, path: Path) -> None:
        self.store, self._path = path, log_of(path)
        self._fd, self._end, self._sum = -1, 0, _salt()
        self._count, self._since = 0, 0.0
        self.rows: dict[Into, list[Row]] = defaultdict(list)  # in the order in which they came

    @property
    def due_s(self) -> float | None:
        """How long the rows may stay; None without any."""
        return max(0.0, self._since + _MOST_S - time.monotonic()) if self._count else None

    def takes(self, records: Sequence[Record]) -> bool:
        """Whether these should come here, and not into their tables with all that is here."""
        few = _MANY <= len(records) <= _MOST - self._count
        return few and self.due_s != 0 and {type(record) for record in records} <= _KINDS

    def append(self, rows: Mapping[Into, list[Row]]) -> bool:
        """Make rows durable; False if they cannot be told in JSON or the file cannot be written."""
        priced = [(place.names.index("usd"), of) for place, of in rows.items() if "usd" in place.names]
        if not isfinite(sum(row[at] or 0.0 for at, of in priced for row in of)):  # JSON would say null
            return False
        try:
            # An integer that is too long for a table would be refused whenever somebody opens the store.
            every = [[place.table.name, place.names, of] for place, of in rows.items()]
            entry = orjson.dumps(every, option=orjson.OPT_STRICT_INTEGER)
            total = crc32(entry, self._sum)
            line = b"%b%08x %b\n" % (b"" if self._end else b"%08x\n" % self._sum, total, entry)
            if self._fd < 0:
                self._make()
            whole = os.pwrite(self._fd, line, self._end) == len(line)
            _sync(self._fd)
        except (OSError, TypeError):
            whole = False
        if not whole:
            with contextlib.suppress(OSError):  # they go into their tables, and must not come back from here later
                os.pwrite(self._fd, _NOTHING, self._end)
                _sync(self._fd)
            return False
        self._end, self._sum = self._end + len(line), total
        self._since = self._since if self._count else time.monotonic()
        for place, of in rows.items():
            self._count += len(of)
            self.rows[place] += of
        return True

    def _make(self) -> None:
        self._fd, of = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), self.store.stat()
        if os.geteuid() == 0:  # as SQLite does with its own: whoever may write the store must be able to settle it
            os.fchown(self._fd, of.st_uid, of.st_gid)
        os.fchmod(self._fd, of.st_mode & 0o777)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut may take the file
        finally:
            os.close(folder)

    def clear(self) -> None:
        """The rows are durable in their tables; what is written there from now on must not be undone by them."""
        if self._count:
            _empty(self._fd)
            self.rows.clear()
            self._count, self._end, self._sum = 0, 0, _salt()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if not self._count:
                self._path.unlink(missing_ok=True)


def _empty(fd: int) -> None:
    os.pwrite(fd, _NOTHING, 0)
    _sync(fd)


def left_in(path: Path) -> list[tuple[Into, list[Row]]]:
    """The rows in the log of a store. An entry that is not whole was confirmed to nobody."""
    rows: list[tuple[Into, list[Row]]] = []
    try:
        salt, *lines = log_of(path).read_bytes().splitlines(keepends=True)
        total = int(salt, 16)
    except ValueError:  # not even that is whole
        return []
    for line in lines:
        checksum, _, entry = line[:-1].partition(b" ")
        total = crc32(entry, total)
        if not line.endswith(b"\n") or checksum != b"%08x" % total:
            break
        for name, names, of in orjson.loads(entry):
            rows.append((into(tables.metadata.tables[name], *names), [tuple(row) for row in of]))
    return rows


def settle_abandoned(engine: sa.Engine, path: Path | None, url: str) -> None:
    """`settle`, for a reader, where there is anything to settle and no writer to do it."""
    try:
        until = time.monotonic() + _OTHER_S
        while path is not None and is_left(path) and time.monotonic() < until:
            try:
                with file_lock(Path(f"{path}.lock"), url, upgrades=True):
                    settle(engine, path)
            except StoreBusy as busy:
                if UPGRADES not in str(busy) and STARTED not in str(busy):  # its writer will
                    return
                time.sleep(_TICK_S)  # another reader does so now
    except PermissionError:
        return  # without the right to the lock its rows are left to who has it
    except Exception as error:
        raise explained(error, url) from None


def settle(engine: sa.Engine, path: Path) -> None:
    """Put what a writer that is no more left in the log into the tables; for who holds the store's lock."""
    from schemas.store.writer import insert

    if is_left(path):
        with engine.begin() as connection:
            for place, rows in left_in(path):
                insert(connection, place, rows)
        with log_of(path).open("r+b") as log:  # a power cut may bring a file back that was deleted
            _empty(log.fileno())
    log_of(path).unlink(missing_ok=True)  # an empty one too: texts lie behind its first byte
