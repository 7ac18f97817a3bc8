"""Temporary folders that are also removed if the process ends without ending the blocks that use them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_present = set[str]()
os.register_at_fork(after_in_child=_present.clear)  # these are the parent's


@contextmanager
def temporary_folder(prefix: str = "pairsmith-", place: Path | None = None) -> Iterator[Path]:
    """A new folder in `place`, by default in that of temporary files. It is removed at the end of the block, or by
    `remove_temporary_folders`. Raises OSError."""
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix=prefix, dir=place)
    _present.add(folder.name)
    try:
        with folder as name:
            yield Path(name)
    finally:
        _present.discard(folder.name)


def remove_temporary_folders() -> None:
    """Remove the folders whose blocks have not ended, just before the process is ended."""
    import shutil

    for name in list(_present):
        shutil.rmtree(name, ignore_errors=True)
