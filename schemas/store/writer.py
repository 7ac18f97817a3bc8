"""The writer thread: it groups waiting work into one commit, and notifies each waiter when its rows are durable."""

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

from schemas.errors import StoreError, first_line
from schemas.money import Hold
from schemas.progress import Say, log_message
from schemas.records import Call, Record
from schemas.store import tables
from schemas.store.failures import explained, is_transient, shown
from schemas.store.lock import StillHeld
from schemas.store.rows import INTO_CALLS, InsertTarget, Row, StoredRows


class Revisable:
    """Records waiting for the writer that may be replaced until it takes them, so that information that arrives a
    moment later needs no second write. They are then written even if their producer has been cancelled."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records, self._taken, self._lock = records, False, threading.Lock()

    def replace(self, records: Sequence[Record]) -> bool:
        """Write these records instead; False if the writer has already taken the others."""
        with self._lock:
            if not self._taken:
                self._records = records
            return not self._taken

    def take(self) -> Sequence[Record]:
        """For the writer: the records, which can no longer be replaced."""
        with self._lock:
            self._taken = True
            return self._records


Work = Callable[[sa.Connection], None] | Sequence[Record] | Revisable
Mark = Callable[[], Hold]
"""Returns a hold for everything in flight. It is written along with each commit, at no extra cost per request."""
_Waiter = Future[None] | asyncio.Future[None]
# Delays before a transient failure is retried: a server that was killed may replay its log for ten seconds or more.
_RETRY_DELAYS_S = (0.5, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0)
_GROUP = 1_000  # maximum waiters per commit, so that a commit stays short
# The minimum interval between commits for coroutines: a commit costs as much as some thirty rows, and with many
# requests in flight the delay is not noticeable. Work that a thread waits for is committed at once.
_PACE_S = 0.04


class Writer:
    """Owns the only writing connection. `still_held` is called in each of its transactions.

    Transient failures (a file locked by another process, a server restart) are retried, and `say` gets the first one.
    After any other failed commit every later write fails with the same error, because a disk that is full for one row
    may have lost any of them.
    """

    def __init__(self, engine: sa.Engine, url: str, still_held: StillHeld, say: Say = log_message) -> None:
        self._engine, self._url, self._still_held, self._say = engine, url, still_held, say
        self._queue: queue.SimpleQueue[tuple[Work, _Waiter] | None] = queue.SimpleQueue()
        self._broken: StoreError | None = None
        self._closed = False
        self._rows = StoredRows()
        self._marks: set[Mark] = set()
        self._hurry = threading.Event()  # a thread, not a coroutine, waits for the next commit
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[None]:
        """Queue records, or a function of the connection, to be committed atomically. The future resolves when they are
        durable."""
        future: Future[None] = Future()
        # Cancelling a waiter does not withdraw its rows, and the future must stay resolvable.
        future.set_running_or_notify_cancel()
        if self._enqueue(work, future):
            self._hurry.set()
        return future

    def submit_here(self, work: Work) -> asyncio.Future[None]:
        """`submit` for a coroutine. All futures of one commit wake the event loop only once."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(work, future)
        return future

    def _enqueue(self, work: Work, future: _Waiter) -> bool:
        """Queue the work. False if the store is closed or an earlier commit has failed: the future has that error."""
        if self._broken or self._closed:
            future.set_exception(self._broken or StoreError("the store is closed.", where=shown(self._url)))
            return False
        self._queue.put((work, future))
        return True

    def mark(self, mark: Mark) -> None:
        """Write the hold that `mark` returns with the next commit, and with each one after it until the hold is
        closed."""
        self._marks.add(mark)
        self._queue.put(((), Future()))  # not urgent, because nothing waits for it

    def _marked(self) -> list[Hold]:
        """The current holds, taken before the answers that are no longer in flight are collected."""
        holds = []
        for mark in list(self._marks):
            self._marks.discard(mark)  # before calling it, because it may be added again meanwhile
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
                # An answer that arrived after the holds were taken is counted in both; write the holds again in case
                # no other commit follows.
                now = self._marked() if self._queue.empty() else []
                if any(hold not in marked for hold in now):
                    self._commit([], now)
                due = time.monotonic() + _PACE_S

    def _commit(self, group: list[tuple[Work, _Waiter]], marked: list[Hold]) -> None:
        error = self._broken = self._broken or self._try_commit([*(work for work, _ in group), marked])
        waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
        for _, future in group:
            if isinstance(future, asyncio.Future):
                waiting[future.get_loop()].append(future)
            elif error:
                future.set_exception(error)
            else:
                future.set_result(None)
        for loop, futures in waiting.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits
                loop.call_soon_threadsafe(_resolve, futures, error)

    def _try_commit(self, group: Sequence[Work]) -> StoreError | None:
        """Commit the work; returns the error if it could not be committed."""
        for wait_s in (*_RETRY_DELAYS_S, None):
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
                    shared = insert_records(connection, records, self._rows, self._url)
                    # Whether a commit that may have succeeded after all must not be repeated; most rows are idempotent.
                    unknown = any(callable(work) and getattr(work, "func", None) not in _REPEATABLE for work in group)
                    committing = unknown or not tables.NOT_IDEMPOTENT.isdisjoint(map(type, records))
                    transaction.commit()
                self._rows.committed(shared)
                return None
            except Exception as raised:
                if wait_s is None or not is_transient(raised, committing=committing):
                    return explained(raised, self._url)
                if wait_s == _RETRY_DELAYS_S[0]:
                    cause = first_line(raised.orig if isinstance(raised, sa.exc.DBAPIError) else raised)
                    with contextlib.suppress(Exception):  # whatever it raised would end this thread
                        self._say(f"The store cannot be written at the moment ({cause}). Trying again.")
                time.sleep(wait_s)
        return None


