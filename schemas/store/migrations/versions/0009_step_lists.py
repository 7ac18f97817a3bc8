"""The verdicts of all gates on a pair share one row. Verdicts stored earlier are unchanged and still readable."""

from schemas.store.migrations.steps import make_table

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    make_table("step_lists", "id", "body", unique=["id"])
