"""A store by its file, opened once a process however often it is asked for, as notebooks do."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

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
def shared(store: str | Path = DEFAULT) -> Iterator[Store]:
    """The store for writing. Blocks that name the same one at the same time share it; the last to end closes it.

    Raises StoreBusy where another process writes to it, and what `Store.open` raises.
    """
    url = url_of(store)
    with _lock:
        opened, users = _writers.get(url) or (Store.open(url), 0)
        _writers[url] = opened, users + 1
    try:
        yield opened
    finally:
        with _lock:
            opened, users = _writers.pop(url)
            if users > 1:
                _writers[url] = opened, users - 1
            else:
                opened.close()


def is_open(store: Store) -> bool:
    """Whether a block of `shared` holds this store."""
    return _writers.get(store.url, (None, 0))[0] is store


def reader(store: str | Path = DEFAULT) -> Store:
    """The store for reading, closed when nothing refers to it any more."""
    opened = Store.open(url_of(store), write=False)
    weakref.finalize(opened, opened.closing())
    return opened
