"""A store by its file, opened once a process however often it is asked for, as notebooks do."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from threading import Lock
from typing import Any

from schemas.errors import UsageError
from schemas.store.budget import Budget
from schemas.store.opening import sqlite_url
from schemas.store.store import Store

DEFAULT = "pairsmith.db"
"""The file in the working folder that is written where no other is named."""

_lock = Lock()
_writers: dict[str, tuple[Store, int]] = {}


def url_of(store: str | Path) -> str:
    """The URL of a store's file; a URL as it is."""
    return store if isinstance(store, str) and "://" in store else sqlite_url(Path(store).resolve())


@contextmanager
def shared(
    store: str | Path = DEFAULT, *, project_usd: float | None = None, max_usd: float | None = None
) -> Iterator[Store]:
    """The store for writing. Blocks that name the same one at the same time share it; the last to end closes it. What
    is spent while a block lasts, whoever asks, stays under its caps: the project's in all, `max_usd` in the block.

    Raises StoreBusy where another process writes to it, UsageError for a cap that is none, and what `Store.open`
    raises.
    """
    number: Any = max_usd  # of numpy, perhaps
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if number is not None and not (is_number and 0 < float(number) < math.inf):
        raise UsageError(f"max_usd = {max_usd!r} caps nothing.", fix="Give a number of US dollars above 0.")
    url = url_of(store)
    with _lock:
        opened, users = _writers.get(url) or (Store.open(url), 0)
        _writers[url] = opened, users + 1
    try:
        with _under(opened, project_usd, None if max_usd is None else float(max_usd)):
            yield opened
    finally:
        with _lock:
            opened, users = _writers.pop(url)
            if users > 1:
                _writers[url] = opened, users - 1
            else:
                opened.close()


@contextmanager
def _under(store: Store, project_usd: float | None, max_usd: float | None) -> Iterator[None]:
    """Caps for the length of a block, beside those of other blocks."""
    if project_usd is None and max_usd is None:
        yield
        return
    with _lock:  # of two threads, one would cap a budget that nothing is counted in
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
    """Whether a block of `shared` holds this store."""
    return _writers.get(store.url, (None, 0))[0] is store


def reader(store: str | Path = DEFAULT) -> Store:
    """The store for reading, closed when nothing refers to it any more."""
    opened = Store.open(url_of(store), write=False)
    weakref.finalize(opened, opened.closing())
    return opened