def _resolve(futures: Sequence[asyncio.Future[None]], error: StoreError | None) -> None:
    for future in futures:
        if future.done():  # cancelled; its rows are stored nevertheless
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(None)


def insert_records(connection: sa.Connection, records: Sequence[Record], builder: StoredRows, url: str) -> set[str]:
    """Insert the rows of the records; returns the ids of the shared requests and origins among them."""
    rows, shared = builder.of(records)
    for target, values in rows.items():
        inserted = insert(connection, target, values)
        if target is INTO_CALLS and inserted != len(values):
            _check_no_other_writer(connection, values, url)
    return shared


def insert(connection: sa.Connection, target: InsertTarget, rows: Sequence[Row]) -> int:
    """Insert rows; returns how many were new."""
    sql, to_parameters = _statement(connection.dialect, target)
    # Directly through the driver: SQLAlchemy's handling of many rows costs more than the database's.
    return connection.exec_driver_sql(sql, to_parameters(rows)).rowcount


ParameterBuilder = Callable[[Sequence[Row]], Any]
_statements: dict[tuple[str, InsertTarget], tuple[str, ParameterBuilder]] = {}


def _statement(dialect: sa.Dialect, target: InsertTarget) -> tuple[str, ParameterBuilder]:
    """The SQL that inserts rows, and a function that converts rows to the driver's parameters. It is cached, because
    building or looking up a SQLAlchemy statement costs more than running it."""
    key = dialect.name, target
    if (known := _statements.get(key)) is not None:
        return known
    table, names = target.table, target.names
    # Import only the dialect in use: the other one takes longer to import than most commands take to run.
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
    to_parameters: ParameterBuilder = list
    if not compiled.positional:
        to_parameters = lambda rows: [dict(zip(names, row, strict=True)) for row in rows]  # noqa: E731
    elif tuple(compiled.positiontup or ()) != names:
        order = itemgetter(*map(names.index, compiled.positiontup or ()))
        to_parameters = lambda rows: list(map(order, rows))  # noqa: E731
    return _statements.setdefault(key, (str(compiled), to_parameters))


def _check_no_other_writer(connection: sa.Connection, rows: Sequence[Row], url: str) -> None:
    """Raise StoreError if an answer's row holds the answer to another request, because another process has written
    it."""
    c = tables.calls.c
    for row in rows:
        value = dict(zip(INTO_CALLS.names, row, strict=True))
        place = sa.select(c.request_id).where(c.key == value["key"], c.attempt == value["attempt"])
        if connection.scalar(place) != value["request_id"]:
            raise StoreError(
                "another process has meanwhile written an answer to the same request.",
                where=shown(url),
                why="Two writers would pay for the same answers twice.",
                fix="Stop the other process and run this again; it continues with what is in the store.",
            )


def mark_judged(calls: Sequence[Call], connection: sa.Connection) -> None:
    """Update the status and the body of answers that are already in the store. It may be repeated."""
    c = tables.calls.c
    place = sa.update(tables.calls).where(c.key == sa.bindparam("key_"), c.attempt == sa.bindparam("attempt_"))
    rows, _ = StoredRows().of(calls)
    for row in rows.pop(INTO_CALLS):
        now = dict(zip(INTO_CALLS.names, row, strict=True))
        named = {"key_": now["key"], "attempt_": now["attempt"]}
        connection.execute(place, named | {name: now[name] for name in ("status", "body")})
    for target, requests in rows.items():
        insert(connection, target, requests)


def put_all_slots(records: Sequence[Record], connection: sa.Connection) -> None:
    """Write all slots of a seed, the last one at the end, and delete those after it. It may be repeated."""
    c, last = tables.candidates.c, dict(records[-1])
    same = (c[name] == last[name] for name in ("fingerprint", "seed_id", "generator"))
    connection.execute(sa.delete(tables.candidates).where(*same, c.sample > last["sample"]))
    for target, rows in StoredRows().of(records)[0].items():
        insert(connection, target, rows)


_REPEATABLE = (mark_judged, put_all_slots)
