"""Seeds in a file of their own."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest

from schemas.records import Message, Seed
from schemas.spec import SeedSource
from schemas.spooled_seeds import SpooledSeeds
from schemas.store import Store
from synth.seeds import read_seeds

SEEDS = [
    Seed(kind="input", text="a\nheron \x85\u2028", source="s:1", columns={"mood": "calm"}, meta={"use": "test"}),
    Seed(kind="pair", text="a kite", reference="red", source="s:2", license="MIT", split="test"),
    Seed(
        kind="conversation",
        messages=(Message(role="user", content="Hello\r\n?"),),
        reference="Hi.",
        source="s:3",
    ),
]


def test_a_file_of_seeds_is_a_list_of_them() -> None:
    """Seeds come back as they were, ids included, after more were put behind them and one was replaced."""
    kept, other = SpooledSeeds(), Seed(kind="input", text="a crow", source="s:9")
    for seed in SEEDS[:2]:
        kept.append(seed)
    assert list(kept) == SEEDS[:2]
    kept.append(SEEDS[2])
    assert kept == SEEDS
    assert [seed.id for seed in kept] == [seed.id for seed in SEEDS]
    assert (kept[0], kept[-1], kept[1:]) == (SEEDS[0], SEEDS[2], SEEDS[1:])
    kept[1] = other
    assert list(kept) == [SEEDS[0], other, SEEDS[2]]
    with pytest.raises(IndexError):
        kept[3]


def test_reading_very_many_seeds_takes_no_memory_for_each(tmp_path: Path) -> None:
    """Of each of 20,000 seeds there are at most 100 bytes in memory, however long they are."""
    rows = 20_000
    (tmp_path / "seeds.txt").write_text("\n".join(f"lighthouse {row} {'at dusk ' * 20}" for row in range(rows)))
    source = SeedSource(path="seeds.txt", kind="input")
    read_seeds([source.model_copy(update={"limit": 10})], tmp_path)  # what is made once
    tracemalloc.start()
    try:
        reading = read_seeds([source], tmp_path)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(reading.seeds) == rows
    assert size < 100 * rows + (1 << 20)  # and what of the file waits for the disk


def test_a_page_of_seeds_that_was_read_is_let_go_at_once(tmp_path: Path) -> None:
    """Going through 20,000 seeds of a store leaves nothing behind for Python's search for cycles, which is put off
    while a teacher is asked: the list of places of every page stayed with its statement until then."""
    seeds = [Seed(kind="input", text=f"lighthouse {row}", source=f"s:{row}") for row in range(20_000)]
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.set_active_seeds(seeds)
        del seeds
        active = store.active_seeds()
        assert sum(1 for _ in active) == 20_000  # what is made once
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            assert sum(1 for _ in active) == 20_000
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert size < 20 * 20_000
