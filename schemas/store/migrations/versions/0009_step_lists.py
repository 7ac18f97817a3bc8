"""What gates say of a pair is one row. Verdicts that were kept before stay as they are, and are read as they are."""

from schemas.store.migrations.steps import make_records

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    make_records("step_lists")
