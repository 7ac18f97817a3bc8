"""Which reviewer a name in reviews of an earlier version belongs to."""

from schemas.store.migrations.steps import make_table

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    make_table("aliases", "id", "body", unique=["id"])
