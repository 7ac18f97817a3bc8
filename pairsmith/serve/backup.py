"""A copy of a workspace, whole, also while a server and jobs work on it, and its way back.

SQLite files, stores and the service's own, are copied by `VACUUM INTO`: one moment of each, whatever is being written.
The service's PostgreSQL is copied by `pg_dump`, whose file is put back by `pg_restore`. Left out is what can be made
again or means nothing elsewhere: projections for pages, the folders of jobs, locks, what is half written. A store of a
project on PostgreSQL is not in it; the manifest names it.
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
from schemas.files import replaced_folder, sha256

MANIFEST = "manifest.json"
_DUMP = "service.pgdump"
_SQLITE = b"SQLite format 3\0"
_NOT_KEPT = {"views", "jobs", "chosen", "lock", "trash", "__pycache__"}  # of .serve


class Kept(NamedTuple):
    """What a backup holds: files, bytes, rows of all databases, and what is not in it, in sentences."""

    files: int
    size: int
    rows: int
    notes: list[str]


def backup(workspace: Workspace, to: Path, database_url: str | None = None) -> Kept:
    """Copy the workspace to the folder `to`, which must not exist; there whole or not at all.

    Raises UsageError if there is something, StoreError if a database cannot be copied, MissingDependency without
    `pg_dump` for a service on PostgreSQL.
    """
    if to.exists():
        raise UsageError("there is something already.", where=str(to), fix="Name a new folder for each backup.")
    if to.resolve().is_relative_to(workspace.root.resolve()):
        raise UsageError("a backup in the workspace would hold itself.", where=str(to), fix="Name a folder elsewhere.")
    files: dict[str, dict[str, Any]] = {}
    with replaced_folder(to) as partial:
        partial.chmod(0o700)
        for path in _paths(workspace):
            name = path.relative_to(workspace.root).as_posix()
            copy = partial / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                files[name] = _copied(path, copy)
            except FileNotFoundError:  # deleted, or replaced by its next version, while we looked
                continue
        if database_url:
            _dump(database_url, partial / _DUMP)
            files[_DUMP] = {"sha256": sha256(partial / _DUMP), "bytes": (partial / _DUMP).stat().st_size}
        kept = _kept(files, _elsewhere(workspace))
        manifest = {
            "pairsmith": pairsmith.__version__,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "not_in_it": kept.notes,
            "files": files,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return kept


def check(folder: Path) -> Kept:
    """Read a backup through and change nothing in it: every file by its hash, every database by its own check and its
    counts. Raises StoreError naming the first thing that is wrong."""
    manifest = _manifest(folder)
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != facts["sha256"]:
            raise _damaged(name, "it is gone" if not path.is_file() else "it is not what was saved")
        if "rows" in facts and (rows := _rows(path)) != facts["rows"]:
            raise _damaged(name, f"it holds {rows}, not {facts['rows']}")
    return _kept(manifest["files"], manifest["not_in_it"])


def restore(folder: Path, workspace: Workspace) -> Kept:
    """Put a backup into an empty workspace, and read it through there. Jobs that had not ended are not taken up: they
    may still run where the backup is from. Raises UsageError if something is there, StoreError for a damaged backup."""
    if workspace.root.exists() and any(workspace.root.iterdir()):
        raise UsageError("the workspace is not empty.", where=str(workspace.root), fix="Name an empty folder.")
    kept = check(folder)
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
        kept.notes.append(
            f"the service's database: pg_restore --dbname URL {folder / _DUMP}. The next server takes up the jobs in "
            "it that had not ended, unless `pairsmith jobs cancel` stops them before."
        )
    return kept


def _paths(workspace: Workspace) -> Iterator[Path]:
    """Every file that is kept."""
    for slug in workspace.projects():
        yield from _files(workspace.folder(slug))
    if workspace.serve.is_dir():
        for path in sorted(workspace.serve.iterdir()):
            if path.name not in _NOT_KEPT:
                yield from _files(path)


def _files(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield from [top] if _is_kept(top) else []
        return
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.endswith(".partial"))
        yield from (path for name in sorted(names) if _is_kept(path := Path(folder, name)))


def _is_kept(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock", ".partial"))


def _copied(path: Path, copy: Path) -> dict[str, Any]:
    """What the manifest says of a file that is copied."""
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
            f"it cannot be copied: {error}.", where=str(path), fix="Free room, and look at the file."
        ) from None
    return {"sha256": sha256(copy), "bytes": copy.stat().st_size, "rows": _rows(copy)}


def _rows(path: Path) -> dict[str, int]:
    """The rows of each table of a database that is sound. Raises StoreError for one that is not."""
    try:
        # Nobody writes to a copy: it needs no lock and no file beside it, so a backup may be on a read-only disk.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise _damaged(path.name, str(verdict))
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            count = 'SELECT count(*) FROM "{}"'
            return {name: database.execute(count.format(name)).fetchone()[0] for (name,) in tables if '"' not in name}
    except sqlite3.Error as error:
        raise _damaged(path.name, str(error)) from None


def _elsewhere(workspace: Workspace) -> list[str]:
    """What of the projects is not in their folders."""
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
    """Open every store as its project does. A spec that could not be read when it was saved is no damage."""
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
    """The password goes by the environment: everybody on the machine sees the words of a command."""
    from sqlalchemy import make_url

    program = shutil.which("pg_dump")
    if program is None:
        raise MissingDependency("pg_dump is not on this machine.", fix="Install PostgreSQL's client programs.")
    named = make_url(url).set(drivername="postgresql")
    password = named.password or named.query.get("password")
    place = named.difference_update_query(["password"])._replace(password=None).render_as_string(hide_password=False)
    secret = {"PGPASSWORD": str(password)} if password else {}
    command = [program, "--format=custom", "--file", str(to), "--dbname", place]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | secret)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1].rstrip(".")
        raise StoreError(f"pg_dump failed: {reason}.", fix="See that it is as new as the server and reaches it.")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        raise UsageError("this is no backup.", where=str(folder), fix=f"Name a folder with a {MANIFEST}.") from None
    for name in manifest["files"]:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise _damaged(name, "it names a file elsewhere")
    return manifest


def _kept(files: dict[str, dict[str, Any]], notes: list[str]) -> Kept:
    rows = sum(sum(facts.get("rows", {}).values()) for facts in files.values())
    return Kept(len(files), sum(facts["bytes"] for facts in files.values()), rows, list(notes))


def _damaged(name: str, how: str) -> StoreError:
    return StoreError(f"the backup is damaged: {how}.", where=name, fix="Take another backup.")
