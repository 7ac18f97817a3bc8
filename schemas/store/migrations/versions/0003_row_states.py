"""The decisions of curation, one row per slot; verdicts can be found by their step."""

import sqlalchemy as sa
from alembic import op

from schemas.store.migrations.steps import make_table, number

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    pair_id, code, split = (sa.Column(name, sa.Text) for name in ("pair_id", "code", "split"))
    make_table(
        "row_states",
        *("curation", "generation", "seed_id", "generator", number("sample"), pair_id, "state", code, split, "body"),
        unique=["curation", "seed_id", "generation", "generator", "sample"],
    )
    op.create_index("ix_row_states_pair_id", "row_states", ["pair_id"])
    op.create_index("ix_row_states_state", "row_states", ["curation", "state", "code", "position"])
    op.create_index("ix_verdicts_step", "verdicts", ["by", "scope", "position"])
