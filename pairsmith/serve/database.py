"""`service.db`: accounts, access and the audit. The data that users produce is in the projects' stores instead."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from schemas.records import now
from schemas.store.failures import explained
from schemas.store.opening import engine_of, sqlite_url

_metadata = sa.MetaData()
_time = sa.String(32)  # ISO 8601 in UTC, so it sorts and reads the same in SQLite and PostgreSQL


def _table(name: str, *columns: sa.Column[object] | sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, _metadata, *columns)


users = _table(
    "users",
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False, unique=True),
    sa.Column("password", sa.String(200)),
    sa.Column("created", _time, nullable=False),
    sa.Column("disabled", _time),
)
members = _table(
    "members",
    sa.Column("user", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(80), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
)
invitations = _table(
    "invitations",
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(80), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("by", sa.String(32)),
    sa.Column("expires", _time, nullable=False),
    sa.Column("used", _time),
)
sessions = _table(
    "sessions",
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("user", sa.String(32), nullable=False, index=True),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("created", _time, nullable=False),
    sa.Column("seen", _time, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("agent", sa.String(200), nullable=False),
)
keys = _table(
    "keys",
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("user", sa.String(32), nullable=False, index=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("project", sa.String(80), nullable=False),
    sa.Column("created", _time, nullable=False),
    sa.Column("expires", _time),
    sa.Column("used", _time),
    sa.Column("revoked", _time),
)
audit = _table(
    "audit",
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", _time, nullable=False),
    sa.Column("user", sa.String(32)),
    sa.Column("key", sa.String(16)),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("action", sa.String(80), nullable=False, index=True),
    sa.Column("project", sa.String(80), index=True),
    sa.Column("target", sa.String(300), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("before", sa.String(64)),
    sa.Column("after", sa.String(64)),
    sa.Column("request_id", sa.String(32), nullable=False),
)
answers = _table(  # responses to POST requests with an Idempotency-Key
    "answers",
    sa.Column("caller", sa.String(64), primary_key=True),
    sa.Column("route", sa.String(300), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("sent", sa.String(64), nullable=False),
    sa.Column("at", _time, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", sa.Text),
    sa.Column("body", sa.LargeBinary),
)
allowances = _table(  # hosts that owners allow specs to reach, each with or without the name of a key
    "allowances",
    sa.Column("host", sa.String(260), primary_key=True),
    sa.Column("key_env", sa.String(128), primary_key=True),
    sa.Column("by", sa.String(32)),
    sa.Column("at", _time, nullable=False),
)
titles = _table(
    "titles",
    sa.Column("project", sa.String(80), primary_key=True),
    sa.Column("title", sa.String(200), nullable=False),
)
files = _table(  # uploads of /v1/files; their content is in .serve/uploads
    "files",
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("user", sa.String(32), nullable=False, index=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
)
tuning_jobs = _table(  # the requests to /v1/fine_tuning/jobs; their state is that of the job
    "tuning_jobs",
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("asked", sa.Text, nullable=False),
)

_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS audit_no_{verb} BEFORE {verb} ON audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        for verb in ("update", "delete")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
        # An earlier version used rules, which ignored such statements silently and did not cover TRUNCATE.
        "DROP RULE IF EXISTS audit_no_update ON audit",
        "DROP RULE IF EXISTS audit_no_delete ON audit",
        "DROP TRIGGER IF EXISTS audit_append_only ON audit",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
    ],
}


def open_database(folder: Path, url: str | None = None) -> sa.Engine:
    """Open the service's database, creating it if it is missing: `folder/service.db`, or PostgreSQL by its URL.

    Raises StoreError, without the URL's password, if the database cannot be reached or used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "service.db"
    if url is None and not path.exists():
        path.touch(mode=0o600)
    url = url or sqlite_url(path)
    try:
        engine = engine_of(url)
        _metadata.create_all(engine)
        write(engine, *map(sa.text, _APPEND_ONLY[engine.dialect.name]))
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise explained(error, url) from error
    return engine


def write(engine: sa.Engine, *statements: sa.Executable) -> int:
    """Execute all statements in one transaction and return the row count of the last one."""
    with engine.begin() as connection:
        return [connection.execute(statement).rowcount for statement in statements][-1]


def rows(engine: sa.Engine, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
    with engine.connect() as connection:
        return connection.execute(query).mappings().all()


def row(engine: sa.Engine, query: sa.Select[Any]) -> sa.RowMapping | None:
    """The first row of a query; None if there is none."""
    return next(iter(rows(engine, query)), None)


def stamp(at: datetime | None = None) -> str:
    """A time (by default now) as the tables store it."""
    return (at or now()).isoformat(timespec="milliseconds")


def hash_secret(secret: str) -> str:
    """The stored hash of a token or key. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_id() -> str:
    """A random id of 16 hexadecimal digits."""
    return secrets.token_hex(8)
