"""The nearest records by cosine, over vectors kept in memory and read again only where they changed.

Runs under the server's own pins, like pairsmith_sql_engine, and has no parent package.
"""

import threading
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from argilla_server.models import (
    Vector,
)
from pairsmith_sql_search import Search
from pairsmith_sql_words import search_connections

_vectors = Vector.__table__


@dataclass
class _Vectors:
    """The unit vectors of one vector setting, a row a record, as of `stamp` = (how many, last change)."""

    stamp: tuple
    ids: list[UUID]
    unit: np.ndarray


_VECTORS: dict[UUID, _Vectors] = {}
_VECTORS_LOCK = threading.Lock()


def _vectors_of(settings_id: UUID) -> _Vectors:
    """From memory if nothing changed since; otherwise only the changed rows are read again."""
    here = _vectors.c.vector_settings_id == settings_id
    with _VECTORS_LOCK, search_connections().connect() as connection:
        stamp = tuple(
            connection.execute(sa.select(sa.func.count(), sa.func.max(_vectors.c.updated_at)).where(here)).one()
        )
        known = _VECTORS.get(settings_id)
        if known is not None and known.stamp == stamp:
            return known
        rows: dict[UUID, np.ndarray] = {}
        changed = sa.select(_vectors.c.record_id, _vectors.c.value).where(here)
        if known is not None and known.stamp[1] is not None:
            present = set(connection.scalars(sa.select(_vectors.c.record_id).where(here)))
            rows = {key: row for key, row in zip(known.ids, known.unit, strict=True) if key in present}
            changed = changed.where(_vectors.c.updated_at >= known.stamp[1])
        for record_id, value in connection.execution_options(yield_per=2000).execute(changed):
            vector = np.asarray(value, np.float32)
            length = float(np.linalg.norm(vector))
            rows[record_id] = vector / length if length else vector
        unit = np.stack(list(rows.values())) if rows else np.zeros((0, 0), np.float32)
        _VECTORS[settings_id] = fresh = _Vectors(stamp, list(rows), unit)
        return fresh


def nearest(
    settings_id: UUID, value: np.ndarray, excluded: UUID | None, asked: Search | None, limit: int
) -> list[tuple]:
    """(record id, score) of the `limit` nearest, nearest first, among those `asked` admits (None: all)."""
    known = _vectors_of(settings_id)
    if not known.ids:
        return []
    scores = (1.0 + known.unit @ (value / (np.linalg.norm(value) or 1.0))) / 2.0
    admitted = None if asked is None else set(asked.matching())
    found: list[tuple] = []
    for place in np.argsort(-scores, kind="stable"):
        record_id = known.ids[place]
        if record_id != excluded and (admitted is None or record_id in admitted):
            found.append((record_id, float(np.clip(scores[place], 0.0, 1.0))))
            if len(found) == limit:
                break
    return found
