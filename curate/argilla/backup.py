"""A copy of everything that only the review server has: its database, its users and their unpulled answers, its keys.

The copy of SQLite is taken while the server runs (SQLite's own online backup: one moment, whole). Word index, Redis'
queue and the environment are made again. A database on PostgreSQL is copied by its own tools.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path

from curate.argilla.launch import last_options
from curate.argilla.server import default_home, status
from schemas.errors import ReviewError

_DATABASE, _CREDENTIALS = "data/argilla.db", "credentials.json"


def backup(file: Path, home: Path | None = None) -> int:
    """Write the copy to `file` (a .tar.gz readable by the owner alone, never over another file); its bytes.

    Raises ReviewError if there is nothing to copy, the file is there already, or the database is PostgreSQL.
    """
    home = (home or default_home()).absolute()
    if last_options(home).database_url is not None:
        raise ReviewError(
            "this review server keeps its rows in PostgreSQL, which has tools of its own for that.",
            where=str(home),
            fix=f"Copy the database with pg_dump, and {home / _CREDENTIALS} beside it.",
        )
    if not (home / _DATABASE).exists():
        raise ReviewError("there is no review server here to copy.", where=str(home))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ReviewError("is there already.", where=str(file), fix="Name another file.") from None
    except OSError as error:
        raise ReviewError(f"cannot be written: {error.strerror}.", where=str(file), fix="Name another file.") from None
    with tempfile.TemporaryDirectory(dir=home) as scratch, open(handle, "wb") as raw:
        copy = Path(scratch) / "argilla.db"
        with closing(sqlite3.connect(home / _DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with tarfile.open(fileobj=raw, mode="w:gz") as archive:
            archive.add(copy, _DATABASE)
            archive.add(home / _CREDENTIALS, _CREDENTIALS)
    return file.stat().st_size


def restore(file: Path, home: Path | None = None) -> None:
    """Put a copy in the place of an empty home; `review up` then starts it.

    Raises ReviewError where a server has lived already (nothing of it is overwritten), or `file` is no copy.
    """
    home = (home or default_home()).absolute()
    if (home / _DATABASE).exists() or status(home).state != "absent":
        raise ReviewError(
            "a review server is here already, and nothing of it is overwritten.",
            where=str(home),
            fix="Move that folder away, or set PAIRSMITH_ARGILLA_HOME to another.",
        )
    try:
        with tarfile.open(file) as archive:
            names = set(archive.getnames())
            if names != {_DATABASE, _CREDENTIALS}:
                raise ReviewError("is no copy of a review server.", where=str(file))
            (home / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
            archive.extractall(home, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ReviewError(f"cannot be read: {error}.", where=str(file)) from None
    for name in names:
        (home / name).chmod(0o600)
