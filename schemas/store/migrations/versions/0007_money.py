"""What each request was for, which calls have an unknown cost, and what is reserved for requests without an answer.

Earlier versions wrote 0 where no price was given. Requests to this machine were free. Elsewhere the cost is unknown,
and receipts that say 0 for it are changed accordingly.
"""

import json

import sqlalchemy as sa
from alembic import op

from schemas.store.migrations.steps import make_table, number

revision = "0007"
down_revision = "0006"

_CHUNK = 2_000
_HERE = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def upgrade() -> None:
    usd = sa.Column("usd", sa.Double)
    make_table("holds", "id", "stage", "teacher", "prompt", usd, number("open"), "body", unique=["id"])
    op.add_column("calls", number("unpriced", "0"))
    for name in ("stage", "teacher", "prompt"):
        op.add_column("calls", sa.Column(name, sa.Text, nullable=False, server_default=""))
    if _fill_calls():
        _unknown_in_receipts()


def _fill_calls() -> bool:
    """Fill in each call's teacher and whether its cost is unknown; True if the cost of any call is unknown."""
    names = ("position", "prompt_tokens", "completion_tokens", "usd", "unpriced", "teacher", "body")
    calls = sa.table("calls", *map(sa.column, names))
    connection, c = op.get_bind(), calls.c
    query = sa.select(c.position, c.prompt_tokens + c.completion_tokens, c.usd, c.body).order_by(c.position)
    update = (
        sa.update(calls)
        .where(c.position == sa.bindparam("row"))
        .values(teacher=sa.bindparam("by"), unpriced=sa.bindparam("unknown"), body=sa.bindparam("changed"))
    )
    last, any_unknown = -1, False
    while rows := connection.execute(query.where(c.position > last).limit(_CHUNK)).all():
        changed = []
        for position, tokens, usd, body in rows:
            call = json.loads(body)
            unknown = bool(tokens) and not usd and not call["endpoint"].startswith(_HERE)
            if unknown:  # the last such key; one inside the answer itself comes earlier
                before, key, after = body.rpartition('"usd":0.0,')
                body = f'{before}"usd":null,{after}' if key else body
            changed.append({"row": position, "by": call["teacher"], "unknown": int(unknown), "changed": body})
            any_unknown = any_unknown or unknown
        connection.execute(update, changed)
        last = rows[-1].position
    return any_unknown


def _unknown_in_receipts() -> None:
    receipts = sa.table("receipts", sa.column("position"), sa.column("body"))
    connection, c = op.get_bind(), receipts.c
    update = sa.update(receipts).where(c.position == sa.bindparam("row")).values(body=sa.bindparam("changed"))
    for position, body in connection.execute(sa.select(c.position, c.body)).all():
        receipt = json.loads(body)
        if receipt["calls_sent"] and not receipt["usd"]:
            text = json.dumps({**receipt, "usd": None}, ensure_ascii=False, separators=(",", ":"))
            connection.execute(update, {"row": position, "changed": text})
