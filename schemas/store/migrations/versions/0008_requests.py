"""What many requests have in common is kept once. Answers that were kept before hold their whole request."""

from schemas.store.migrations.steps import make_records

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    make_records("requests")
