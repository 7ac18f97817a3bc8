"""The things that a store's URL names: the engine behind it, its schema, and the copy before an upgrade."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa

from schemas.errors import StoreError, needing
from schemas.store import tables
from schemas.store.failures import shown

_SQLITE = re.compile(r"sqlite(\+\w+)?:///")


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters are in its name: `?` and `%` mean something in a URL."""
    return f"sqlite:///{quote(str(path))}"


def sqlite_file(url: str) -> str | None:
    """The file in a SQLite URL as it is written there; None for another database, memory, and what is no URL."""
    if not _SQLITE.match(url):
        return None
    file = _parsed(url).database
    return None if file in (None, "", ":memory:") else file


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite store; None for PostgreSQL. Raises StoreError for a store in memory and a URL of neither."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(
            "a store in memory loses everything.",
            where="store.url",
            fix="Name a file: sqlite:///pairsmith.db",
        )
    return Path(parsed.database).resolve()  # a link and what it points to are one store, with one lock


def _parsed(url: str) -> sa.URL:
    try:
        # `postgres` is how platforms write it that give an address away (DATABASE_URL).
        parsed = sa.make_url(re.sub(r"\Apostgres(?=:)", "postgresql", url))
    except (sa.exc.ArgumentError, ValueError):  # the latter for a port that is none
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            "the store's URL is neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE.",
            where="store.url",
            fix="Correct it, or leave it out to use pairsmith.db beside the spec file.",
        )
    if _SQLITE.match(url):  # SQLAlchemy reads the escapes in a file's name from 2.1 on only
        parsed = parsed.set(database=unquote(url.partition(":///")[2].partition("?")[0]))
    # Whichever driver an address names that another application uses too (asyncpg, psycopg2, aiosqlite).
    return parsed.set(drivername={"postgresql": "postgresql+psycopg"}.get(parsed.get_backend_name(), "sqlite"))


