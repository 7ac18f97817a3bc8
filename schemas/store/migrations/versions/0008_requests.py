"""The shared part of many requests is stored once. Answers stored earlier contain their whole request."""

from schemas.store.migrations.steps import make_table

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    make_table("requests", "id", "body", unique=["id"])
