"""Steps that several migrations share. Like the migrations, they must not change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

_CHUNK = 2_000  # rows


def number(name: str, default: str | None = None) -> sa.Column[int]:
    """A required column of integers."""
    return sa.Column(name, sa.Integer, nullable=False, server_default=default)


def make_table(name: str, *columns: str | sa.Column[Any], unique: Sequence[str] = ()) -> None:
    """Create a table with a position and these columns, of which a name alone is a required text."""
    position = sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    listed = (sa.Column(one, sa.Text, nullable=False) if isinstance(one, str) else one for one in columns)
    constraints = [sa.UniqueConstraint(*unique, name=f"uq_{name}")] if unique else []
    op.create_table(name, position, *listed, *constraints)


def rewrite(
    name: str, change: Callable[[dict[str, Any]], None], where: sa.ColumnElement[bool] | None = None, **columns: str
) -> None:
    """Change the JSON and the `columns` of the rows of a table that match `where`, a chunk at a time."""
    connection, position, body = op.get_bind(), sa.column("position", sa.BigInteger()), sa.column("body", sa.Text())
    table = sa.table(name, position, body, *map(sa.column, columns))
    update = sa.update(table).where(position == sa.bindparam("row")).values(body=sa.bindparam("changed"), **columns)
    query = sa.select(position, body).select_from(table).order_by(position).limit(_CHUNK)
    query = query if where is None else query.where(where)
    last = -1
    while rows := connection.execute(query.where(position > last)).all():
        changed = []
        for at, text in rows:
            record = json.loads(text)
            change(record)
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            changed.append({"row": at, "changed": text})
        connection.execute(update, changed)
        last = rows[-1].position
