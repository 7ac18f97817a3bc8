"""How many cores this process may use, and how many threads."""

from __future__ import annotations

import os

# A training step of a 135M model on two cores beside four busy processes took 15 s, and 5 s with this; without them 1.8
# and 1.7 s, and as many with fewer spins but for the smallest operations (bench of 27 November 2026, NOTES.md).
_SPINS = "5000"


def cores() -> int:
    """The cores this process may run on, which in a container can be fewer than the machine has; at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_shortly() -> None:
    """Let the threads of an operation give their core away soon when they wait for each other, unless the person has
    said how they wait (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`). Call it before torch is loaded; children inherit it.

    GNU OpenMP, which torch is built with on Linux, else lets them spin for milliseconds, on cores that the thread they
    wait for may need (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). Not covered: LLVM's (macOS).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def threads() -> int:
    """The threads of one operation on matrices: as many as `OMP_NUM_THREADS` says, else one a core."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdecimal() and int(setting) else cores()
