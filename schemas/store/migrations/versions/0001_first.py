"""The first schema. It is written out, not derived from the tables module, so that it never changes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from schemas.store.migrations.steps import make_table, number

revision = "0001"
down_revision = None


def upgrade() -> None:
    tokens = (sa.Column(f"{kind}_tokens", sa.BigInteger, nullable=False) for kind in ("prompt", "completion", "cached"))
    usd = sa.Column("usd", sa.Double, nullable=False)
    make_table("seeds", "id", number("active", "-1"), "body", unique=["id"])
    call: tuple[str | sa.Column[Any], ...] = ("key", number("attempt"), "status", "request_id", *tokens, usd, "body")
    make_table("calls", *call, unique=["key", "attempt"])
    make_table("pairs", "id", "seed_id", "body", unique=["id"])
    slot = ["scope", "seed_id", "generator", "sample"]
    make_table("candidates", *slot[:3], number("sample"), "body", unique=slot)
    make_table("verdicts", "pair_id", "by", "scope", "body")
    op.create_index("ix_verdicts_pair_id", "verdicts", ["pair_id"])
    make_table("reviews", "id", "pair_id", "body", unique=["id"])
    op.create_index("ix_reviews_pair_id", "reviews", ["pair_id"])
    make_table("receipts", "command", "body")
    make_table("artifacts", "id", "kind", "body", unique=["id"])
