"""The field's words: input and output for simple and enhanced, fingerprint for scope. Ids do not change."""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CHUNK = 2_000
_KINDS = {"simple": "input", "enhanced": "output"}


def upgrade() -> None:
    for table in ("candidates", "verdicts"):
        op.alter_column(table, "scope", new_column_name="fingerprint")
    _rewrite("seeds", _seed)
    _rewrite("pairs", lambda body: _rename(body, simple="input", enhanced="output"))
    _rewrite("candidates", lambda body: _rename(body, scope="fingerprint"))
    _rewrite("verdicts", lambda body: _rename(body, scope="fingerprint"))


def _seed(body: dict[str, Any]) -> None:
    body["kind"] = _KINDS.get(body["kind"], body["kind"])


def _rename(body: dict[str, Any], **names: str) -> None:
    for old, new in names.items():
        if old in body:
            body[new] = body.pop(old)


def _rewrite(name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON of every row of a table, a chunk at a time."""
    connection = op.get_bind()
    table = sa.table(name, sa.column("position"), sa.column("body"))
    update = sa.update(table).where(table.c.position == sa.bindparam("row")).values(body=sa.bindparam("changed"))
    last = -1
    query = sa.select(table.c.position, table.c.body).order_by(table.c.position).limit(_CHUNK)
    while rows := connection.execute(query.where(table.c.position > last)).all():
        changed = []
        for position, text in rows:
            body = json.loads(text)
            change(body)
            changed.append({"row": position, "changed": json.dumps(body, ensure_ascii=False, separators=(",", ":"))})
        connection.execute(update, changed)
        last = rows[-1].position
