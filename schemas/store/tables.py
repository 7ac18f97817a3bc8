"""The tables, and how a record becomes a row.

Every table holds the record's JSON in `body` and, besides it, only the columns that are searched, and the members of an
artifact, which are seldom read. `position` is the order of insertion, so reading is deterministic. A change here needs
a migration and a new SCHEMA_VERSION.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import sqlalchemy as sa

from schemas.money import Hold
from schemas.records import Artifact, Receipt, Record, RowState, Verdict
from schemas.reviews import Alias, Review, Sampled

SCHEMA_VERSION = "0011"

metadata = sa.MetaData()


def _table(
    name: str,
    *columns: str | sa.Column[Any] | sa.Index,
    unique: tuple[str, ...] = (),
    after_body: tuple[sa.Column[Any], ...] = (),
) -> sa.Table:
    """A table with these columns, of which a name alone is a required text."""
    position = sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    constraints = [sa.UniqueConstraint(*unique, name=f"uq_{name}")] if unique else []
    listed = (_text(column) if isinstance(column, str) else column for column in columns)
    return sa.Table(name, metadata, position, *listed, _text("body"), *after_body, *constraints)


def _text(name: str, default: str | None = None, *, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default, index=index or None)


def _number(name: str, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=default)


_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")

seeds = _table("seeds", "id", _number("active", "-1"), unique=("id",))  # place in the latest reading; -1: not in it
calls = _table(
    "calls",
    *("key", _number("attempt"), "status", "request_id"),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in _TOKENS),
    sa.Column("usd", sa.Double, nullable=False),  # 0 where `unpriced`
    _number("unpriced", "0"),
    *(_text(name, "") for name in ("stage", "teacher", "prompt")),
    unique=("key", "attempt"),
)
requests = _table("requests", "id", unique=("id",))  # requests without the last message: schemas/store/rows.py
origins = _table("origins", "id", unique=("id",))  # origins shared by many pairs: schemas/store/rows.py
holds = _table(
    "holds",
    *("id", "stage", "teacher", "prompt"),
    sa.Column("usd", sa.Double),
    _number("open"),  # the number of requests it is open for
    unique=("id",),
)
pairs = _table("pairs", "id", "seed_id", unique=("id",))
candidates = _table(
    "candidates",
    *("fingerprint", "seed_id", "generator", _number("sample")),
    unique=("fingerprint", "seed_id", "generator", "sample"),
)
verdicts = _table(
    "verdicts",
    *(_text("pair_id", index=True), "by", "fingerprint"),
    sa.Index("ix_verdicts_step", "by", "fingerprint", "position"),
)
step_lists = _table("step_lists", "id", unique=("id",))  # steps whose verdicts share a row: schemas/store/judged.py
row_states = _table(
    "row_states",
    *("curation", "generation", "seed_id", "generator", _number("sample")),
    sa.Column("pair_id", sa.Text, index=True),
    "state",
    sa.Column("code", sa.Text),  # of the reason
    sa.Column("split", sa.Text),
    sa.Index("ix_row_states_state", "curation", "state", "code", "position"),
    unique=("curation", "seed_id", "generation", "generator", "sample"),
)
reviews = _table("reviews", "id", _text("pair_id", index=True), unique=("id",))
aliases = _table("aliases", "id", unique=("id",))
sampled = _table("routed", "id", _text("pair_id", index=True), unique=("id",))
receipts = _table("receipts", "command")
# SQLite reads a row up to the last column that is asked for, so the long one is the last.
artifacts = _table(
    "artifacts",
    *("id", "kind"),
    unique=("id",),
    after_body=(_text("splits", "{}"), _text("members", "[]")),  # splits: members in each
)

# The latest outcome and state of a slot replace earlier ones, the latest reading of a seed determines its source and
# license, and a later version of a hold closes it. In other tables the first row stays.
UPSERT = {candidates, holds, row_states, seeds}


def row(record: Record) -> tuple[sa.Table, dict[str, Any]]:
    """The table of a record, its columns and its body. Raises TypeError for a record type that is not stored. Seeds,
    answers, pairs and slots, of which there are very many, have rows of their own: schemas/store/rows.py."""
    try:
        table, names = _COLUMNS_OF[type(record)]
    except KeyError:
        raise TypeError(f"{type(record).__name__} is not stored") from None
    fields = record.__dict__
    values = {name: fields[name] if name in fields else getattr(record, name) for name in names}
    if table is holds:
        assert isinstance(record, Hold)
        values["open"] = record.requests * record.open
    elif table is row_states:
        assert isinstance(record, RowState)
        values["code"] = record.reason.code if record.reason else None
    elif table is artifacts:
        assert isinstance(record, Artifact)
        values["splits"] = orjson.dumps(Counter(split for _, split in record.members)).decode()
        values["members"] = orjson.dumps(record.members).decode()
        return table, {**values, "body": record.model_dump_json(exclude={"members"})}
    return table, {**values, "body": record.model_dump_json()}


_COLUMNS_OF: dict[type[Record], tuple[sa.Table, tuple[str, ...]]] = {
    Hold: (holds, ("id", "stage", "teacher", "prompt", "usd")),
    Verdict: (verdicts, ("pair_id", "by", "fingerprint")),
    RowState: (row_states, ("curation", "generation", "seed_id", "generator", "sample", "pair_id", "state", "split")),
    Review: (reviews, ("id", "pair_id")),
    Alias: (aliases, ("id",)),
    Sampled: (sampled, ("id", "pair_id")),
    Receipt: (receipts, ("command",)),
    Artifact: (artifacts, ("id", "kind")),
}

# Record types without a unique constraint: writing one twice stores it twice.
NOT_IDEMPOTENT = frozenset(
    kind
    for kind, (table, _) in _COLUMNS_OF.items()
    if not any(isinstance(c, sa.UniqueConstraint) for c in table.constraints)
)
