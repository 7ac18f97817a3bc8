"""The memory that this process may use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Where Linux exposes a container's memory limit: cgroups v2, and v1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total_bytes() -> int:
    """The memory of this machine, or of the container. Raises ValueError or OSError if the system does not report
    it."""
    return limit_to_container(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def free_bytes() -> int:
    """Available memory on Linux, elsewhere half of the total; in a container at most its limit. Raises as
    `total_bytes`."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return limit_to_container(1024 * int(available.split()[1]))
    return total_bytes() // 2


def limit_to_container(total: int, limits: Sequence[Path] = _LIMITS) -> int:
    """The part of `total` bytes of the machine that a container allows this process; beyond it the kernel kills the
    process."""
    for limit in limits:
        try:
            limit_bytes = limit.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        total = min(total, int(limit_bytes)) if limit_bytes.isdigit() else total
    return total
