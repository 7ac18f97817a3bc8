"""What a store and a process hold of very many rows."""

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

# What of 10 MB is still the process's after it has gone, where 20 MB had gone before: the kernel's count, in MB.
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
def test_a_large_array_that_goes_leaves_no_hole() -> None:
    """Tables of ids grow with the rows and go with their step: what they took is the system's again, whatever small
    thing was put behind them. glibc by itself keeps it, once a larger one has gone."""
    held = subprocess.run([sys.executable, "-c", HELD_AFTER], capture_output=True, check=True)
    assert float(held.stdout) < 6


# How many pages the kernel clears while 8 MB come and go a hundred times.
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
def test_tensors_that_come_and_go_are_not_cleared_anew_each_time() -> None:
    """A model that is trained, or scores, in the process that has generated takes no longer for it: blocks of its size
    stay. Else a step on a CPU takes a sixth longer, and a sum of two tensors fifteen times as long."""
    cleared = subprocess.run([sys.executable, "-c", CLEARED], capture_output=True, check=True)
    assert int(cleared.stdout) < 20_000


def test_seeds_are_read_by_ranges_and_in_their_order(tmp_path: Path) -> None:
    """A page of seeds that lie one behind the other is asked for by its ends, not by two thousand numbers, each of
    which costs as much as a seed; seeds in another order, or with gaps between them, are the same ones."""
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


def test_who_writes_alone_goes_on_with_one_connection(tmp_path: Path) -> None:
    """SQLite keeps pages for each connection, and throws them away when another one has written: after several were
    open at once, what is done one after another is done over the same one."""
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
