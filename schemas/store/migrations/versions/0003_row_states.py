"""The decisions of curation, one row per slot; verdicts can be found by their step."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "row_states",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("curation", sa.Text, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("seed_id", sa.Text, nullable=False),
        sa.Column("generator", sa.Text, nullable=False),
        sa.Column("sample", sa.Integer, nullable=False),
        sa.Column("pair_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("split", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("curation", "seed_id", "generation", "generator", "sample", name="uq_row_states"),
    )
    op.create_index("ix_row_states_pair_id", "row_states", ["pair_id"])
    op.create_index("ix_row_states_state", "row_states", ["curation", "state", "code", "position"])
    op.create_index("ix_verdicts_step", "verdicts", ["by", "scope", "position"])
