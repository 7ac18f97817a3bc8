"""Runs the Alembic migrations beside this file. Imported only when a store is upgraded."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from schemas.store.opening import one_transaction


def config() -> Config:
    """Alembic's configuration without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade_to(engine: sa.Engine, version: str) -> None:
    """Bring the database to a schema version (`head`: the newest) in one transaction: whatever ends the process, the
    store has either the old schema or the new one."""
    with one_transaction(engine) as connection:
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, version)
