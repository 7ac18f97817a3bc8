"""Specs and stores of the projects, cached until their files change: opening one costs more than rendering most
pages."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from pairsmith.serve.workspace import Workspace
from schemas.files import files_in
from schemas.project import Project
from schemas.spec_file import SPEC_NAME
from schemas.store import Store
from schemas.store.opening import sqlite_path
from schemas.store.shared import reader
from schemas.user_modules import UserReference

_MAX_OPEN = 32  # stores that are open at once, each with at least three files
_SETTLED_S = 1.0  # two writes within one tick of the file system's clock get the same time


class Readers:
    """Readers by project. A store whose file was replaced, for example by a restore, is opened again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = Lock()
        self._open: OrderedDict[str, tuple[object, Store]] = OrderedDict()
        self._projects: dict[str, tuple[object, Project]] = {}
        self._places: dict[str, tuple[Project, str, Path | None]] = {}

    def project(self, slug: str) -> Project:
        """The project with its validated spec, as the file is now. Raises NoSuchProject and SpecError."""
        spec = self._workspace.folder(slug) / SPEC_NAME
        now = _file(spec)
        known = self._projects.get(slug)
        if known is None or known[0] != now or now is None:
            self._projects[slug] = known = (now, self._workspace.project(slug))
        return known[1]

    def store(self, slug: str) -> Store | None:
        """The project's store; None if nothing has been written yet. Raises NoSuchProject, SpecError, StoreError."""
        url, path = self._place(slug)
        # A copy, as of a store that cannot be written in its place, shows the state of its time only.
        in_place, copied = (url, _file(path, whole=False)), (url, _with_log(path))
        with self._lock:
            cached = self._open.get(slug)
            if cached and cached[0] in (in_place, copied):
                self._open.move_to_end(slug)
                return cached[1]
        if not Store.exists(url):
            return None
        opened = reader(url)
        with self._lock:
            self._open[slug] = ((url, _file(path, whole=False)) if opened.url == url else copied, opened)
            self._open.move_to_end(slug)
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        return opened

    def change_marker(self, slug: str) -> object:
        """A value that changes with each write to the store, determined without opening it.

        None if only the store can tell. Raises NoSuchProject, SpecError.
        """
        _, path = self._place(slug)
        if path is None:
            return None
        files = _with_log(path)
        newest = max((file[2] for file in files if file), default=0)
        return files if time.time() - newest / 1e9 >= _SETTLED_S else None

    def input_marker(self, slug: str) -> object:
        """A value that changes with the files beside the spec that stages read: seeds, prompts, checks and the like.
        Raises NoSuchProject, SpecError, InputError."""
        return tuple((str(path), _file(path)) for path in _input_files(self.project(slug)))

    def store_file_id(self, slug: str) -> tuple[int, ...] | None:
        """The identity of the store's file; None on PostgreSQL, and if nothing has been written yet."""
        return _file(self._place(slug)[1], whole=False)

    def _place(self, slug: str) -> tuple[str, Path | None]:
        """The URL of a project's store, and its path if it is SQLite."""
        project = self.project(slug)
        known = self._places.get(slug)
        if known is None or known[0] is not project or project.spec.store.url_env:
            url = Store.url_for(project)
            self._places[slug] = known = (project, url, sqlite_path(url))
        return known[1:]


def _file(path: Path | None, *, whole: bool = True) -> tuple[int, ...] | None:
    """The identity of a file; with `whole` also its modification time and size. None if it does not exist."""
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    if status is None:
        return None
    return (status.st_dev, status.st_ino, *((status.st_mtime_ns, status.st_size) if whole else ()))


def _with_log(path: Path | None) -> tuple[tuple[int, ...] | None, ...]:
    """The identities of a SQLite file and of its write-ahead log."""
    return () if path is None else (_file(path), _file(path.with_name(f"{path.name}-wal")))


def _input_files(project: Project) -> Iterator[Path]:
    """The files that the stages of a project read, as `pairsmith.plan` compares them. Only settings that name a file
    count: any other text may happen to be a path, be `/`, or be too long for one."""
    spec, folder = project.spec, project.folder
    gates = spec.curate.gates
    names = [one.path for source in spec.seeds for one in source.each(folder) if source.format != "hub"]
    functions = [*gates.user, *spec.evaluate.user]
    if schema := spec.task.answer_schema:
        (functions if ":" in schema else names).append(schema)
    names += filter(None, (gates.json_schema, spec.curate.score.model, spec.curate.nli, spec.review.gold))
    names += ["prompts", spec.train.base, *spec.curate.contamination.files]
    for path in [folder / name for name in names] + [UserReference.read(one).file(folder) for one in functions]:
        if path and os.path.isdir(path):
            yield from files_in(path).values()
        elif path:
            yield path
