"""Temporary folders that are also removed if the process ends without ending the blocks that use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_present = set[str]()


@contextmanager
def temporary_folder(prefix: str = "pairsmith-", place: Path | None = None) -> Iterator[Path]:
    """A new folder in `place`, by default in that of temporary files. It is removed at the end of the block, or by
    `remove_temporary_folders`. Raises OSError."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name:
        _present.add(name)
        try:
            yield Path(name)
        finally:
            _present.discard(name)


def remove_temporary_folders() -> None:
    """Remove the folders whose blocks have not ended, just before the process is ended."""
    import shutil

    for name in list(_present):
        shutil.rmtree(name, ignore_errors=True)
