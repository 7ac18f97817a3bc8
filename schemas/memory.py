"""The memory that this process may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
# The files of a group of processes (cgroup), v2 and v1: limit, use, and what of the use is a copy of files.
_FILES = {
    "memory.max": ("memory.current", ("inactive_file", "active_file")),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


def total_bytes(root: Path = _ROOT) -> int:
    """The memory of this machine, or what the container or job allows. Raises ValueError or OSError if the system does
    not report it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit, _ in _limits(root))])


def available_bytes(root: Path = _ROOT) -> int | None:
    """Memory that is not in use, in a container or job at most what is left of its limit; None if the system does not
    report it (macOS)."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return min([1024 * int(available.split()[1]), *(left for _, left in _limits(root))])
    return None


def free_bytes() -> int:
    """`available_bytes`, or half of the total if that is unknown. Raises as `total_bytes`."""
    available = available_bytes()
    return total_bytes() // 2 if available is None else available


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python, CUDA, Apple's GPU and torch on a CPU report it in different ways."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Each memory limit on this process, beyond which the kernel kills it, and how much of it is left, in bytes.

    A group is limited by all groups that contain it. Inside a container, its own group is usually the outermost that
    can be seen.
    """
    for folder in _groups(root):
        for name, (use, reclaimable) in _FILES.items():
            with suppress(OSError, ValueError):  # no limit: the file is missing, or contains "max"
                limit = int((folder / name).read_text(encoding="ascii"))
                left = limit
                with suppress(OSError, ValueError):
                    used = int((folder / use).read_text(encoding="ascii"))
                    lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
                    statistics = dict(line.split(maxsplit=1) for line in lines)
                    left = limit - used + sum(int(statistics.get(each, 0)) for each in reclaimable)
                yield limit, max(0, min(limit, left))


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, v2 and v1, and of those that contain them."""
    places = {"": root / "sys/fs/cgroup", "memory": root / "sys/fs/cgroup/memory"}
    own = dict.fromkeys(places, Path())
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8")
        for controllers, path in re.findall(r"^\d+:([^:]*):/(.*)", lines, re.MULTILINE):
            own |= {each: Path(path) for each in controllers.split(",") if each in own and ".." not in path}
    for controller, place in places.items():
        for folder in (own[controller], *own[controller].parents):
            yield place / folder
