"""How many cores this process may use, and how many threads."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores this process may run on, which in a container can be fewer than the machine has; at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """The threads of one operation on matrices: as many as `OMP_NUM_THREADS` says, else one a core."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else cores()
