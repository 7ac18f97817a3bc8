"""The writer thread: groups whatever is waiting into one commit and answers each waiter when its rows are durable."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib import import_module
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from schemas.errors import StoreError
from schemas.money import Hold
from schemas.records import Call, Record
from schemas.store import tables
from schemas.store.failures import explained, passes, shown
from schemas.store.lock import StillHeld
from schemas.store.rows import INTO_CALLS, Into, Row, StoredRows


class Revisable:
    """Records that wait for the writer and may be replaced until it takes them, so that what is known a moment later
    costs no second write. They are written as they are then, whatever becomes of who wanted to replace them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records, self._taken, self._lock = records, False, threading.Lock()

    def replace(self, records: Sequence[Record]) -> bool:
        """Write these instead; False if the writer has taken the others."""
        with self._lock:
            if not self._taken:
                self._records = records
            return not self._taken

    def take(self) -> Sequence[Record]:
        """For the writer: the records, final from now on."""
        with self._lock:
            self._taken = True
            return self._records


Work = Callable[[sa.Connection], None] | Sequence[Record] | Revisable
Mark = Callable[[], Hold]
"""What is on the wire now, in one hold: it is written beside each commit, which costs nothing a request."""
_Waiter = Future[None] | asyncio.Future[None]
# Before a passing failure is tried again: a server that was killed may read its log for ten seconds and more.
_WAITS_S = (0.5, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0)
_GROUP = 1_000  # waiters in one commit at most, so that one commit stays short
# Between two commits that coroutines wait for: a commit costs as much as some thirty rows, and who asks many questions
# at once does not feel it. What a thread waits for is committed at once.
_PACE_S = 0.04


