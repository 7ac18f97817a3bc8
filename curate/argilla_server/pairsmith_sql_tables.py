"""What the search engine adds to Argilla's database: tables, triggers and indexes of our own, all named pairsmith_*.

Argilla's own tables keep their columns; `search_sqlite.sql` and `search_postgresql.sql` say what is added. Like the
engine, this module runs under the server's own pins and has no parent package.
"""

import re
from pathlib import Path

import sqlalchemy as sa
from argilla_server.database import database_url_sync
from pairsmith_sql_words import words_file
from sqlalchemy.dialects.postgresql import TSVECTOR

VALUES = sa.table(
    "pairsmith_values",
    sa.column("record_id", sa.Uuid()),
    sa.column("source", sa.Uuid()),
    sa.column("facet", sa.Text()),
    sa.column("word", sa.Text()),
    sa.column("number", sa.Float()),
)
WORDS = sa.table(
    "pairsmith_words",
    sa.column("record_id", sa.Uuid()),
    sa.column("dataset_id", sa.Uuid()),
    sa.column("field", sa.Text()),
    sa.column("words", TSVECTOR()),
)


def _statements(dialect: str) -> list[str]:
    text = (Path(__file__).parent / f"search_{dialect}.sql").read_text(encoding="utf-8")
    return [part.strip() for part in re.split(r"^--$", text, flags=re.MULTILINE)]


def _present(connection: sa.Connection) -> set:
    """(kind, name) of every object of ours that exists."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(
            "SELECT type, name FROM sqlite_master WHERE name LIKE 'pairsmith\\_%' ESCAPE '\\'"
        )
    else:
        found = connection.exec_driver_sql(
            "SELECT CASE relkind WHEN 'r' THEN 'table' ELSE 'index' END, relname::text FROM pg_class"
            " WHERE relkind IN ('r', 'i') AND relname LIKE 'pairsmith\\_%%' AND relname NOT LIKE '%%_pkey'"
            "  AND relnamespace = current_schema()::regnamespace"
            " UNION SELECT 'trigger', tgname::text FROM pg_trigger WHERE tgname LIKE 'pairsmith\\_%%'"
            " UNION SELECT 'function', proname::text FROM pg_proc WHERE proname LIKE 'pairsmith\\_%%'"
        )
    return {(kind, name) for kind, name in found}


def prepare(engine: sa.Engine | None = None) -> bool:
    """Make the engine's own tables, triggers and indexes unless all of them exist; True if they were (re)made.

    Call it after Argilla's migrations, while no server runs: a migration of Argilla may rebuild a table on SQLite,
    which drops the triggers on it, and then everything of ours is made anew from what Argilla stores.
    """
    engine = engine or sa.create_engine(database_url_sync())
    wanted = {
        (match[1].lower(), match[2])
        for statement in _statements(engine.dialect.name)
        if (match := re.search(r"CREATE (TABLE|INDEX|TRIGGER|FUNCTION) (pairsmith_\w+)", statement))
    }
    with engine.begin() as connection:
        present = _present(connection)
        if present == wanted:
            return False
        for kind, name in sorted(present, key=lambda item: ["trigger", "function", "index", "table"].index(item[0])):
            cascade = " CASCADE" if engine.dialect.name == "postgresql" and kind != "trigger" else ""
            on = ""
            if kind == "trigger" and engine.dialect.name == "postgresql":
                on = f" ON {'suggestions' if 'suggestion' in name else 'records'}"
            connection.exec_driver_sql(f"DROP {kind.upper()} IF EXISTS {name}{on}{cascade}")
        for statement in _statements(engine.dialect.name):
            connection.exec_driver_sql(
                statement.replace("%", "%%") if engine.dialect.name == "postgresql" else statement
            )
    words = words_file()
    if words is not None and words.exists():
        words.unlink()
    return True
