"""Errors of the file system as sentences, for the commands and the functions of the Python API."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.cache import cache_folder
from schemas.errors import DISK_FULL, PairsmithError, StoreError, StoreFull, UsageError

_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_WRONG_KIND = (errno.ENOTDIR, errno.EISDIR)
_OTHER = {
    errno.ELOOP: "Remove the link that leads back to itself, or choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def in_words() -> Iterator[None]:
    """Raises the PairsmithError for an OSError of the block that is no defect of pairsmith."""
    try:
        yield
    except OSError as error:
        if (worded := error_for(error)) is None:
            raise
        raise worded from error
    except ValueError as error:
        if str(error) != "embedded null byte":
            raise
        raise UsageError("a path contains a NUL character.", fix="Give it without.") from error


def error_for(error: OSError) -> PairsmithError | None:
    """The sentence about a full disk or a path that cannot be used; None if the error may be a defect of pairsmith."""
    why = os.strerror(error.errno or 0)
    if error.errno in DISK_FULL:
        return StoreFull(
            f"no more data can be written ({why}).",
            # a copy has both
            where=str(error.filename2 or error.filename or "standard output, or a file of the project"),
            fix="Free some space there, then run the same command again: everything finished is in the store.",
        )
    if error.filename and (fix := _fix_for_path(error)):
        return StoreError(f"it cannot be used ({why}).", where=str(error.filename), fix=fix)
    return None


def _fix_for_path(error: OSError) -> str | None:
    """How to fix a path that cannot be used; None if the error may be a defect of pairsmith."""
    if error.errno in _NO_ACCESS:
        other = "set PAIRSMITH_CACHE to a folder of your own" if _is_of_cache(error) else "choose another path"
        return f"Give the user who runs pairsmith read and write access there, or {other}."
    # Folders are created with exist_ok, so an existing path here must be a file.
    is_file = error.errno == errno.EEXIST and Path(os.fsdecode(error.filename)).is_file()
    if error.errno in _WRONG_KIND or is_file:
        return (
            "There is a file where a folder is needed, or a folder where a file is needed: move it away, or choose "
            "another path."
        )
    return _OTHER.get(error.errno or 0)


def _is_of_cache(error: OSError) -> bool:
    """Whether the path is in the cache folder, or would have to be created for it."""
    path = Path(os.fsdecode(error.filename))
    with suppress(PairsmithError):
        cache = cache_folder()
        return path.is_relative_to(cache) or (cache.is_relative_to(path) and not path.exists())
    return False
