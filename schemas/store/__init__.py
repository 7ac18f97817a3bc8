"""The only place where records are stored: SQLite in the project by default, PostgreSQL by URL."""

from schemas.store.store import Store

__all__ = ["Store"]
