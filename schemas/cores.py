"""The processor: how many cores and threads this process may use, and whether it multiplies bfloat16."""

from __future__ import annotations

import os
import re
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one on ARM
# A training step of a 135M model on two cores beside four busy processes took 15 s, and 5 s with this setting. On an
# idle machine it took 1.8 and 1.7 s. Fewer spins made no difference except for the smallest operations (bench of 27
# November 2026, NOTES.md).
_SPINS = "5000"


def cores() -> int:
    """The number of cores this process may run on, at least 1; in a container it can be lower than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_spin_waits() -> None:
    """Make OpenMP threads yield their core soon while they wait for each other, unless the user has configured this
    (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`). Call it before torch is loaded; child processes inherit it.

    GNU OpenMP, which torch is built with on Linux, otherwise lets waiting threads spin for milliseconds on cores that
    the thread they wait for may need (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). Not covered:
    LLVM's OpenMP (macOS).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def threads() -> int:
    """The number of threads for one matrix operation: `OMP_NUM_THREADS` if it is set, otherwise one per core."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdecimal() and int(setting) else cores()


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for it, according to Linux; False elsewhere.

    What torch calls support may be emulation: on x86, oneDNN supports bfloat16 from AVX-512 on, but without such
    instructions products of 512 rows took 3.6 times as long as in float32 (Xeon, 2 cores).
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    match = re.search(r"^(?:flags|Features)\s*:(.*)", text, re.MULTILINE)
    return match is not None and not _BFLOAT16.isdisjoint(match[1].split())
