"""Files and folders that are either the old ones or the new ones, whole, whenever a process or a machine stops; and
what tells one file from another."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from schemas.errors import InputError

# Between making a folder and locking it a process needs far less.
_LEFT_BEHIND_S = 1.0


def refuse_no_text(path: Path) -> None:
    """Raises InputError for a path with bytes that are no text: neither a store nor a receipt could name it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            "its name is not UTF-8, as of a file from an old archive.",
            where=os.fsencode(path).decode(errors="backslashreplace"),
            fix="Rename it; if `ls` shows it as it should be, set LC_ALL=C.UTF-8 instead.",
        ) from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def files_in(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its path there, in order."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; 0 where there is nothing."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else files_in(path).values()))


@contextmanager
def replaced(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Give a path beside `path` to write a file to; at the end it is on the disk and stands in the place of `path`.

    An error in the block, or a crash anywhere, leaves what was there. `mode` is the file's permissions from the start
    (else those of any new file). Raises OSError.
    """
    partial = _beside(path, "partial")
    partial.unlink(missing_ok=True)
    if mode is not None:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def copy_folder(source: Path, target: Path, *, without: Container[str] = ()) -> None:
    """Copy a folder, but for what lies directly in it under a name of `without`.

    The first file that cannot be written raises its own OSError, such as that the disk is full. `shutil.copytree` would
    go on, and raise one without a number that nobody recognises.
    """
    target.mkdir(parents=True, exist_ok=True)
    for place in source.iterdir():
        if place.name in without:
            continue
        if place.is_dir():
            copy_folder(place, target / place.name)
        else:
            shutil.copy2(place, target / place.name)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: give an empty one beside `path` to fill. A block that deletes it changes nothing.

    Linux and macOS exchange the two folders in one step. Elsewhere it takes two: a crash between them leaves the old
    one aside as `.NAME.PID.old` and nothing under `path`; the next `replaced_folder` puts it back first.

    Raises OSError.
    """
    partial = _beside(path, "partial")
    _tidy(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    held = os.open(partial, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield partial
        if not partial.exists():
            return
        for inside in partial.rglob("*"):
            _sync(inside)
        _sync(partial)
        if not path.exists():
            os.rename(partial, path)
        elif not _exchanged(partial, path):
            os.rename(path, _beside(path, "old"))
            os.rename(partial, path)
        _sync(path.parent)
    finally:
        # What is left there is what could not be finished, or the old folder.
        shutil.rmtree(partial, ignore_errors=True)
        os.close(held)
        _tidy(path)


@contextmanager
def one_at_a_time(lock: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the file `lock`, which no two processes do at once. `waits` is called first where another one holds it."""
    with lock.open("a") as held:
        if not locked(held):
            waits()
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def locked(opened: IO[Any] | int, *, shared: bool = False) -> bool:
    """Take the kernel's lock of an open file, with `shared` beside others that do; False if another process has it.
    The kernel frees it when the process dies, however it dies. Raises OSError where the file system has no locks."""
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of a file or a folder; nobody does where there is none. Of two who look
    at once neither is taken for a holder. Raises OSError."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not locked(opened, shared=True)
    finally:
        os.close(opened)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


def _tidy(path: Path) -> None:
    """Put back an old folder that has no successor, and delete those that have one and what a crash has left."""
    for old in sorted(path.parent.glob(f".{path.name}.*.old")):
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > _LEFT_BEHIND_S and not is_locked(partial):
                shutil.rmtree(partial, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """True if the two paths changed places, in one step; False where the system or the file system cannot do it."""
    names = os.fsencode(first), os.fsencode(second)
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(here, names[0], here, names[1], exchange) == 0)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        swap = 2  # RENAME_SWAP
        return bool(libc.renamex_np(*names, swap) == 0)
    return False


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems refuse it for folders
            os.fsync(opened)
    finally:
        os.close(opened)
