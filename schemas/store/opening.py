"""What opening a store needs: its URL, the engine, the schema version, and the copy made before an upgrade."""

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
from schemas.files import file_in_place_of
from schemas.progress import Say
from schemas.store import tables
from schemas.store.failures import shown

_LARGE = 2**26  # bytes of a file whose upgrade takes more than a second or so
_SQLITE = re.compile(r"sqlite(\+\w+)?:///")
_SYNCHRONOUS = "FULL"  # a confirmed row survives a power cut


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file with any file name; `?` and `%` are escaped because they have a meaning in URLs."""
    return f"sqlite:///{quote(str(path))}"


def sqlite_file(url: str) -> str | None:
    """The file in a SQLite URL as it is written there; None for another database, an in-memory one, or an invalid
    URL."""
    if not _SQLITE.match(url):
        return None
    file = _parsed(url).database
    return None if file in (None, "", ":memory:") else file


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite store; None for PostgreSQL. Raises StoreError for an in-memory store and for any other
    URL."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(
            "an in-memory store would lose everything when the process ends.",
            where="store.url",
            fix="Name a file: sqlite:///pairsmith.db",
        )
    return Path(parsed.database).resolve()  # a symlink and its target are one store with one lock


def _parsed(url: str) -> sa.URL:
    try:
        # Hosting platforms write `postgres` in the URL they provide (DATABASE_URL).
        parsed = sa.make_url(re.sub(r"\Apostgres(?=:)", "postgresql", url))
    except (sa.exc.ArgumentError, ValueError):  # ValueError for an invalid port
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            "the store's URL is neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE.",
            where="store.url",
            fix="Correct it, or leave it out to use pairsmith.db beside the spec file.",
        )
    if _SQLITE.match(url):  # SQLAlchemy decodes escapes in file names only from 2.1 on
        parsed = parsed.set(database=unquote(url.partition(":///")[2].partition("?")[0]))
    # Replace any driver in a URL that another application uses too (asyncpg, psycopg2, aiosqlite).
    return parsed.set(drivername={"postgresql": "postgresql+psycopg"}.get(parsed.get_backend_name(), "sqlite"))


def engine_of(url: str) -> sa.Engine:
    """The engine for a URL. Raises MissingDependency if the driver is missing."""
    parsed = _parsed(url)
    with needing("postgres", "PostgreSQL needs"):
        # An idle connection may have been cut by a server restart or a proxy timeout.
        engine = sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql", pool_use_lifo=True)
    if parsed.get_backend_name() == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _durable(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA busy_timeout=10000")
            # Only affects a new store. With the default of 4096 bytes, a call of 2 KB leaves half a page empty.
            connection.execute("PRAGMA page_size=8192")
            # Half of SQLite's default, because each idle connection and each sort keeps that much.
            connection.execute("PRAGMA cache_size=-1000")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={_SYNCHRONOUS}")

    return engine


def close_connections(engine: sa.Engine) -> None:
    """Close all connections. A connection that a result opens later, to read its rows, is closed as soon as it has."""
    engine.dispose()
    sa.event.listen(engine, "checkin", lambda _connection, entry: entry.close())


def _version(engine: sa.Engine) -> str | None:
    """The schema version of a store; None if it has no schema yet."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def is_older(engine: sa.Engine) -> bool:
    """Whether the store has a schema that is older than this version of pairsmith."""
    version = _version(engine)
    return version is not None and version < tables.SCHEMA_VERSION  # another application's is rejected elsewhere


def empty_store(url: str) -> StoreError:
    """The error for reading a store to which nothing has been written."""
    return StoreError("the store is empty.", where=shown(url), fix="Run `pairsmith generate`, which creates it.")


