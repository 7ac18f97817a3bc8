"""Converts database errors into messages that users can act on."""

from __future__ import annotations

import errno
import re
import resource
import shutil
from pathlib import Path
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from schemas.errors import StoreError, StoreFull, first_line

# Also matches libpq's URL query parameters, but not those that name a file.
_SECRET = re.compile("password|secret")
_LEAST_FREE = 4 * 2**20  # bytes; the answers to 64 requests of one window, with the log that SQLite keeps of them


def shown(url: str) -> str:
    """The URL with every password in it hidden, and the path of a SQLite file as people write it."""
    parsed = sa.make_url(url)
    hidden = {name: "***" for name in parsed.query if _SECRET.search(name)}
    text = parsed.update_query_dict(hidden).render_as_string(hide_password=True)
    return unquote(text) if parsed.get_backend_name() == "sqlite" else text.replace("%2A%2A%2A", "***")


def is_transient(error: Exception, *, committing: bool) -> bool:
    """Whether a failed operation may be retried.

    It may if another process held the file for a long time, or if before the commit the server was unreachable, was
    still a standby, as after a failover (25006), or ended a transaction that was idle for too long, as when a laptop
    sleeps (25P03). `committing`: the work may already be done and must not be done twice.
    """
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("25006", "25P03"):
        return not committing
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return True
    return not committing and "sqlite" not in type(error.orig).__module__


def explained(error: Exception, url: str) -> StoreError:
    """A StoreError for any error of the database or the disk. None of these errors loses anything that was
    confirmed."""
    if isinstance(error, StoreError):
        return error
    original = error.orig if isinstance(error, DBAPIError) else error
    text = first_line(original)
    full = ("disk is full", "No space left", "File too large")
    # SQLite also reports "disk I/O error" for a full disk, if it cannot grow the shared-memory file of its readers.
    disk_full = "disk I/O error" in text and _is_full(url)
    if disk_full or any(mark in text for mark in full) or getattr(original, "sqlstate", None) == "53100":
        return StoreFull(
            f"no space is left to write ({text}).",
            where=shown(url),
            why="Everything confirmed before this moment is kept.",
            fix="Free some space and run the same command again; it continues where it stopped.",
        )
    not_permitted = getattr(original, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS)
    if not_permitted or "readonly database" in text:
        return StoreError(
            f"this user may not write to it ({text}).",
            where=shown(url),
            why="Every command that changes a project writes to its store.",
            fix="Give this user write access to the file and its folder, or copy the project to a writable place.",
        )
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"the file is not a pairsmith store, or it is damaged ({text}).",
            where=shown(url),
            fix="Restore it from a backup, or move it away to start over.",
        )
    if "disk I/O error" in text:
        return StoreError(
            f"the disk fails to read or write ({text}).",
            where=shown(url),
            why="Everything confirmed before this moment is kept.",
            fix="Check the disk, its mount and its permissions, then run the same command again.",
        )
    return StoreError(
        f"the database reports an error: {text}.",
        where=shown(url),
        fix="Check that it is running, its URL and your permissions.",
    )


def refuse_full(url: str) -> None:
    """Raise StoreFull if the disk of a SQLite store has no room for the answers to one window of requests."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return
    try:
        space = shutil.disk_usage(Path(parsed.database or "").parent)
    except OSError:  # whatever is wrong with that folder, the next commit says
        return
    if space.total > 0 and space.free < _LEAST_FREE:  # some network file systems report nothing but zeros
        raise StoreFull(
            f"only {space.free / 2**20:.1f} MiB are free on its disk.",
            where=shown(url),
            why="Answers would be paid for and could not be stored.",
            fix="Free some space and run the same command again; it continues where it stopped.",
        )


def _is_full(url: str) -> bool:
    """Whether the disk of a SQLite file is full, or this process may not create a larger file."""
    file = Path(sa.make_url(url).database or "")
    try:
        free, size = shutil.disk_usage(file.parent).free, file.stat().st_size
    except OSError:
        return True
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free < 2**20 or (most != resource.RLIM_INFINITY and most < size + 2**20)
