"""A workspace: a folder of ordinary projects, and the service's own data beside them in `.serve/`.

Projects are in `WORKSPACE/projects/` or in `WORKSPACE/` itself. Every command works on them as on any other project.
The process that holds a store's lock works on it; another one gets an error that names the holder.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PairsmithError, StoreBusy, StoreError, UsageError
from schemas.files import labelled_lock, locked
from schemas.project import Project

SPEC = "pairsmith.toml"
_LOCK_TIMEOUT_S = 1.0
_PARTIAL = ".making-"


class NoSuchProject(UsageError):
    """The workspace has no project of that name."""


@dataclass(frozen=True)
class Workspace:
    """The folder `root` with its projects.

    A project's slug is the name of its folder. Folders with `#`, `?` or `%` in their name are not projects.
    """

    root: Path

    @property
    def serve(self) -> Path:
        """The folder of the service's own data. Projects are never in it."""
        return self.root / ".serve"

    @property
    def jobs_folder(self) -> Path:
        """Contains a folder for each job, named by its id."""
        return self.serve / "jobs"

    def projects(self) -> list[str]:
        """The slugs of all projects, sorted."""
        return sorted({slug for home in self._homes() for slug in _project_names(home)})

    def hidden(self) -> list[str]:
        """The names of folders that would be projects if their name were valid."""
        return sorted({name for home in self._homes() for name in _project_names(home, of_slugs=False)})

    def folder(self, slug: str) -> Path:
        """The folder of a project. Raises NoSuchProject, also for a name that is a path."""
        if _is_slug(slug):
            for home in self._homes():
                if (home / slug / SPEC).is_file():
                    return home / slug
        raise NoSuchProject(
            f"there is no project '{slug}'.",
            where=str(self.root),
            fix="A project's name is the name of its folder there.",
        )

    def new_folder(self, slug: str) -> Path:
        """The folder for a new project; it is not created."""
        return self.root / "projects" / slug

    @contextmanager
    def making(self, slug: str, taken: PairsmithError) -> Iterator[Path]:
        """Yields the folder of a new project to fill, and renames it to its final name when it is complete.

        A failure leaves nothing behind, and a killed server leaves no folder that blocks the name. The first to finish
        gets the name: raises `taken` if the project exists, and UsageError if something else is in its place.
        """
        folder = self.new_folder(slug)
        if slug in self.projects():
            raise taken
        partial = folder.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
        partial.mkdir(parents=True)
        try:
            yield partial
            try:
                partial.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                if (folder / SPEC).is_file():
                    raise taken from None
                fix = f"Choose another name, or move {folder.relative_to(self.root)} out of the workspace."
                what = f"there is something in the place of '{slug}' that is not a project."
                raise UsageError(what, where="name", fix=fix) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def project(self, slug: str) -> Project:
        """The project with its validated spec. Raises NoSuchProject and SpecError."""
        from schemas.spec_file import load

        return load(self.folder(slug))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the workspace's only server: a second one would adopt the jobs of the first.

        The kernel frees the lock when the process dies, however it dies. Raises StoreBusy if another server holds it,
        UsageError if the folder is a project itself, and StoreError on a file system without such locks, where a
        running job could not be recognised.
        """
        if (self.root / SPEC).exists():
            raise UsageError(
                "this folder is a project, not a workspace of projects.",
                where=str(self.root),
                fix="Name the folder above it, or an empty one.",
            )
        self.jobs_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self.serve / "lock"
        with labelled_lock(lock, str(os.getpid()).encode(), take=lock_with_timeout) as ours:
            if not ours:
                raise StoreBusy(
                    f"another server is using this workspace (pid {lock.read_text() or 'unknown'}).",
                    where=str(self.root),
                    why="Two servers would run each other's jobs.",
                    fix="Stop it, or serve another workspace.",
                )
            for left in self.new_folder("").glob(_PARTIAL + "[0-9a-f]" * 32):  # left by a server that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield

    def _homes(self) -> tuple[Path, Path]:
        return self.root / "projects", self.root


def lock_with_timeout(descriptor: int) -> bool:
    """`locked` with retries, for a lock that is held for a whole lifetime.

    Others test whether it is held by taking it for a moment. Raises StoreError if the file system has no locks.
    """
    until = time.monotonic() + _LOCK_TIMEOUT_S
    try:
        while not (ours := locked(descriptor)) and time.monotonic() < until:
            time.sleep(0.05)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            raise
        raise StoreError(
            f"the file system has no locks ({error.strerror}).",
            why="A running job is recognised by a lock that its process holds; without one it could be started twice.",
            fix="Put the workspace on a local disk.",
        ) from None
    return ours


def _project_names(home: Path, *, of_slugs: bool = True) -> Iterator[str]:
    try:
        inside = list(os.scandir(home))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in inside:
        is_ours = not entry.name.startswith(".") and _is_slug(entry.name) is of_slugs
        if is_ours and Path(entry.path, SPEC).is_file():
            yield entry.name


def _is_slug(name: str) -> bool:
    """Whether a folder's name can be used unescaped in a URL."""
    return name.isprintable() and not name.startswith(".") and not set(name) & set("/\\#?%")


def slug_of(name: str) -> str:
    """A slug for a name: `Über uns!` becomes `uber-uns`; '' if no usable character is left."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode().casefold()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-")


def within(text: str, root: Path) -> str:
    """The text with paths made relative to the workspace `root`, whose location its users should not see."""
    text = re.sub(rf"{re.escape(str(root))}/(projects/)?({re.escape(_PARTIAL)}[0-9a-f]{{32}}/)?", "", text)
    return text.replace(str(root), "the workspace")
