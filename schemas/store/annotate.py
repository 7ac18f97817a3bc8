"""A second way to write to a store: review answers are written without the writer lock.

The lock prevents paying twice, and a review answer costs nothing. It has a content id, so writing it twice stores it
once. A job that is writing at the same time neither waits nor is waited for beyond one commit.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from schemas.reviews import Alias, Review
from schemas.store.failures import explained
from schemas.store.opening import engine_of, sqlite_path, sqlite_url
from schemas.store.rows import StoredRows
from schemas.store.store import Store
from schemas.store.writer import insert_records


def annotate(store: Store, *records: Review | Alias) -> None:
    """Store reviews or aliases; they are durable when this returns. Raises StoreError.

    It never migrates: a store that is open for reading already has the current schema. What a copy is read of is
    written in its place, or refused: the copy is thrown away.
    """
    url = store.url if store.path is None else sqlite_url(store.path)
    engine = engine_of(url) if sqlite_path(store.url) != store.path else store.engine
    try:
        with engine.begin() as connection:
            insert_records(connection, records, StoredRows(), url)
    except (sa.exc.DBAPIError, sqlite3.Error) as error:  # the latter while it connects
        raise explained(error, url) from None
    finally:
        if engine is not store.engine:
            engine.dispose()
