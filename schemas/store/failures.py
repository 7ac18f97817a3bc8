"""The database's errors in words a person can act on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from schemas.errors import StoreError, StoreFull


def shown(url: str) -> str:
    """The URL without its password."""
    return sa.make_url(url).render_as_string(hide_password=True)


def explained(error: Exception, url: str) -> StoreError:
    """A StoreError for anything the database or the disk raised. Nothing confirmed is lost by any of these."""
    original = error.orig if isinstance(error, DBAPIError) else error
    text = str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
    full = ("disk is full", "disk I/O error", "No space left", "File too large")
    if any(mark in text for mark in full) or getattr(original, "sqlstate", None) == "53100":
        return StoreFull(
            f"no space is left to write ({text}).",
            where=shown(url),
            why="Everything confirmed before this moment is kept.",
            fix="Free some space and run the same command again; it goes on where it stopped.",
        )
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"the file is not a pairsmith store, or it is damaged ({text}).",
            where=shown(url),
            fix="Restore it from a backup, or move it away to begin anew.",
        )
    return StoreError(f"the database refuses: {text}.", where=shown(url), fix="Check that it runs, its URL and rights.")
