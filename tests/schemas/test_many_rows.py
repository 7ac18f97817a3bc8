"""Memory and time of a store and a process with very many rows."""

from __future__ import annotations

import platform
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.records import Call, Seed, Usage
from schemas.store import Store
from schemas.store.erase import Traces, erase, left_in
from schemas.store.opening import engine_of
from schemas.text_search import FileSearch, TextSearch

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

        @sa.event.listens_for(store.engine, "before_cursor_execute")
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


class CountedText(str):
    """A text that counts how often it is searched or sliced."""

    looks = 0

    def __contains__(self, part: str, /) -> bool:
        type(self).looks += 1
        return super().__contains__(part)

    def __getitem__(self, place: Any, /) -> str:
        type(self).looks += 1
        return super().__getitem__(place)


def test_text_is_read_once_however_many_are_searched_for(tmp_path: Path) -> None:
    """Erasing 1,000 of 10,000 rows searched every record and file for each of 4,000 texts: 42 s of CPU, and a hundred
    times that for ten times the rows. Now a text is looked at once per character."""
    texts = [f"Thank you for letter {number:06d}, which {'x' * (number % 7)}" for number in range(20_000)]
    others = CountedText("Thank you for letters. We will answer them, which takes some days, as soon as we can." * 3)
    assert TextSearch(texts).occurring(others) == []
    assert CountedText.looks < 10 * len(others)
    draw = random.Random(1)
    words = ["".join(draw.choices("ab", k=draw.randint(8, 14))) for _ in range(200)]
    for _ in range(50):
        within = "".join(draw.choices("ab", k=400))
        assert set(TextSearch(words).occurring(within)) == {word for word in words if word in within}
    file = tmp_path / "large"
    file.write_bytes(b"." * ((1 << 20) - 9) + b"caf\\u00e9 at the harbour" + b"." * (1 << 20))
    for more in ([], texts):
        assert FileSearch(["caf\u00e9 at the harbour", *more]).in_file(file)
        assert not FileSearch(["cafe at the harbour", *more]).in_file(file)


class CountedBytes(bytes):
    """A text that counts the slices taken of it."""

    slices = 0

    def __getitem__(self, place: Any, /) -> Any:
        type(self).slices += 1
        return super().__getitem__(place)


def test_texts_that_begin_alike_are_not_tried_one_after_the_other() -> None:
    """Rows of one template begin with the same words. Where these occur in a record, it was sliced for each different
    length among the texts, here a thousand times; now once."""
    texts = [b"Please translate this into French: %s" % (b"x" * length) for length in range(1, 1_001)]
    record = CountedBytes(b'{"input":"Please translate this into French: xxx. Please translate that, too."}')
    assert TextSearch[bytes](texts).occurring(record) == texts[2::-1]
    assert CountedBytes.slices <= 2


def test_erasing_reads_the_ledger_in_pages(tmp_path: Path) -> None:
    """Erasing takes as many queries for 3,000 answers as for three: one query for each was most of its time."""

    def queries(answers: int) -> int:
        count = 0
        with Store.open(f"sqlite:///{tmp_path / f'{answers}.db'}") as store:
            shared = {"teacher": "t", "endpoint": "e", "seconds": 0.1, "usage": Usage()}
            for number in range(answers):
                message = {"role": "user", "content": f"question {number}"}
                request = {"messages": [{"role": "system", "content": "Say it."}, message]}
                raw = {"message": {"content": f"answer {number}"}}
                answer = Call(
                    key=f"k{number}", attempt=1, status="ok", raw=raw, request_id=f"r{number}", sample=0, **shared
                )
                store.append(answer.model_copy(update={"request": request}))
            store.append().result()

            @sa.event.listens_for(store.engine, "before_cursor_execute")
            def _count(*_: Any) -> None:
                nonlocal count
                count += 1

            erase(store, Traces(texts={"answer 1 of them"}))
            assert left_in(store, ["answer 1"])
        return count

    assert queries(3) == queries(1_500)
