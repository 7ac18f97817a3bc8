"""Seeds in a temporary file."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import NoWork, StoreError
from schemas.identity import Json
from schemas.records import Message, Seed
from schemas.spec import SeedSource
from schemas.spooled_seeds import SpooledSeeds, seed_bodies, seed_body
from schemas.store import Store
from synth.sources.seeds import read_seeds

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


def test_spooled_seeds_behave_like_a_list() -> None:
    """Seeds are read back unchanged, with their ids, also after more were appended and one was replaced."""
    kept, other = SpooledSeeds(), Seed(kind="input", text="a crow", source="s:9")
    for seed in SEEDS[:2]:
        kept.append(seed)
    assert list(kept) == SEEDS[:2]
    kept.append(SEEDS[2])
    assert kept == SEEDS
    assert [seed.id for seed in kept] == [seed.id for seed in SEEDS]
    assert (kept[0], kept[-1], kept[1:]) == (SEEDS[0], SEEDS[2], SEEDS[1:])
    assert kept.kinds == {"input": 1, "pair": 1, "conversation": 1}
    kept[1] = other
    assert list(kept) == [SEEDS[0], other, SEEDS[2]]
    with pytest.raises(IndexError):
        kept[3]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["\0", "\x1c\x85\r", '",{"null']
)
LEAF = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
META = st.dictionaries(
    TEXT, st.recursive(LEAF, lambda part: st.lists(part) | st.dictionaries(TEXT, part), max_leaves=4)
)
CHAT = st.lists(st.builds(Message, role=st.just("user"), content=TEXT), min_size=1, max_size=2).map(tuple)
SIDES = st.fixed_dictionaries({"text": TEXT}) | st.fixed_dictionaries({"messages": CHAT})
FIELDS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["input", "output", "pair", "conversation"]), "source": TEXT},
    optional={
        "license": st.none() | TEXT,
        "meta": META,
        "columns": st.dictionaries(TEXT, TEXT),
        "reference": st.none() | TEXT,
        "split": st.sampled_from([None, "train", "test"]),
    },
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FIELDS, SIDES), max_size=4))
def test_seed_read_without_validation_equals_a_validated_one(fields: list[tuple[Json, Json]]) -> None:
    """Whatever its texts and its meta contain, and whichever fields it was created from."""
    spooled = SpooledSeeds()
    for own, sides in fields:
        spooled.append(Seed(**own, **sides))
    for seed, (id_, body) in zip(spooled, seed_bodies(spooled), strict=True):
        read = Seed.model_validate_json(body)
        assert seed == read
        assert seed.id == read.id == id_
        assert seed_body(seed) == seed_body(read) == body
        assert seed.model_dump_json() == read.model_dump_json()


def test_reading_20_000_seeds_takes_at_most_100_bytes_each(tmp_path: Path) -> None:
    """Each of 20,000 seeds takes at most 100 bytes in memory, however long it is."""
    rows = 20_000
    (tmp_path / "seeds.txt").write_text("\n".join(f"lighthouse {row} {'at dusk ' * 20}" for row in range(rows)))
    source = SeedSource(path="seeds.txt", kind="input")
    read_seeds([source.model_copy(update={"limit": 10})], tmp_path)  # fills caches
    tracemalloc.start()
    try:
        reading = read_seeds([source], tmp_path)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(reading.seeds) == rows
    assert size < 100 * rows + (1 << 20)  # plus the part of the file that is not yet written to disk


def test_page_of_seeds_is_freed_at_once(tmp_path: Path) -> None:
    """Iterating over 20,000 seeds of a store leaves no cycles for the garbage collector, which runs rarely while a
    teacher is in use. The list of positions of every page used to stay alive with its statement until the next
    collection."""
    seeds = [Seed(kind="input", text=f"lighthouse {row}", source=f"s:{row}") for row in range(20_000)]
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.set_active_seeds(seeds)
        del seeds
        active = store.active_seeds()
        assert sum(1 for _ in active) == 20_000  # fills caches
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


def test_some_of_the_active_seeds_are_read_alone(tmp_path: Path) -> None:
    """A slice, a place, and the seeds that contain a text are what the list of all seeds has there. The others are not
    read: a damaged one among them does no harm."""
    seeds = [
        Seed(kind="input", text=f"seed {n}", source=f"s:{n}", split="test" if n % 3 else "train") for n in range(9)
    ]
    seeds += [Seed(kind="input", text='the "test"', source="s:9", split="train"), *SEEDS]
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.set_active_seeds(seeds[::-1])
        store.set_active_seeds(seeds)
        active = store.active_seeds()
        assert (active[::4], active[2:5], active[3], active[-1]) == (seeds[::4], seeds[2:5], seeds[3], seeds[-1])
        assert list(active.containing('"split":"test"')) == [seed for seed in seeds if seed.split == "test"]
        assert list(active.containing('\\"test\\"')) == [seeds[9]]
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE seeds SET body = 'damaged' WHERE active = 0")
        assert (active[4::4], list(active.containing("conversation"))) == (seeds[4::4], seeds[-1:])
        with pytest.raises(StoreError):
            list(active)


def test_a_seed_that_was_erased_meanwhile_ends_no_iteration(tmp_path: Path) -> None:
    """Its place raised StopIteration, which a loop over places takes for the end: the seeds after it were left out."""
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        store.set_active_seeds(SEEDS)
        active = store.active_seeds()
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM seeds WHERE active = 1")
        assert list(active) == [SEEDS[0], SEEDS[2]]
        with pytest.raises(NoWork, match="erased while"):
            list(map(active.__getitem__, range(3)))
