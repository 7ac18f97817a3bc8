"""The database's errors in words a person can act on."""

from __future__ import annotations

import errno
import re
import resource
import shutil
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from schemas.errors import StoreError, StoreFull, first_line

# What libpq takes in a query as well; what is a file's name is none.
_SECRET = re.compile("password|secret")


def shown(url: str) -> str:
    """The URL without its password, wherever it stands in it."""
    parsed = sa.make_url(url)
    hidden = {name: "***" for name in parsed.query if _SECRET.search(name)}
    text = parsed.update_query_dict(hidden).render_as_string(hide_password=True)
    return text.replace("%2A%2A%2A", "***")


def passes(error: Exception, *, committing: bool) -> bool:
    """Whether what failed may be tried again: another process held the file for long, or the server was away before
    anything was committed, or still a standby, as after a failover (25006), or tired of a process that stood still in a
    transaction, as a laptop does (25P03). `committing`: what was asked may be done, and would be done twice."""
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("25006", "25P03"):
        return not committing
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return True
    return not committing and "sqlite" not in type(error.orig).__module__


def explained(error: Exception, url: str) -> StoreError:
    """A StoreError for anything the database or the disk raised. Nothing confirmed is lost by any of these."""
    if isinstance(error, StoreError):
        return error
    original = error.orig if isinstance(error, DBAPIError) else error
    text = first_line(original)
    full = ("disk is full", "No space left", "File too large")
    # SQLite says "disk I/O error" of a full disk as well, where it cannot grow the file that is shared by its readers.
    no_room = "disk I/O error" in text and _is_full(url)
    if no_room or any(mark in text for mark in full) or getattr(original, "sqlstate", None) == "53100":
        return StoreFull(
            f"no space is left to write ({text}).",
            where=shown(url),
            why="Everything confirmed before this moment is kept.",
            fix="Free some space and run the same command again; it goes on where it stopped.",
        )
    may_not = getattr(original, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS)
    if may_not or "readonly database" in text:
        return StoreError(
            f"this user may not write to it ({text}).",
            where=shown(url),
            why="Whatever changes a project writes to its store.",
            fix="Give this user the right to the file and its folder, or copy the project to where it may write.",
        )
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"the file is not a pairsmith store, or it is damaged ({text}).",
            where=shown(url),
            fix="Restore it from a backup, or move it away to begin anew.",
        )
    if "disk I/O error" in text:
        return StoreError(
            f"the disk fails to read or write ({text}).",
            where=shown(url),
            why="Everything confirmed before this moment is kept.",
            fix="Check the disk, its mount and its rights, then run the same command again.",
        )
    return StoreError(f"the database refuses: {text}.", where=shown(url), fix="Check that it runs, its URL and rights.")


def _is_full(url: str) -> bool:
    """Whether the disk of a SQLite file has no room left, or this process may make no larger file."""
    file = Path(sa.make_url(url).database or "")
    try:
        free, size = shutil.disk_usage(file.parent).free, file.stat().st_size
    except OSError:
        return True
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free < 2**20 or (most != resource.RLIM_INFINITY and most < size + 2**20)
