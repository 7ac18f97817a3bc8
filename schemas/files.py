"""Atomic replacement of files and folders: after a crash of the process or the machine, either the old or the new
version is there, complete. Also hashes and locks of files."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from schemas.errors import DISK_FULL, InputError

# A process needs far less time between creating a folder and locking it.
_ABANDONED_S = 1.0


def refuse_non_utf8_name(path: Path) -> None:
    """Raise InputError for a path that is not valid UTF-8, because neither a store nor a receipt could hold it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            "its name is not UTF-8, which happens with files from old archives.",
            where=os.fsencode(path).decode(errors="backslashreplace"),
            fix="Rename it; or if `ls` shows its name correctly, set LC_ALL=C.UTF-8 instead.",
        ) from None


def file_in_place_of(folder: Path) -> Path | None:
    """The file that stands where `folder`, which is absolute, or a folder above it should be; None if there is none."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return None if nearest.is_dir() else nearest


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in the folder once links have been followed; a link to itself leads nowhere."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return content


def files_in(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its relative path, sorted."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def size_of(path: Path) -> int:
    """The size in bytes of a file, or of all files below a folder; 0 if it does not exist."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else files_in(path).values()))


@contextmanager
def replaced(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; at the end the file is synced to disk and replaces `path`
    atomically.

    An exception in the block, or a crash at any point, leaves the previous file. `mode` sets the file's permissions
    from the start (default: those of any new file). Raises OSError; that of a full disk names `path`, because writing
    to an open file raises one without a name.
    """
    partial = _beside(path, "partial")
    partial.unlink(missing_ok=True)
    if mode is not None:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL and error.filename is None:
            error.filename = str(path)
        raise
    _sync(path.parent)


def copy_folder(source: Path, target: Path, *, without: Container[str] = ()) -> None:
    """Copy a folder, except for its direct children named in `without`. The copies have the permissions of any new
    file: safetensors makes weights that only their owner can read, and another user may serve a released model.

    The first file that cannot be written raises its own OSError, for example that the disk is full. `shutil.copytree`
    would continue and then raise an error without an errno, which callers could not recognise.
    """
    target.mkdir(parents=True, exist_ok=True)
    for place in source.iterdir():
        if place.name in without:
            continue
        if place.is_dir():
            copy_folder(place, target / place.name)
        else:
            shutil.copyfile(place, target / place.name)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: yield an empty folder beside `path` to fill. If the block deletes it, nothing changes.

    Linux and macOS exchange the two folders in one step. Elsewhere it takes two steps: a crash between them leaves the
    old folder as `.NAME.PID.old` and nothing under `path`, and the next `replaced_folder` first restores it.

    Raises OSError.
    """
    partial = _beside(path, "partial")
    _clean_up(path)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except (FileNotFoundError, NotADirectoryError) as error:  # the first: nothing can be created, as in /proc
        number = errno.ENOTDIR if isinstance(error, NotADirectoryError) else errno.EROFS
        raise OSError(number, os.strerror(number), str(path)) from None
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        with suppress(OSError):  # the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
        if not partial.exists():
            return
        for inside in partial.rglob("*"):
            _sync(inside)
        _sync(partial)
        if not path.exists():
            os.rename(partial, path)
        elif not _exchange(partial, path):
            os.rename(path, _beside(path, "old"))
            os.rename(partial, path)
        _sync(path.parent)
    finally:
        # What remains there is an unfinished folder or the old one.
        shutil.rmtree(partial, ignore_errors=True)
        os.close(descriptor)
        _clean_up(path)


@contextmanager
def exclusive_lock(lock: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on the file `lock`. `waits` is called first if another process holds it."""
    with lock.open("a") as file:
        if not locked(file):
            waits()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def labelled_lock(
    path: Path, label: bytes, *, mode: int = 0o600, take: Callable[[int], bool] | None = None
) -> Iterator[bool]:
    """Hold the lock of the file `path`, which then contains `label`; yield False if another process holds it.

    `take` tries to take the lock of the open file; by default it is `locked`. Raises what `take` raises.
    """
    opened, holder = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode), os.getpid()
    ours = False
    try:
        if ours := (take or locked)(opened):
            with suppress(OSError):  # on a full disk the lock works without its label
                os.ftruncate(opened, 0)
                os.pwrite(opened, label, 0)
        yield ours
    finally:
        if ours and os.getpid() == holder:  # closing it is not enough if a forked process that lives on has it open
            fcntl.flock(opened, fcntl.LOCK_UN)
        os.close(opened)


def locked(opened: IO[Any] | int, *, shared: bool = False) -> bool:
    """Take the kernel's lock on an open file without waiting; with `shared`, together with other shared holders. False
    if another process has it.

    The kernel frees the lock when the process dies, however it dies. Raises OSError if the file system has no locks.
    """
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of a file or a folder; False if the file does not exist.

    Two processes that check at the same time do not see each other as holders. Raises OSError.
    """
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


def _clean_up(path: Path) -> None:
    """Restore an old folder if `path` is missing, and delete replaced folders and the leftovers of crashes."""
    for old in sorted(path.parent.glob(f".{path.name}.*.old")):
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)
    remove_abandoned(path.parent, f".{path.name}.*.partial")


def remove_abandoned(place: Path, pattern: str, after_s: float = _ABANDONED_S) -> None:
    """Delete the folders that a killed process left in `place`. Their users lock them, but some time may pass between
    making and locking one: less than `after_s`. What cannot be deleted stays."""
    for folder in place.glob(pattern):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > after_s and not is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap the two paths in one step; False if the system or the file system cannot do it."""
    one, other = os.fsencode(first), os.fsencode(second)
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(here, one, here, other, exchange) == 0)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        swap = 2  # RENAME_SWAP
        return bool(libc.renamex_np(one, other, swap) == 0)
    return False


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems refuse it for folders
            os.fsync(opened)
    finally:
        os.close(opened)
