"""A workspace: a folder of ordinary projects, and what the service keeps beside them in `.serve/`.

Projects lie in `WORKSPACE/projects/` or in `WORKSPACE/` itself. Every command works on such a project as on any other;
whoever holds its store's lock works, the other is told who.
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
from schemas.files import locked
from schemas.project import Project

SPEC = "pairsmith.toml"
_LOCK_TIMEOUT_S = 1.0
_PARTIAL = ".making-"


class NoSuchProject(UsageError):
    """The workspace has no project of that name."""


@dataclass(frozen=True)
class Workspace:
    """The folder `root` with its projects. A project's slug is the name of its folder; one whose name has `#`, `?` or
    `%` in it is none of them."""

    root: Path

    @property
    def serve(self) -> Path:
        """What is the service's own; nobody else's project is in it."""
        return self.root / ".serve"

    @property
    def jobs_folder(self) -> Path:
        """A folder for each job, by its id."""
        return self.serve / "jobs"

    def projects(self) -> list[str]:
        """The slugs, sorted."""
        return sorted({slug for home in self._homes() for slug in _in(home)})

    def hidden(self) -> list[str]:
        """The names of folders that are projects but for their name."""
        return sorted({name for home in self._homes() for name in _in(home, of_slugs=False)})

    def folder(self, slug: str) -> Path:
        """The folder of a project. Raises NoSuchProject, also for a name that is a path."""
        if _is_slug(slug):
            for home in self._homes():
                if (home / slug / SPEC).is_file():
                    return home / slug
        raise NoSuchProject(
            f"there is no project '{slug}'.",
            where=str(self.root),
            fix="Its name is that of its folder there.",
        )

    def new_folder(self, slug: str) -> Path:
        """Where a new project goes; nothing is made."""
        return self.root / "projects" / slug

    @contextmanager
    def making(self, slug: str, taken: PairsmithError) -> Iterator[Path]:
        """The folder of a new project, for who fills it, which gets its name when it is whole: what fails meanwhile
        leaves nothing, and a killed server no folder that keeps the name. Whoever is first has it: `taken` is raised
        where a project is there, UsageError where its place is taken by something else."""
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
                fix = f"Take another name, or take {folder.relative_to(self.root)} out of the workspace."
                what = f"what stands in the place of '{slug}' is no project."
                raise UsageError(what, where="name", fix=fix) from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def project(self, slug: str) -> Project:
        """The project with its checked spec. Raises NoSuchProject and SpecError."""
        from schemas.spec_file import load

        return load(self.folder(slug))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one server of this workspace: a second one would take up the jobs of the first.

        The kernel frees the lock when the process dies, however it dies. Raises StoreBusy, and StoreError on a file
        system that has no such locks, where nobody could tell whether a job still runs.
        """
        if (self.root / SPEC).exists():
            raise UsageError(
                "this folder is a project, not a workspace of projects.",
                where=str(self.root),
                fix="Name the folder above it, or an empty one.",
            )
        self.jobs_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(self.serve / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not soon_locked(held):
                raise StoreBusy(
                    f"another server works on this workspace (pid {os.pread(held, 32, 0).decode() or 'unknown'}).",
                    where=str(self.root),
                    why="Two servers would take up each other's jobs.",
                    fix="Stop it, or serve another workspace.",
                )
            os.ftruncate(held, 0)
            os.pwrite(held, str(os.getpid()).encode(), 0)
            for left in self.new_folder("").glob(_PARTIAL + "[0-9a-f]" * 32):  # of a server that was killed
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            os.close(held)

    def _homes(self) -> tuple[Path, Path]:
        return self.root / "projects", self.root


def soon_locked(descriptor: int) -> bool:
    """`locked`, for who keeps the lock as long as it lives: others look whether somebody does by taking it for a
    moment, so it is tried for a while. Raises StoreError where the file system has none."""
    until = time.monotonic() + _LOCK_TIMEOUT_S
    try:
        while not (ours := locked(descriptor)) and time.monotonic() < until:
            time.sleep(0.05)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            raise
        raise StoreError(
            f"the file system has no locks ({error.strerror}).",
            why="A job is known to run by a lock that its process holds; without one it could be started twice.",
            fix="Put the workspace on a local disk.",
        ) from None
    return ours


def _in(home: Path, *, of_slugs: bool = True) -> Iterator[str]:
    try:
        inside = list(os.scandir(home))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in inside:
        is_ours = not entry.name.startswith(".") and _is_slug(entry.name) is of_slugs
        if is_ours and Path(entry.path, SPEC).is_file():
            yield entry.name


def _is_slug(name: str) -> bool:
    """Whether a folder's name can stand in an address as it is."""
    return name.isprintable() and not name.startswith(".") and not set(name) & set("/\\#?%")


def slug_of(name: str) -> str:
    """What of a name can stand in an address: `Über uns!` is `uber-uns`; '' if nothing can."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-")


def within(text: str, root: Path) -> str:
    """The text with paths as they are within the workspace `root`: where that lies is no business of its people."""
    text = re.sub(rf"{re.escape(str(root))}/(projects/)?({re.escape(_PARTIAL)}[0-9a-f]{{32}}/)?", "", text)
    return text.replace(str(root), "the workspace")
