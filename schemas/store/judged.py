"""What gates say of a pair in one go, kept as one row.

The row stands among the verdicts under the name GATES, its body as in `schemas.said`; which steps spoke, and in what
order, is kept once in `step_lists`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import sqlalchemy as sa

from schemas.records import content_id
from schemas.said import StepName
from schemas.store import tables
from schemas.store.rows import into
from schemas.store.writer import insert

GATES = "gates"


def list_id(steps: Sequence[StepName]) -> str:
    """The name of a list of steps."""
    return content_id("steps", [list(step) for step in steps])


def keep_judged(connection: sa.Connection, steps: Sequence[StepName], rows: Sequence[tuple[str, str]]) -> None:
    """Write what the steps said of pairs: the id of each, and the body."""
    name = list_id(steps)
    insert(connection, into(tables.step_lists, "id", "body"), [(name, orjson.dumps(steps).decode())])
    judged = [(id_, GATES, name, body) for id_, body in rows]
    insert(connection, into(tables.verdicts, "pair_id", "by", "fingerprint", "body"), judged)


def those_with(lists: Mapping[str, Sequence[StepName]], steps: Sequence[StepName]) -> sa.ColumnElement[bool]:
    """The rows in which any of `steps` speaks."""
    c, wanted = tables.verdicts.c, set(steps)
    of_lists = [(GATES, name) for name, spoken in lists.items() if not wanted.isdisjoint(spoken)]
    return sa.or_(*(sa.and_(c.by == by, c.fingerprint == name) for by, name in (*steps, *of_lists)))
