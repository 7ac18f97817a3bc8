"""The verdicts of all gates on one pair, stored as one row.

The row is in the verdicts table under the name GATES, with a body as in `schemas.gate_verdicts`. The list of steps, in
order, is stored once in `step_lists`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import sqlalchemy as sa

from schemas.gate_verdicts import StepName
from schemas.records import content_id
from schemas.store import tables
from schemas.store.rows import insert_target
from schemas.store.writer import insert

GATES = "gates"


def store_judged(connection: sa.Connection, steps: Sequence[StepName], rows: Sequence[tuple[str, str]]) -> None:
    """Write the verdicts of the steps: for each pair its id and the body."""
    name = content_id("steps", [list(step) for step in steps])
    insert(connection, insert_target(tables.step_lists, "id", "body"), [(name, orjson.dumps(steps).decode())])
    judged = [(id_, GATES, name, body) for id_, body in rows]
    insert(connection, insert_target(tables.verdicts, "pair_id", "by", "fingerprint", "body"), judged)


def has_any_step(lists: Mapping[str, Sequence[StepName]], steps: Sequence[StepName]) -> sa.ColumnElement[bool]:
    """A condition for the rows that contain a verdict of any of `steps`."""
    c, step_ids = tables.verdicts.c, set(steps)
    of_lists = [(GATES, name) for name, listed in lists.items() if not step_ids.isdisjoint(listed)]
    return sa.or_(*(sa.and_(c.by == by, c.fingerprint == name) for by, name in (*steps, *of_lists)))