def engine_of(url: str) -> sa.Engine:
    """The engine behind a URL. Raises MissingDependency without a driver."""
    parsed = _parsed(url)
    with needing("postgres", "PostgreSQL needs"):
        # An idle connection may have been cut since, by a server that restarted or a proxy that was tired of it.
        engine = sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql", pool_use_lifo=True)
    if parsed.get_backend_name() == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _durable(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA busy_timeout=10000")
            # For a store that is made now: of the usual 4096 bytes a call of 2 KB leaves half a page empty.
            connection.execute("PRAGMA page_size=8192")
            # Half of SQLite's own: each connection that waits keeps as much, and so does each sorting.
            connection.execute("PRAGMA cache_size=-1000")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    return engine


def _version(engine: sa.Engine) -> str | None:
    """The schema of a store; None before it has one."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def is_older(engine: sa.Engine) -> bool:
    """True if the store has a schema, and an older one than this version of pairsmith."""
    version = _version(engine)
    return version is not None and version < tables.SCHEMA_VERSION  # one of another application is refused elsewhere


def empty(url: str) -> StoreError:
    """The refusal to read where nothing has been written."""
    return StoreError("the store is empty.", where=shown(url), fix="Run `pairsmith generate`; it is made then.")


def check_version(engine: sa.Engine, url: str, *, upgrade: bool) -> None:
    """Bring the store to the present schema. Raises StoreError for a newer one, or, unless `upgrade`, an empty one."""
    version = _version(engine)
    if version == tables.SCHEMA_VERSION:
        return
    with engine.connect() as connection:
        same = set() if version else tables.metadata.tables.keys() & set(sa.inspect(connection).get_table_names())
    if same or (version is not None and not re.fullmatch(r"\d{4}", version)):
        theirs = f"'{min(same)}' is one of them" if same else f"their schema is '{version}'"
        raise StoreError(
            f"the tables there belong to another application ({theirs}).",
            where=shown(url),
            fix="Name a database of its own, or on PostgreSQL a schema: ...?options=-csearch_path%3Dmine",
        )
    if version is not None and version > tables.SCHEMA_VERSION:
        raise StoreError(
            f"the store was made by a newer pairsmith (schema {version}, this one knows {tables.SCHEMA_VERSION}).",
            where=shown(url),
            fix="Upgrade pairsmith.",
        )
    if not upgrade:
        raise empty(url)
    if version is None:
        _make(engine)
        return
    from schemas.store.migrate import upgrade_to

    if (path := sqlite_path(url)) is not None:
        _copy(path, path.with_name(f"{path.name}.before-{tables.SCHEMA_VERSION}"))
    upgrade_to(engine, "head")


@contextlib.contextmanager
def one_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Changes of tables, all or none of them, whatever ends the process."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            # Python's driver begins a transaction before a change of rows only, so each change of a table would be
            # committed alone, and a process that was killed would leave a schema that no version knows.
            connection.connection.dbapi_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            # Not for the next user of this connection.
            connection.detach()
        yield connection


def _make(engine: sa.Engine) -> None:
    """The tables of the present schema, as all migrations would leave them; a test holds that. Without Alembic, which
    takes longer to import than most commands to run."""
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    with one_transaction(engine) as connection:
        tables.metadata.create_all(connection, checkfirst=False)
        version.create(connection)
        connection.execute(sa.insert(version).values(version_num=tables.SCHEMA_VERSION))


def check_place(path: Path | None) -> None:
    """Raise StoreError for a SQLite file whose folder is not there, or that has a second name: what SQLite and the
    writer's lock keep beside it goes by the name, so that each name would have a log and a writer of its own. A folder
    may have as many as it likes."""
    alone, why = "cp {0} {0}.own && mv {0}.own {0}", "Under each name there would be another writer and another log."
    if path is None:
        return
    try:
        is_folder, file = path.parent.is_dir(), path.stat() if path.is_file() else None
    except OSError as error:
        fix = "Give this user the right to its folder and to it."
        raise StoreError(f"the store cannot be opened: {error.strerror}.", where=str(path), fix=fix) from None
    if not is_folder:
        raise StoreError("the folder of the store does not exist.", where=str(path.parent), fix="Make it first.")
    if file is None:
        return
    if file.st_nlink > 1:
        what, fix = "the store is a file with a second name (a hard link).", f"Give it one of its own: {alone}"
    elif str(path) in _mount_points():
        what, fix = "the store is a file that is mounted by itself.", "Mount the folder that it lies in."
        why = f"Answers that are confirmed stay in {path.name}-wal beside it, which is not mounted. {why}"
    else:
        return
    raise StoreError(what, where=str(path), why=why, fix=fix.format(shlex.quote(str(path))))


def _mount_points() -> set[str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:  # another system than Linux
        return set()
    return {re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]) for line in lines}


def is_writable(path: Path) -> bool:
    """Whether this process may write a SQLite file, and the files that SQLite makes beside it even to read."""
    return os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)


def has_tables(path: Path) -> bool:
    """Whether a SQLite file holds a store; True also for what cannot be looked at, which opening it explains."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    look = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as there:
            return bool(there.execute(look).fetchone()[0])
    except sqlite3.Error:
        return True


def copy_for_reading(path: Path, folder: Path) -> Path:
    """A copy in `folder` of a SQLite file that cannot be written where it is, as it is now."""
    copy = folder / path.name
    try:
        there = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        with contextlib.closing(there), contextlib.closing(sqlite3.connect(copy)) as new:
            there.backup(new)
    except sqlite3.OperationalError:  # nobody has it open, so that SQLite misses its files beside it
        for end in ("", "-wal"):
            if (part := path.with_name(path.name + end)).exists():
                shutil.copyfile(part, folder / part.name)
    return copy


def _copy(path: Path, to: Path) -> None:
    """A whole copy of a SQLite file, whatever of it is still in its write-ahead log; there whole or not at all."""
    half = to.with_name(f"{to.name}.partial")
    half.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(half)) as new:
        old.backup(new)
    half.replace(to)
