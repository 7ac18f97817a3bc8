"""Backup and restore of everything that only the review server has: its database with users and unpulled answers, and
its keys.

SQLite is copied while the server runs, with SQLite's online backup, which yields a consistent snapshot. The word index,
Redis' queue and the virtual environment are not copied; they are rebuilt. A PostgreSQL database has to be copied with
its own tools.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import zlib
from contextlib import closing
from pathlib import Path

from curate.argilla.launch import last_options
from curate.argilla.server import default_home, status
from schemas.errors import ReviewError, first_line
from schemas.temporary_folders import temporary_folder

_DATABASE, _CREDENTIALS = "data/argilla.db", "credentials.json"


def backup(file: Path, home: Path | None = None) -> int:
    """Write the backup to `file`, a .tar.gz that only the owner can read; return its size in bytes. An existing file is
    never overwritten.

    Raises ReviewError if there is nothing to copy, if `file` exists or cannot be written, or if the database is
    PostgreSQL.
    """
    home = (home or default_home()).absolute()
    if last_options(home).database_url is not None:
        raise ReviewError(
            "this review server keeps its rows in PostgreSQL, which has its own backup tools.",
            where=str(home),
            fix=f"Copy the database with pg_dump, and copy {home / _CREDENTIALS} as well.",
        )
    if not (home / _DATABASE).exists():
        raise ReviewError("there is no review server here to back up.", where=str(home))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ReviewError("already exists.", where=str(file), fix="Name another file.") from None
    except OSError as error:
        raise ReviewError(f"cannot be written: {error.strerror}.", where=str(file), fix="Name another file.") from None
    try:
        with temporary_folder(place=home) as scratch, open(handle, "wb") as raw:
            copy = scratch / "argilla.db"
            with closing(sqlite3.connect(home / _DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            with tarfile.open(fileobj=raw, mode="w:gz") as archive:
                archive.add(copy, _DATABASE)
                archive.add(home / _CREDENTIALS, _CREDENTIALS)
    except (OSError, sqlite3.Error) as error:
        file.unlink()  # a partial backup is useless and would block the next attempt
        fix = f"The backup needs disk space there and, while it is written, in {home}."
        raise ReviewError(f"no backup was made: {error}.", where=str(file), fix=fix) from error
    return file.stat().st_size


def restore(file: Path, home: Path | None = None) -> None:
    """Restore a backup into an empty home, completely or not at all; `review up` then starts the server.

    Raises ReviewError if the home already has a server (nothing is overwritten), or if `file` is not a backup or is
    damaged.
    """
    home = (home or default_home()).absolute()
    if (home / _DATABASE).exists() or status(home).state != "absent":
        raise ReviewError(
            "there is already a review server here, and it is not overwritten.",
            where=str(home),
            fix="Move that folder away, or set PAIRSMITH_ARGILLA_HOME to another folder.",
        )
    try:
        for folder in (home, home / "data"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary_folder(place=home) as scratch:
            _unpack(file, scratch)
            for name in (_CREDENTIALS, _DATABASE):  # the database last: its presence marks the home as used
                (scratch / name).chmod(0o600)
                os.replace(scratch / name, home / name)
    except (OSError, tarfile.TarError, EOFError, zlib.error, sqlite3.Error) as error:
        problem = f"cannot be restored: {first_line(error).rstrip(':.')}."
        raise ReviewError(problem, where=str(file), fix="Nothing was changed.") from None


def _unpack(file: Path, folder: Path) -> None:
    """Extract the two files of a backup and check the database. The archive is read to its end, because gzip's checksum
    comes last."""
    with tarfile.open(file) as archive:
        if set(archive.getnames()) != {_DATABASE, _CREDENTIALS}:
            raise ReviewError("is not a backup of a review server.", where=str(file))
        archive.extractall(folder, filter="data")
        assert archive.fileobj is not None
        while archive.fileobj.read(1_000_000):
            pass
    with closing(sqlite3.connect(folder / _DATABASE)) as copy:
        if copy.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its database is damaged")
