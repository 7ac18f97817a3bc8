"""Memory and time of a store and a process with very many rows."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.records import Seed
from schemas.store import Store
from schemas.store.opening import engine_of

# The memory of a freed 10 MB block that the process still holds, after 20 MB were freed before: the kernel's count, in
# MB.
HELD_AFTER = """
import os
from schemas.allocator import return_large_arrays_early

return_large_arrays_early()

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
larger = bytearray(os.urandom(1)) * 20_000_000
del larger
before = held()
large = bytearray(os.urandom(1)) * 10_000_000
small = [bytearray(100_000) for _ in range(20)]
del large
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc learns to keep large blocks")
def test_freed_large_array_is_returned_to_the_system() -> None:
    """Tables of ids grow with the rows and are freed with their step. Their memory goes back to the system, whatever
    small objects were allocated after them. By default glibc keeps it once a larger one was freed."""
    held = subprocess.run([sys.executable, "-c", HELD_AFTER], capture_output=True, check=True)
    assert float(held.stdout) < 6


# The number of pages that the kernel clears while 8 MB are allocated and freed a hundred times.
CLEARED = """
import resource
from schemas.allocator import return_large_arrays_early, keep_large_blocks

return_large_arrays_early()
keep_large_blocks()
block = bytearray(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    block = None
    block = bytearray(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_tensor_memory_is_reused() -> None:
    """Training or scoring with a model is not slower in a process that has generated before, because blocks of that
    size are kept. Otherwise a step on a CPU takes a sixth longer, and a sum of two tensors fifteen times as long."""
    cleared = subprocess.run([sys.executable, "-c", CLEARED], capture_output=True, check=True)
    assert int(cleared.stdout) < 20_000


def test_seeds_are_read_by_ranges_and_in_their_order(tmp_path: Path) -> None:
    """A page of consecutive seeds is queried by its ends, not by two thousand numbers, each of which costs as much as a
    seed. Seeds in another order, or with gaps, are returned correctly as well."""
    seeds = [Seed(kind="input", text=f"seed {number}", source=f"s:{number}") for number in range(3_000)]
    bound: list[int] = []
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.set_active_seeds(seeds)
        active = store.active_seeds()

        @sa.event.listens_for(store._engine, "before_cursor_execute")
        def _count(_c: Any, _cursor: Any, _sql: str, given: Any, *_: Any) -> None:
            bound.append(len(given))

        assert list(active) == seeds
        assert max(bound) <= 2
        for some in (seeds[::-1], seeds[::3], [*seeds[1_000:], *seeds[:500]]):
            store.set_active_seeds(some)
            assert list(store.active_seeds()) == some


def test_sequential_work_uses_one_connection(tmp_path: Path) -> None:
    """SQLite caches pages per connection and drops them when another connection has written. After several were open at
    once, sequential work uses a single one."""
    engine = engine_of(f"sqlite:///{tmp_path / 'one.db'}")
    several = [engine.connect() for _ in range(3)]
    for connection in several:
        connection.close()
    used = set()
    for _ in range(6):
        with engine.connect() as connection:
            used.add(id(connection.connection.driver_connection))
    engine.dispose()
    assert len(used) == 1
