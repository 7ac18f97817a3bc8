"""Temporary folders that are also removed if the process ends without ending the blocks that use them: at its end, or
if it is killed, when the next one is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "pairsmith-held-"  # of folders that are locked as long as they are used
_present = set[str]()
os.register_at_fork(after_in_child=_present.clear)  # these are the parent's


@contextmanager
def temporary_folder(prefix: str = _PREFIX, place: Path | None = None) -> Iterator[Path]:
    """A new folder in `place`, by default in that of temporary files. It is removed at the end of the block, or by
    `remove_temporary_folders`; without a `prefix` of its own, so are those of killed processes. Raises OSError."""
    import tempfile

    from schemas.files import locked, remove_abandoned

    if prefix == _PREFIX:
        remove_abandoned(place or Path(tempfile.gettempdir()), f"{_PREFIX}*", after_s=60.0)
    folder = tempfile.TemporaryDirectory(prefix=prefix, dir=place)
    _present.add(folder.name)
    descriptor = os.open(folder.name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # where nothing can be locked, nothing is taken for abandoned either
            locked(descriptor)
        with folder as name:
            yield Path(name)
    finally:
        os.close(descriptor)
        _present.discard(folder.name)


def remove_temporary_folders() -> None:
    """Remove the folders whose blocks have not ended, just before the process is ended."""
    import shutil

    for name in list(_present):
        shutil.rmtree(name, ignore_errors=True)
