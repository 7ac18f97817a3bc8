"""The origin of a pair is a row that many pairs share. Pairs stored earlier are unchanged and still readable."""

from schemas.store.migrations.steps import make_table

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    make_table("origins", "id", "body", unique=["id"])
