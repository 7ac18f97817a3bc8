"""What made a pair is a row that many share. Pairs that were kept before stay as they are, and are read as they are."""

from schemas.store.migrations.steps import make_records

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    make_records("origins")
