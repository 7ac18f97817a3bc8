"""`service.db`: accounts, access and the audit. The data that users produce is in the projects' stores instead."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from schemas.errors import StoreError
from schemas.records import now
from schemas.store.failures import explained
from schemas.store.opening import engine_of, sqlite_url

_metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, _metadata, *columns)


def _text(name: str, length: int, **more: Any) -> sa.Column[Any]:
    """A required text of at most this many characters."""
    return sa.Column(name, sa.String(length), **({"nullable": False} | more))


def _key(name: str, length: int) -> sa.Column[Any]:
    return _text(name, length, primary_key=True)


def _time(name: str, *, required: bool = False) -> sa.Column[Any]:
    """A time in ISO 8601 and UTC, so it sorts and reads the same in SQLite and PostgreSQL."""
    return _text(name, 32, nullable=not required)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False)


users = _table(
    "users",
    *(_key("id", 32), _text("name", 80, unique=True), _text("password", 200, nullable=True)),
    *(_time("created", required=True), _time("disabled")),
)
members = _table("members", _key("user", 32), _key("project", 80), _text("role", 16))
invitations = _table(
    "invitations",
    *(_key("hash", 64), _text("project", 80), _text("role", 16), _text("by", 32, nullable=True)),
    *(_time("expires", required=True), _time("used")),
)
sessions = _table(
    "sessions",
    *(_key("hash", 64), _text("user", 32, index=True), _text("csrf", 64)),
    *(_time("created", required=True), _time("seen", required=True), _text("address", 64), _text("agent", 200)),
)
keys = _table(
    "keys",
    *(_key("id", 16), _text("hash", 64), _text("user", 32, index=True), _text("name", 80)),
    *(_text("role", 16), _text("project", 80), _time("created", required=True)),
    *(_time("expires"), _time("used"), _time("revoked")),
)
audit = _table(
    "audit",
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    *(_time("at", required=True), _text("user", 32, nullable=True), _text("key", 16, nullable=True)),
    *(_text("address", 64), _text("action", 80, index=True), _text("project", 80, nullable=True, index=True)),
    *(_text("target", 300), _number("status")),
    *(_text("before", 64, nullable=True), _text("after", 64, nullable=True), _text("request_id", 32)),
)
answers = _table(  # responses to POST requests with an Idempotency-Key
    "answers",
    *(_key("caller", 64), _key("route", 300), _key("key", 128), _text("sent", 64), _time("at", required=True)),
    *(sa.Column("status", sa.Integer), sa.Column("headers", sa.Text), sa.Column("body", sa.LargeBinary)),
)
allowances = _table(  # hosts that owners allow specs to reach, each with or without the name of a key
    "allowances",
    *(_key("host", 260), _key("key_env", 128), _text("by", 32, nullable=True), _time("at", required=True)),
)
titles = _table("titles", _key("project", 80), _text("title", 200))
files = _table(  # uploads of /v1/files; their content is in .serve/uploads
    "files",
    *(_key("id", 40), _text("user", 32, index=True), _text("name", 200), _number("bytes"), _number("created")),
)
# the requests to /v1/fine_tuning/jobs; their state is that of the job
tuning_jobs = _table("tuning_jobs", _key("id", 64), sa.Column("asked", sa.Text, nullable=False))

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
    refuse_other_database(url)
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


def refuse_other_database(url: str | None) -> None:
    """Raise StoreError for a URL of the service's database that is not PostgreSQL's."""
    if url is not None and not url.startswith("postgres"):
        what = "it does not begin with postgresql://USER@HOST/DATABASE."
        fix = "Correct it, there or in PAIRSMITH_SERVE_DATABASE. Without it, files in .serve are used."
        raise StoreError(what, where="--database", fix=fix)


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
