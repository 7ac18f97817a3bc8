"""Rows sent to human review, and why."""

from alembic import op

from schemas.store.migrations.steps import make_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    make_table("routed", "id", "pair_id", "body", unique=["id"])
    op.create_index("ix_routed_pair_id", "routed", ["pair_id"])
