"""The second door of a store: what people say is written without the writer's lock.

That lock guards paying, and an answer costs nothing; it has a content id, so given twice it is kept once. A job that
writes meanwhile neither waits nor is waited for beyond one commit.
"""

from __future__ import annotations

import sqlalchemy as sa

from schemas.reviews import Alias, Review
from schemas.store.failures import explained
from schemas.store.rows import StoredRows
from schemas.store.store import Store
from schemas.store.writer import _insert


def annotate(store: Store, *records: Review | Alias) -> None:
    """Keep answers of people, or who somebody is; durable when it returns. Raises StoreError. It never migrates: a
    store that is open for reading is of the present schema."""
    try:
        with store._engine.begin() as connection:
            _insert(connection, records, StoredRows(), store.url)
    except sa.exc.DBAPIError as error:
        raise explained(error, store.url) from None