class Writer:
    """Owns the only writing connection. `still_held` is asked in each of its transactions.

    What passes (a file that another process holds, a server that restarts) is waited for. After any other failed commit
    every later write fails with the same error: a disk full for one row may have lost any.
    """

    def __init__(self, engine: sa.Engine, url: str, still_held: StillHeld) -> None:
        self._engine, self._url, self._still_held = engine, url, still_held
        self._queue: queue.SimpleQueue[tuple[Work, _Waiter] | None] = queue.SimpleQueue()
        self._broken: StoreError | None = None
        self._closed = False
        self._rows = StoredRows()
        self._marks: set[Mark] = set()
        self._hurry = threading.Event()  # somebody waits for the next commit, and not in a coroutine
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[None]:
        """Queue rows, or a function of the connection, to be committed atomically. Resolved when durable."""
        future: Future[None] = Future()
        # A waiter that is cancelled does not take its rows back, and must not leave a future that cannot be resolved.
        future.set_running_or_notify_cancel()
        if self._broken:
            future.set_exception(self._broken)
        elif self._closed:
            future.set_exception(StoreError("the store is closed.", where=shown(self._url)))
        else:
            self._queue.put((work, future))
            self._hurry.set()
        return future

    def submit_here(self, work: Work) -> asyncio.Future[None]:
        """`submit` for a coroutine. All that one commit makes durable wakes the loop once."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._broken:
            future.set_exception(self._broken)
        elif self._closed:
            future.set_exception(StoreError("the store is closed.", where=shown(self._url)))
        else:
            self._queue.put((work, future))
        return future

    def mark(self, mark: Mark) -> None:
        """Write what `mark` gives with the next commit, and with each from then on until it is not open any more."""
        self._marks.add(mark)
        self._queue.put(((), Future()))  # nobody waits for it, so it does not hurry

    def _marked(self) -> list[Hold]:
        """The marks as they are now: before the answers are gathered that are no more on the wire."""
        holds = []
        for mark in list(self._marks):
            self._marks.discard(mark)  # first: it may be added again meanwhile
            holds.append(mark())
            if holds[-1].open:
                self._marks.add(mark)
        return holds

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._closed = True
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()

    def _run(self) -> None:
        open_, due = True, 0.0
        while open_:
            first = self._queue.get()
            group = [first] if first else []
            open_ = first is not None
            if (wait_s := due - time.monotonic()) > 0:
                self._hurry.wait(wait_s)
            self._hurry.clear()
            marked = self._marked()
            while open_ and len(group) < _GROUP:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    open_ = False
                else:
                    group.append(item)
            if group or marked:
                self._commit(group, marked)
                # An answer that came between the marks and its own row is in both, and nothing else may follow.
                now = self._marked() if self._queue.empty() else []
                if any(hold not in marked for hold in now):
                    self._commit([], now)
                due = time.monotonic() + _PACE_S

    def _commit(self, group: list[tuple[Work, _Waiter]], marked: list[Hold]) -> None:
        error = self._broken = self._broken or self._written([*(work for work, _ in group), marked])
        waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
        for _, future in group:
            if isinstance(future, asyncio.Future):
                waiting[future.get_loop()].append(future)
            elif error:
                future.set_exception(error)
            else:
                future.set_result(None)
        for loop, futures in waiting.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_resolve, futures, error)

    def _written(self, group: Sequence[Work]) -> StoreError | None:
        """Commit the work; what kept it from being committed, if it is not."""
        for wait_s in (*_WAITS_S, None):
            committing = False
            try:
                with self._engine.connect() as connection, connection.begin() as transaction:
                    self._still_held(connection)
                    records: list[Record] = []
                    for work in group:
                        if callable(work):
                            self._rows.forget()  # it may delete
                            work(connection)
                        else:
                            records.extend(work.take() if isinstance(work, Revisable) else work)
                    shared = _insert(connection, records, self._rows, self._url)
                    # What it may have written all the same: a row that is there is not written twice.
                    committing = any(map(callable, group)) or not tables.MAY_BE_DOUBLED.isdisjoint(map(type, records))
                    transaction.commit()
                self._rows.committed(shared)
                return None
            except Exception as raised:
                if wait_s is None or not passes(raised, committing=committing):
                    return explained(raised, self._url)
                time.sleep(wait_s)
        return None


def _resolve(futures: Sequence[asyncio.Future[None]], error: StoreError | None) -> None:
    for future in futures:
        if future.done():  # cancelled: its rows are kept all the same
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)


def _insert(connection: sa.Connection, records: Sequence[Record], making: StoredRows, url: str) -> set[str]:
    """Insert the rows of the records; the ids of those among them that others refer to."""
    rows, shared = making.of(records)
    for into, values in rows.items():
        inserted = insert(connection, into, values)
        if into is INTO_CALLS and inserted != len(values):
            _same_answers(connection, values, url)
    return shared


def insert(connection: sa.Connection, into: Into, rows: Sequence[Row]) -> int:
    """Insert rows; how many were not there."""
    sql, given = _statement(connection.dialect, into)
    # As the driver takes it: SQLAlchemy's own way to many rows costs more than the database's.
    return connection.exec_driver_sql(sql, given(rows)).rowcount


Given = Callable[[Sequence[Row]], Any]
_made: dict[tuple[str, Into], tuple[str, Given]] = {}


def _statement(dialect: sa.Dialect, into: Into) -> tuple[str, Given]:
    """The SQL that inserts rows, and what makes of them what the driver takes with it. Made once: to build and to
    recognise a statement costs more than to run it."""
    key = dialect.name, into
    if (known := _made.get(key)) is not None:
        return known
    table, names = into.table, into.names
    # Only the one that is spoken: the other's module takes longer to import than most commands to run.
    statement: Any = import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)
    if table not in tables.UPSERT:
        statement = statement.on_conflict_do_nothing()
    else:
        unique = next(c for c in table.constraints if isinstance(c, sa.UniqueConstraint))
        slot = [column.name for column in unique.columns]
        statement = statement.on_conflict_do_update(
            index_elements=slot,
            set_={name: statement.excluded[name] for name in names if name not in slot},
            where=table.c.body != statement.excluded.body,
        )
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    given: Given = list
    if not compiled.positional:
        given = lambda rows: [dict(zip(names, row, strict=True)) for row in rows]  # noqa: E731
    elif tuple(compiled.positiontup or ()) != names:
        order = itemgetter(*map(names.index, compiled.positiontup or ()))
        given = lambda rows: list(map(order, rows))  # noqa: E731
    return _made.setdefault(key, (str(compiled), given))


def _same_answers(connection: sa.Connection, rows: Sequence[Row], url: str) -> None:
    """Raise StoreError if the place of an answer holds that of another request: another process has written it."""
    c = tables.calls.c
    for row in rows:
        value = dict(zip(INTO_CALLS.names, row, strict=True))
        place = sa.select(c.request_id).where(c.key == value["key"], c.attempt == value["attempt"])
        if connection.scalar(place) != value["request_id"]:
            raise StoreError(
                "another process has written an answer to the same question meanwhile.",
                where=shown(url),
                why="Two writers pay for the same answers twice.",
                fix="End the other one, and run this again: it goes on with what is in the store.",
            )


def mark_judged(calls: Sequence[Call], connection: sa.Connection) -> None:
    """Give answers that are in the store the status and the body that they have now."""
    c = tables.calls.c
    place = sa.update(tables.calls).where(c.key == sa.bindparam("key_"), c.attempt == sa.bindparam("attempt_"))
    rows, _ = StoredRows().of(calls)
    for row in rows.pop(INTO_CALLS):
        now = dict(zip(INTO_CALLS.names, row, strict=True))
        named = {"key_": now["key"], "attempt_": now["attempt"]}
        connection.execute(place, named | {name: now[name] for name in ("status", "body")})
    for into, requests in rows.items():
        insert(connection, into, requests)
