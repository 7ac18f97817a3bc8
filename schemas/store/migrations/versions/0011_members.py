"""The members of an artifact are a column of their own, so that listing the artifacts does not read them."""

import json
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for name, empty in (("splits", "{}"), ("members", "[]")):
        op.add_column("artifacts", sa.Column(name, sa.Text, nullable=False, server_default=empty))
    table = sa.table("artifacts", *map(sa.column, ("position", "body", "splits", "members")))
    connection, c = op.get_bind(), table.c
    for (position,) in connection.execute(sa.select(c.position)).all():  # one in memory at a time
        artifact = json.loads(connection.execute(sa.select(c.body).where(c.position == position)).scalar_one())
        members = artifact.pop("members", [])
        changed = {
            "body": json.dumps(artifact, ensure_ascii=False, separators=(",", ":")),
            "splits": json.dumps(Counter(split for _, split in members), separators=(",", ":")),
            "members": json.dumps(members, separators=(",", ":")),
        }
        connection.execute(sa.update(table).where(c.position == position).values(**changed))
