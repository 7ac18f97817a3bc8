"""A store by its file, opened at most once per process however often it is requested, as notebooks do."""

from __future__ import annotations

import copyreg
import math
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy.engine import make_url

from schemas.errors import UsageError
from schemas.store.budget import Budget
from schemas.store.opening import sqlite_url
from schemas.store.store import Store

DEFAULT = "pairsmith.db"
"""The file in the working folder that is written if no other is given."""

_lock = Lock()
_writers: dict[str, tuple[Store, int]] = {}
_of_parent: list[object] = []


def _leave_to_parent() -> None:
    """In a forked process: the connections of open stores are the parent's, and must be neither used nor closed
    here. A process that opens the store itself is told that the parent is writing."""
    global _lock
    _lock = Lock()  # another thread may have held it
    _of_parent.append(dict(_writers))
    _writers.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def url_of(store: str | Path) -> str:
    """The URL of a store's file; a URL is returned unchanged. Raises UsageError for anything else."""
    named: Any = store
    if not isinstance(named, str | os.PathLike):
        what = f"a store of type {type(store).__name__} cannot be opened: {store!r:.80}."
        raise UsageError(what, fix='Name a file, "pairsmith.db", or give the URL of a database.')
    if isinstance(store, str) and "://" in store:
        return store
    path = Path(store).resolve()
    if path.is_dir():
        fix = f"Name a file in it: {str(Path(store) / DEFAULT)!r}."
        raise UsageError(f"the store {str(store)!r} is a folder.", where=str(path), fix=fix)
    return sqlite_url(path)


@contextmanager
def shared(
    store: str | Path = DEFAULT, *, project_usd: float | None = None, max_usd: float | None = None
) -> Iterator[Store]:
    """The store, open for writing. Overlapping blocks for the same store share it, and the last one to end closes it.

    Spending during a block, by whatever code, stays under its caps: `project_usd` in total, `max_usd` within the block.

    Raises StoreBusy if another process is writing to the store, UsageError for an invalid cap, and the errors of
    `Store.open`.
    """
    number: Any = max_usd  # perhaps a numpy number
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if number is not None and not (is_number and 0 < float(number) < math.inf):
        raise UsageError(f"max_usd = {max_usd!r} is not a valid cap.", fix="Give a number of US dollars above 0.")
    url = url_of(store)
    with _lock:
        opened, users = _writers.get(url) or (Store.open(url), 0)
        _writers[url] = opened, users + 1
    try:
        with _capped(opened, project_usd, None if max_usd is None else float(max_usd)):
            yield opened
    finally:
        with _lock:
            mine, users = _writers.pop(url, (None, 0))
            if users > 1:
                _writers[url] = opened, users - 1
            elif mine is not None:  # in a process forked within the block, it is the parent's
                opened.close()


@contextmanager
def _capped(store: Store, project_usd: float | None, max_usd: float | None) -> Iterator[None]:
    """Apply caps for the duration of a block, in addition to those of other blocks."""
    if project_usd is None and max_usd is None:
        yield
        return
    with _lock:  # otherwise one of two threads could cap a budget object that is not in use
        budget = store.budget = store.budget or Budget(store.spent())
        caps = budget.cap(project_usd, max_usd, "max_usd")
    try:
        yield
    finally:
        with _lock:
            for cap in caps:
                budget.caps.remove(cap)
            if not budget.caps:
                store.budget = None


def is_open(store: Store) -> bool:
    """Whether a `shared` block holds this store."""
    return _writers.get(store.url, (None, 0))[0] is store


def reader(store: str | Path = DEFAULT) -> Store:
    """The store, open for reading; it is closed when nothing refers to it any more."""
    opened = Store.open(url_of(store), write=False)
    weakref.finalize(opened, opened.closing())
    return opened


def _as_reader(store: Store) -> tuple[Any, ...]:
    address = make_url(store.url)
    if store.path is None and (address.password or "password" in address.query):
        raise UsageError(
            "this store cannot be pickled or copied, because its address has a password.",
            why="A pickle contains the address.",
            fix="Set the password as PGPASSWORD or in ~/.pgpass, and leave it out of the address.",
        )
    return reader, (store.path or store.url,)


# Pickled and copied as a reader of the same store, so that a pool can be sent to another process.
copyreg.pickle(Store, _as_reader)
