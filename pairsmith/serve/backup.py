"""Backup and restore of a whole workspace, also while a server and jobs are using it.

SQLite files, both stores and the service's own, are copied with `VACUUM INTO`: a consistent snapshot of each, whatever
is being written. The service's PostgreSQL database is copied with `pg_dump`; `pg_restore` puts that file back. Left out
is what can be rebuilt or means nothing elsewhere: projections for pages, job folders, locks, and partially written
files. A project's store on PostgreSQL is not included; the manifest names it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pairsmith
from pairsmith.serve.workspace import Workspace
from schemas.errors import MissingDependency, PairsmithError, StoreError, UsageError
from schemas.files import is_inside, replaced_folder, sha256

MANIFEST = "manifest.json"
_DUMP = "service.pgdump"
_SQLITE = b"SQLite format 3\0"
_EXCLUDED = {"views", "jobs", "chosen", "lock", "trash", "__pycache__"}  # in .serve


class BackupSummary(NamedTuple):
    """The contents of a backup: files, bytes, rows of all databases, and notes on what is not included."""

    files: int
    size: int
    rows: int
    notes: list[str]


def backup(workspace: Workspace, to: Path, database_url: str | None = None) -> BackupSummary:
    """Copy the workspace to the folder `to`, which must not exist. The folder appears complete or not at all.

    Raises UsageError if `to` exists, StoreError if a database cannot be copied, and MissingDependency if the service is
    on PostgreSQL and there is no `pg_dump`.
    """
    if to.exists():
        raise UsageError(
            "the target of the backup already exists.", where=str(to), fix="Name a new folder for each backup."
        )
    if to.resolve().is_relative_to(workspace.root.resolve()):
        raise UsageError(
            "a backup inside the workspace would contain itself.", where=str(to), fix="Name a folder elsewhere."
        )
    files: dict[str, dict[str, Any]] = {}
    with replaced_folder(to) as partial:
        partial.chmod(0o700)
        for path in _paths(workspace):
            name = path.relative_to(workspace.root).as_posix()
            copy = partial / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                files[name] = _copy(path, copy)
            except FileNotFoundError:  # deleted or replaced since it was listed
                continue
        if database_url:
            _dump(database_url, partial / _DUMP)
            files[_DUMP] = {"sha256": sha256(partial / _DUMP), "bytes": (partial / _DUMP).stat().st_size}
        summary = _summary(files, _notes_on_missing(workspace))
        manifest = {
            "pairsmith": pairsmith.__version__,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "not_in_it": summary.notes,
            "files": files,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return summary


def check(folder: Path) -> BackupSummary:
    """Verify a backup without changing it: the hash of every file, and the integrity and row counts of every database.

    Raises StoreError that names the first problem.
    """
    manifest = _manifest(folder)
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != facts["sha256"]:
            raise _damage(name, "the file is missing" if not path.is_file() else "the file differs from what was saved")
        if "rows" in facts and (rows := _count_rows(path)) != facts["rows"]:
            raise _damage(name, f"it has the row counts {rows}, not {facts['rows']}")
    return _summary(manifest["files"], manifest["not_in_it"])


def restore(folder: Path, workspace: Workspace) -> BackupSummary:
    """Copy a backup into an empty workspace and verify it there.

    Jobs that had not ended are cancelled, since they may still be running where the backup was taken. Raises UsageError
    if the workspace is not empty, and StoreError if the backup is damaged.
    """
    if workspace.root.exists() and any(workspace.root.iterdir()):
        raise UsageError("the workspace is not empty.", where=str(workspace.root), fix="Name an empty folder.")
    summary = check(folder)
    with replaced_folder(workspace.root) as partial:
        for name in _manifest(folder)["files"]:
            if name != _DUMP:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / name, partial / name)
    if (workspace.serve / "jobs.db").exists():
        from pairsmith.serve.jobs import Jobs

        with contextlib.closing(Jobs(workspace)) as jobs:
            for job in jobs.active():
                jobs.cancel(job.id)
    _open_projects(workspace)
    if (folder / _DUMP).exists():
        summary.notes.append(
            f"the service's database: pg_restore --dbname URL {folder / _DUMP}. The next server resumes the jobs in "
            "it that had not ended, unless you stop them first with `pairsmith jobs cancel`."
        )
    return summary


def _paths(workspace: Workspace) -> Iterator[Path]:
    """Every file to back up."""
    for slug in workspace.projects():
        yield from _files(workspace.folder(slug))
    if workspace.serve.is_dir():
        for path in sorted(workspace.serve.iterdir()):
            if path.name not in _EXCLUDED:
                yield from _files(path)


def _files(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield from [top] if _is_included(top) else []
        return
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.endswith(".partial"))
        yield from (path for name in sorted(names) if _is_included(path := Path(folder, name)))


def _is_included(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock", ".partial"))


def _copy(path: Path, copy: Path) -> dict[str, Any]:
    """Copy a file and return its entry for the manifest."""
    with path.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    if not is_database:
        shutil.copy2(path, copy)
        return {"sha256": sha256(copy), "bytes": copy.stat().st_size}
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=60)) as database:
            database.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise StoreError(
            f"the database cannot be copied: {error}.", where=str(path), fix="Free disk space, and check the file."
        ) from None
    return {"sha256": sha256(copy), "bytes": copy.stat().st_size, "rows": _count_rows(copy)}


def _count_rows(path: Path) -> dict[str, int]:
    """The number of rows in each table of a database. Raises StoreError if its integrity check fails."""
    try:
        # Nothing writes to a copy, so it needs neither a lock nor a file beside it and may be on a read-only disk.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise _damage(path.name, str(verdict))
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            count = 'SELECT count(*) FROM "{}"'
            return {name: database.execute(count.format(name)).fetchone()[0] for (name,) in tables if '"' not in name}
    except sqlite3.Error as error:
        raise _damage(path.name, str(error)) from None


def _notes_on_missing(workspace: Workspace) -> list[str]:
    """Notes on project data that is not in the project folders."""
    notes = []
    for slug in workspace.projects():
        try:
            store = workspace.project(slug).spec.store
        except PairsmithError as error:
            notes.append(f"{slug}: its spec cannot be read, {error.what}")
            continue
        if store.url_env or (store.url and not store.url.startswith("sqlite")):
            notes.append(f"{slug}: its store is on PostgreSQL; copy it with pg_dump")
    return notes


def _open_projects(workspace: Workspace) -> None:
    """Open every store the way its project does. A spec that was already unreadable when backed up is no damage."""
    from schemas.store import Store
    from schemas.store.opening import sqlite_path

    for slug in workspace.projects():
        try:
            project = workspace.project(slug)
        except PairsmithError:
            continue
        if project.spec.store.url_env or (path := sqlite_path(url := Store.url_for(project))) is None:
            continue
        if path.is_relative_to(workspace.folder(slug).resolve()) and Store.exists(url):
            with Store.open(url, write=False) as store:
                store.receipts()


def _dump(url: str, to: Path) -> None:
    """Dump a PostgreSQL database. The password goes through the environment: other users can see command lines."""
    from sqlalchemy import make_url

    program = shutil.which("pg_dump")
    if program is None:
        raise MissingDependency(
            "pg_dump is not installed on this machine.", fix="Install the PostgreSQL client programs."
        )
    named = make_url(url).set(drivername="postgresql")
    password = named.password or named.query.get("password")
    place = named.difference_update_query(["password"])._replace(password=None).render_as_string(hide_password=False)
    secret = {"PGPASSWORD": str(password)} if password else {}
    command = [program, "--format=custom", "--file", str(to), "--dbname", place]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | secret)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
        raise StoreError(f"pg_dump failed: {reason}.", fix="Check that it can reach the server and is at least as new.")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        raise UsageError(
            "this is not a backup.", where=str(folder), fix=f"Name a folder that contains a {MANIFEST}."
        ) from None
    for name in manifest["files"]:
        if not is_inside(folder / name, folder):
            raise _damage(name, "the manifest names a file outside it")
    return manifest


def _summary(files: dict[str, dict[str, Any]], notes: list[str]) -> BackupSummary:
    rows = sum(sum(facts.get("rows", {}).values()) for facts in files.values())
    return BackupSummary(len(files), sum(facts["bytes"] for facts in files.values()), rows, list(notes))


def _damage(name: str, how: str) -> StoreError:
    return StoreError(f"the backup is damaged: {how}.", where=name, fix="Use another backup.")
