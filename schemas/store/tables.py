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
from schemas.records import Artifact, Call, Candidate, Pair, Receipt, Record, RowState, Seed, Verdict
from schemas.reviews import Alias, Review, Sampled

SCHEMA_VERSION = "0011"

metadata = sa.MetaData()


def _table(
    name: str,
    *columns: sa.Column[Any] | sa.Index,
    unique: tuple[str, ...] = (),
    after_body: tuple[sa.Column[Any], ...] = (),
) -> sa.Table:
    position = sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    constraints = [sa.UniqueConstraint(*unique, name=f"uq_{name}")] if unique else []
    body = sa.Column("body", sa.Text, nullable=False)
    return sa.Table(name, metadata, position, *columns, body, *after_body, *constraints)


def _text(name: str, **kwargs: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, **kwargs)


seeds = _table(
    "seeds",
    _text("id"),
    sa.Column("active", sa.Integer, nullable=False, server_default="-1"),  # place in the latest reading; -1: not in it
    unique=("id",),
)
calls = _table(
    "calls",
    _text("key"),
    sa.Column("attempt", sa.Integer, nullable=False),
    _text("status"),
    _text("request_id"),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("usd", sa.Double, nullable=False),  # 0 where `unpriced`
    sa.Column("unpriced", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stage", sa.Text, nullable=False, server_default=""),
    sa.Column("teacher", sa.Text, nullable=False, server_default=""),
    sa.Column("prompt", sa.Text, nullable=False, server_default=""),
    unique=("key", "attempt"),
)
requests = _table("requests", _text("id"), unique=("id",))  # requests without the last message: schemas/store/rows.py
origins = _table("origins", _text("id"), unique=("id",))  # origins shared by many pairs: schemas/store/rows.py
holds = _table(
    "holds",
    _text("id"),
    _text("stage"),
    _text("teacher"),
    _text("prompt"),
    sa.Column("usd", sa.Double),
    sa.Column("open", sa.Integer, nullable=False),  # the number of requests it is open for
    unique=("id",),
)
pairs = _table("pairs", _text("id"), _text("seed_id"), unique=("id",))
candidates = _table(
    "candidates",
    _text("fingerprint"),
    _text("seed_id"),
    _text("generator"),
    sa.Column("sample", sa.Integer, nullable=False),
    unique=("fingerprint", "seed_id", "generator", "sample"),
)
verdicts = _table(
    "verdicts",
    _text("pair_id", index=True),
    _text("by"),
    _text("fingerprint"),
    sa.Index("ix_verdicts_step", "by", "fingerprint", "position"),
)
step_lists = _table(
    "step_lists", _text("id"), unique=("id",)
)  # the steps whose verdicts share a row: schemas/store/judged.py
row_states = _table(
    "row_states",
    _text("curation"),
    _text("generation"),
    _text("seed_id"),
    _text("generator"),
    sa.Column("sample", sa.Integer, nullable=False),
    sa.Column("pair_id", sa.Text, index=True),
    _text("state"),
    sa.Column("code", sa.Text),  # of the reason
    sa.Column("split", sa.Text),
    sa.Index("ix_row_states_state", "curation", "state", "code", "position"),
    unique=("curation", "seed_id", "generation", "generator", "sample"),
)
reviews = _table("reviews", _text("id"), _text("pair_id", index=True), unique=("id",))
aliases = _table("aliases", _text("id"), unique=("id",))
sampled = _table("routed", _text("id"), _text("pair_id", index=True), unique=("id",))
receipts = _table("receipts", _text("command"))
# SQLite reads a row up to the last column that is asked for, so the long one is the last.
artifacts = _table(
    "artifacts",
    _text("id"),
    _text("kind"),
    unique=("id",),
    after_body=(_text("splits", server_default="{}"), _text("members", server_default="[]")),  # splits: members in each
)

# The latest outcome and state of a slot replace earlier ones, the latest reading of a seed determines its source and
# license, and a later version of a hold closes it. In other tables the first row stays.
UPSERT = {candidates, holds, row_states, seeds}


def row(record: Record) -> tuple[sa.Table, dict[str, Any]]:
    """The table of a record, its columns and its body. Raises TypeError for a record type that is not stored."""
    try:
        table, names = _COLUMNS_OF[type(record)]
    except KeyError:
        raise TypeError(f"{type(record).__name__} is not stored") from None
    fields = record.__dict__
    values = {name: fields[name] if name in fields else getattr(record, name) for name in names}
    if table is calls:
        assert isinstance(record, Call)
        usage = record.usage
        values["prompt_tokens"] = usage.prompt_tokens
        values["completion_tokens"] = usage.completion_tokens
        values["cached_tokens"] = usage.cached_tokens
        values["usd"], values["unpriced"] = record.usd or 0.0, int(record.usd is None)
    elif table is holds:
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
    Seed: (seeds, ("id",)),
    Call: (calls, ("key", "attempt", "status", "request_id", "stage", "teacher", "prompt")),
    Hold: (holds, ("id", "stage", "teacher", "prompt", "usd")),
    Pair: (pairs, ("id", "seed_id")),
    Candidate: (candidates, ("fingerprint", "seed_id", "generator", "sample")),
    Verdict: (verdicts, ("pair_id", "by", "fingerprint")),
    RowState: (
        row_states,
        ("curation", "generation", "seed_id", "generator", "sample", "pair_id", "state", "split"),
    ),
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
