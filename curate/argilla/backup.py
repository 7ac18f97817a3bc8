"""A copy of everything that only the review server has: its database, its users and their unpulled answers, its keys.

The copy of SQLite is taken while the server runs (SQLite's own online backup: one moment, whole). Word index, Redis'
queue and the environment are made again. A database on PostgreSQL is copied by its own tools.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import tempfile
import zlib
from contextlib import closing
from pathlib import Path

from curate.argilla.launch import last_options
from curate.argilla.server import default_home, status
from schemas.errors import ReviewError, first_line

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
    try:
        with tempfile.TemporaryDirectory(dir=home) as scratch, open(handle, "wb") as raw:
            copy = Path(scratch) / "argilla.db"
            with closing(sqlite3.connect(home / _DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            with tarfile.open(fileobj=raw, mode="w:gz") as archive:
                archive.add(copy, _DATABASE)
                archive.add(home / _CREDENTIALS, _CREDENTIALS)
    except (OSError, sqlite3.Error) as error:
        file.unlink()  # half a copy is none, and would stand in the way of the next
        fix = f"The copy needs room there and, while it is made, in {home}."
        raise ReviewError(f"no copy was made: {error}.", where=str(file), fix=fix) from error
    return file.stat().st_size


def restore(file: Path, home: Path | None = None) -> None:
    """Put a copy in the place of an empty home, whole or not at all; `review up` then starts it.

    Raises ReviewError where a server has lived already (nothing of it is overwritten), or `file` is no copy or damaged.
    """
    home = (home or default_home()).absolute()
    if (home / _DATABASE).exists() or status(home).state != "absent":
        raise ReviewError(
            "a review server is here already, and nothing of it is overwritten.",
            where=str(home),
            fix="Move that folder away, or set PAIRSMITH_ARGILLA_HOME to another.",
        )
    try:
        for folder in (home, home / "data"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            _unpack(file, Path(scratch))
            for name in (_CREDENTIALS, _DATABASE):  # the database last: it says that a server lives here
                (Path(scratch) / name).chmod(0o600)
                os.replace(Path(scratch) / name, home / name)
    except (OSError, tarfile.TarError, EOFError, zlib.error, sqlite3.Error) as error:
        what = f"cannot be restored: {first_line(error).rstrip(':.')}."
        raise ReviewError(what, where=str(file), fix="Nothing was changed.") from None


def _unpack(file: Path, folder: Path) -> None:
    """The two files of a copy, read to its end, because a gzip file tells only there that it is whole."""
    with tarfile.open(file) as archive:
        if set(archive.getnames()) != {_DATABASE, _CREDENTIALS}:
            raise ReviewError("is no copy of a review server.", where=str(file))
        archive.extractall(folder, filter="data")
        assert archive.fileobj is not None
        while archive.fileobj.read(1_000_000):
            pass
    with closing(sqlite3.connect(folder / _DATABASE)) as copy:
        if copy.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its database is damaged")
