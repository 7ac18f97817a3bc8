"""A file system that a test can fill."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of that size; skips the test where none can be mounted."""
    disk = Path(tempfile.mkdtemp(prefix="disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    try:
        if mounted.returncode != 0:
            pytest.skip("a small file system cannot be mounted here")
        yield disk
    finally:
        if mounted.returncode == 0:
            _unmount(disk)
        shutil.rmtree(disk, ignore_errors=True)


def _unmount(disk: Path) -> None:
    """Unmount it, retrying: a process that is shutting down holds its log open until it ends, some milliseconds
    later."""
    deadline = time.monotonic() + 100
    while (unmounted := subprocess.run(["umount", disk], capture_output=True, text=True)).returncode != 0:
        assert time.monotonic() < deadline, unmounted.stderr
        time.sleep(0.1)


def fill_up(file: Path) -> None:
    """Use all the space left on the disk of `file`."""
    with file.open("wb", buffering=0) as rest:
        for size in (65536, 512):
            with contextlib.suppress(OSError):
                while True:
                    rest.write(b"x" * size)
    assert shutil.disk_usage(file.parent).free == 0
