"""The first schema. It is written out, not derived from the tables module, so that it never changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _position() -> sa.Column[int]:
    return sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=default)


def _tokens(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    op.create_table(
        "seeds",
        _position(),
        _text("id"),
        _number("active", "-1"),
        _text("body"),
        sa.UniqueConstraint("id", name="uq_seeds"),
    )
    op.create_table(
        "calls",
        _position(),
        _text("key"),
        _number("attempt"),
        _text("status"),
        _text("request_id"),
        _tokens("prompt_tokens"),
        _tokens("completion_tokens"),
        _tokens("cached_tokens"),
        sa.Column("usd", sa.Double, nullable=False),
        _text("body"),
        sa.UniqueConstraint("key", "attempt", name="uq_calls"),
    )
    op.create_table(
        "pairs",
        _position(),
        _text("id"),
        _text("seed_id"),
        _text("body"),
        sa.UniqueConstraint("id", name="uq_pairs"),
    )
    op.create_table(
        "candidates",
        _position(),
        _text("scope"),
        _text("seed_id"),
        _text("generator"),
        _number("sample"),
        _text("body"),
        sa.UniqueConstraint("scope", "seed_id", "generator", "sample", name="uq_candidates"),
    )
    op.create_table("verdicts", _position(), _text("pair_id"), _text("by"), _text("scope"), _text("body"))
    op.create_index("ix_verdicts_pair_id", "verdicts", ["pair_id"])
    op.create_table(
        "reviews",
        _position(),
        _text("id"),
        _text("pair_id"),
        _text("body"),
        sa.UniqueConstraint("id", name="uq_reviews"),
    )
    op.create_index("ix_reviews_pair_id", "reviews", ["pair_id"])
    op.create_table("receipts", _position(), _text("command"), _text("body"))
    op.create_table(
        "artifacts",
        _position(),
        _text("id"),
        _text("kind"),
        _text("body"),
        sa.UniqueConstraint("id", name="uq_artifacts"),
    )
