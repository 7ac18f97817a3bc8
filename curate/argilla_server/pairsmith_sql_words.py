"""Connections for reading, and on SQLite the words of every record in an FTS5 file beside the database.

Runs under the server's own pins, like pairsmith_sql_engine, and has no parent package.
"""

import functools
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from argilla_server.database import database_url_sync
from argilla_server.models import Field
from argilla_server.settings import settings
from pairsmith_sql_text import spaced


def words_file() -> Path | None:
    """The FTS5 file beside Argilla's SQLite database; None on PostgreSQL."""
    database = sa.make_url(settings.database_url).database
    return Path(database).with_suffix(".words.db") if settings.database_is_sqlite and database else None


@functools.cache
def search_connections() -> sa.Engine:
    """Reads run in threads on connections of their own, so one slow search never holds up Argilla's event loop."""
    if settings.database_is_sqlite:
        engine = sa.create_engine(database_url_sync(), connect_args={"timeout": settings.database_sqlite_timeout})
    else:
        engine = sa.create_engine(database_url_sync(), pool_size=4, max_overflow=8, pool_pre_ping=True)

    @sa.event.listens_for(engine, "connect")
    def _ready(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if settings.database_is_sqlite:
            cursor.execute("PRAGMA cache_size = -65536")
            cursor.execute("PRAGMA temp_store = MEMORY")
            cursor.execute("ATTACH DATABASE ? AS words", (str(words_file()),))
        else:
            cursor.execute("SET jit = off")
            connection.commit()
        cursor.close()

    return engine


_WORDS_LOCK = threading.Lock()


def _field_text(value: Any) -> str:
    if isinstance(value, list):
        text = "\n".join(
            f"{turn.get('role', '')} {turn.get('content', '')}" for turn in value if isinstance(turn, dict)
        )
    else:
        text = "" if value is None else str(value)
    return spaced(text)


def bring_words_up_to_date(dataset_id: UUID) -> list[str]:
    """Index every record of the dataset that changed since the last call; the names of the fields, in column order.

    SQLite only. Crash-safe: the words and the number of the last change they hold are one transaction.
    """
    key, table = dataset_id.hex, f"words_{dataset_id.hex}"
    with _WORDS_LOCK, search_connections().connect() as reader:
        fields = [
            name
            for name, kind in reader.execute(
                sa.select(Field.name, Field.settings["type"].as_string())
                .where(Field.dataset_id == dataset_id)
                .order_by(Field.inserted_at, Field.name)
            )
            if kind != "image"
        ]
        changed = sa.text(
            "SELECT seq, record_id FROM pairsmith_changes WHERE dataset_id = :d AND seq > :s ORDER BY seq"
        )
        writer = sqlite3.connect(words_file(), timeout=30, isolation_level=None)
        try:
            known = writer.execute("SELECT name FROM sqlite_master WHERE name = 'datasets'").fetchone()
            if known is None:
                writer.execute("PRAGMA journal_mode = WAL")
                writer.executescript(
                    "BEGIN IMMEDIATE;"
                    "CREATE TABLE IF NOT EXISTS datasets (dataset_id TEXT PRIMARY KEY, seq INTEGER, columns TEXT);"
                    "CREATE TABLE IF NOT EXISTS docs (doc INTEGER PRIMARY KEY, record_id TEXT UNIQUE);"
                    "COMMIT;"
                )
            seq, columns = writer.execute(
                "SELECT seq, columns FROM datasets WHERE dataset_id = ?", (key,)
            ).fetchone() or (0, None)
            if columns == json.dumps(fields) and reader.execute(changed, {"d": key, "s": seq}).first() is None:
                return fields
            writer.execute("PRAGMA synchronous = OFF")  # it can be made again from Argilla's tables
            writer.execute("BEGIN IMMEDIATE")
            seq, columns = writer.execute(
                "SELECT seq, columns FROM datasets WHERE dataset_id = ?", (key,)
            ).fetchone() or (0, None)
            if columns != json.dumps(fields):
                seq = 0
                writer.execute(f"DROP TABLE IF EXISTS {table}")
                if fields:
                    names = ", ".join(f"c{place}" for place in range(len(fields)))
                    writer.execute(
                        f"CREATE VIRTUAL TABLE {table} USING fts5({names}, tokenize = 'unicode61 remove_diacritics 0')"
                    )
            rows = reader.execute(changed, {"d": key, "s": seq}).all()
            for start in range(0, len(rows), 500):
                batch = rows[start : start + 500]
                marks = ", ".join("?" * len(batch))
                stored = reader.exec_driver_sql(
                    f"SELECT id, fields FROM records WHERE id IN ({marks})", tuple(row.record_id for row in batch)
                ).all()
                gone = [(row.record_id,) for row in batch]
                writer.executemany(
                    f"DELETE FROM {table} WHERE rowid = (SELECT doc FROM docs WHERE record_id = ?)", gone
                )
                writer.executemany("INSERT OR IGNORE INTO docs (record_id) VALUES (?)", [(row.id,) for row in stored])
                places = ", ".join("?" * (len(fields) + 1))
                docs = dict(
                    writer.execute(
                        f"SELECT record_id, doc FROM docs WHERE record_id IN ({marks})",
                        [row.record_id for row in batch],
                    ).fetchall()
                )
                writer.executemany(
                    f"INSERT INTO {table} (rowid, {', '.join(f'c{i}' for i in range(len(fields)))}) VALUES ({places})",
                    [
                        (docs[row.id], *(_field_text(values.get(name)) for name in fields))
                        for row in stored
                        for values in [json.loads(row.fields)]
                    ],
                )
            writer.execute(
                "INSERT OR REPLACE INTO datasets (dataset_id, seq, columns) VALUES (?, ?, ?)",
                (key, rows[-1].seq if rows else seq, json.dumps(fields)),
            )
            writer.execute("COMMIT")
        finally:
            writer.close()
    return fields


def forget_words(dataset_id: UUID) -> None:
    """Drop what is indexed of a dataset that is gone."""
    words = words_file()
    if words is None or not words.exists():
        return
    with _WORDS_LOCK:
        writer = sqlite3.connect(words, timeout=30, isolation_level=None)
        try:
            if writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'datasets'").fetchone():
                writer.execute(f"DROP TABLE IF EXISTS words_{dataset_id.hex}")
                writer.execute("DELETE FROM datasets WHERE dataset_id = ?", (dataset_id.hex,))
        finally:
            writer.close()
