"""Runs the Alembic migrations that lie beside this file. Imported only when a store is made or upgraded."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def config() -> Config:
    """Alembic's configuration without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade_to(engine: sa.Engine, version: str) -> None:
    """Bring the database to a schema version (`head`: the newest) in one transaction: whatever ends the process, the
    store has the old schema or the new one."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            # Python's driver begins a transaction before a change of rows only, so each change of a table would be
            # committed alone, and a process that was killed would leave a schema that no version knows.
            connection.connection.dbapi_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            # Not for the next user of this connection.
            connection.detach()
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, version)