def check_version(engine: sa.Engine, url: str, *, upgrade: bool, say: Say) -> None:
    """Bring the store to the current schema; `say` gets a line if that takes long. Raises StoreError for a newer schema
    and, unless `upgrade`, for an empty store."""
    version = _version(engine)
    if version == tables.SCHEMA_VERSION:
        return
    with engine.connect() as connection:
        shared = set() if version else tables.metadata.tables.keys() & set(sa.inspect(connection).get_table_names())
    if shared or (version is not None and not re.fullmatch(r"\d{4}", version)):
        reason = f"'{min(shared)}' is one of them" if shared else f"their schema is '{version}'"
        raise StoreError(
            f"the tables in this database belong to another application ({reason}).",
            where=shown(url),
            fix="Use a separate database, or on PostgreSQL a separate schema: ...?options=-csearch_path%3Dmine",
        )
    if version is not None and version > tables.SCHEMA_VERSION:
        raise StoreError(
            f"the store was created by a newer pairsmith (schema {version}; this one supports up to "
            f"{tables.SCHEMA_VERSION}).",
            where=shown(url),
            fix="Upgrade pairsmith.",
        )
    if not upgrade:
        raise empty_store(url)
    if version is None:
        _create_tables(engine)
        return
    from schemas.store.migrate import upgrade_to

    path = sqlite_path(url)
    if path is None or path.stat().st_size > _LARGE:
        say(f"Upgrading the store from schema {version} to {tables.SCHEMA_VERSION}, which may take a while.")
    if path is not None:
        _copy(path, path.with_name(f"{path.name}.before-{tables.SCHEMA_VERSION}"))
    upgrade_to(engine, "head")


@contextlib.contextmanager
def one_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Change tables in one transaction: all changes or none, whatever ends the process."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            # Python's driver begins a transaction only before changes of rows, so each schema change would be committed
            # separately, and a killed process would leave a schema that no version knows.
            connection.connection.dbapi_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            # These settings must not leak to the next user of this connection.
            connection.detach()
        yield connection


def _create_tables(engine: sa.Engine) -> None:
    """Create the tables of the current schema, as all migrations would leave them; a test verifies this. It avoids
    Alembic, which takes longer to import than most commands take to run."""
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    with one_transaction(engine) as connection:
        tables.metadata.create_all(connection, checkfirst=False)
        version.create(connection)
        connection.execute(sa.insert(version).values(version_num=tables.SCHEMA_VERSION))


def check_place(path: Path | None) -> None:
    """Raise StoreError for a SQLite file whose folder does not exist, or that has a second name.

    The files that SQLite and the writer lock keep beside it are named after it, so each name would have its own log and
    its own writer. A folder may have any number of names.
    """
    copy_command, why = "cp {0} {0}.own && mv {0}.own {0}", "Each name would have its own writer and its own log."
    if path is None:
        return
    try:
        is_folder, file = path.parent.is_dir(), path.stat() if path.is_file() else None
    except OSError as error:
        fix = "Give this user access to the file and its folder."
        raise StoreError(f"the store cannot be opened: {error.strerror}.", where=str(path), fix=fix) from None
    if (in_place := file_in_place_of(path.parent)) is not None:
        fix = "Choose another path, or move the file away."
        raise StoreError("this is a file where the folder of the store should be.", where=str(in_place), fix=fix)
    if not is_folder:
        raise StoreError("the folder of the store does not exist.", where=str(path.parent), fix="Create it first.")
    if file is None:
        return
    if file.st_nlink > 1:
        what, fix = "the store is a file with a second name (a hard link).", f"Make it a separate file: {copy_command}"
    elif str(path) in _mount_points():
        what, fix = "the store is a file that is mounted on its own.", "Mount the folder that contains it."
        why = f"Confirmed answers stay in {path.name}-wal beside it, which is not mounted. {why}"
    else:
        return
    raise StoreError(what, where=str(path), why=why, fix=fix.format(shlex.quote(str(path))))


def _mount_points() -> set[str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return set()
    return {re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]) for line in lines}


def is_writable(path: Path) -> bool:
    """Whether this process may write a SQLite file and the files beside it that SQLite needs even for reading."""
    return os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)


def has_tables(path: Path) -> bool:
    """Whether a SQLite file holds a store; also True if it cannot be inspected, because opening it then gives the
    error."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    look = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as there:
            return bool(there.execute(look).fetchone()[0])
    except sqlite3.Error:
        return True


def copy_for_reading(path: Path, folder: Path) -> Path:
    """A copy in `folder` of a SQLite file in its current state, for a file that cannot be written where it is."""
    copy = folder / path.name
    try:
        there = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        with contextlib.closing(there), contextlib.closing(sqlite3.connect(copy)) as new:
            there.backup(new)
    except sqlite3.OperationalError:  # no process has it open, so SQLite's files beside it are missing
        for end in ("", "-wal"):
            if (part := path.with_name(path.name + end)).exists():
                shutil.copyfile(part, folder / part.name)
    return copy


def _copy(path: Path, to: Path) -> None:
    """A complete copy of a SQLite file, including what is still in its write-ahead log; it appears complete or not at
    all."""
    partial = to.with_name(f"{to.name}.partial")
    partial.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(partial)) as new:
        old.backup(new)
    partial.replace(to)
