"""Tables of very many ids."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.id_map import IdList, IdMap
from schemas.identity import content_id, content_id_of_list

IDS = st.one_of(st.integers(0, 50).map(lambda n: content_id("test", n)), st.text(max_size=33))


def peak_memory(make: Callable[[], Any]) -> int:
    """The peak number of bytes allocated while `make` runs."""
    tracemalloc.start()
    try:
        kept = make()
        _, most = tracemalloc.get_traced_memory()
        del kept
        return most
    finally:
        tracemalloc.stop()


@given(st.lists(st.tuples(IDS, st.integers(0, 2**32 - 2), st.booleans())))
def test_id_map_behaves_like_a_dict(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever the ids are, and in whatever order numbers are set, unconditionally or with setdefault, it holds what a
    dict holds."""
    table, held = IdMap(), dict[str, int]()
    for id_, number, overwrites in steps:
        if overwrites:
            table[id_] = held[id_] = number
        else:
            assert table.setdefault(id_, number) == held.setdefault(id_, number)
    assert len(table) == len(held)
    assert {id_: table[id_] for id_ in held} == held
    assert all((id_ in table) == (id_ in held) for id_, _, _ in steps)
    assert table.get("another") is None


def test_a_table_of_ids_takes_at_most_40_bytes_a_row() -> None:
    """A dict takes some 200 bytes per row, and a table that stores its ids 64, and 90 while it grows: three such tables
    were most of the memory of a run with a million rows. Small numbers take less."""
    rows = 45_000  # just after it has grown

    def make(largest: int) -> IdMap:
        table = IdMap()
        for number in range(rows):
            table[content_id("row", number)] = min(number, largest)
        return table

    assert peak_memory(lambda: make(rows)) < 40 * rows
    assert peak_memory(lambda: make(200)) < 36 * rows
    table = make(rows)
    assert [table[content_id("row", number)] for number in range(0, rows, 997)] == list(range(0, rows, 997))


@given(st.lists(st.none() | IDS))
def test_list_of_ids_returns_its_values_unchanged(ids: list[str | None]) -> None:
    """Hashes take 16 bytes. Other texts and None are returned unchanged."""
    held = IdList()
    for id_ in ids:
        held.append(id_)
    assert [held[place] for place in range(len(held))] == ids


@given(st.lists(st.lists(st.text() | st.integers(0, 9), max_size=3)))
def test_id_of_a_stream_equals_the_id_of_the_list(parts: list[list[str | int]]) -> None:
    """Pools of earlier versions keep their ids, although a list of all their rows is no longer built."""
    assert content_id_of_list("pool", iter(parts)) == content_id("pool", parts)


def test_id_of_a_long_stream_equals_the_id_of_the_list() -> None:
    """The same holds for more rows than are hashed at a time."""
    parts = [[f"{number:032x}", 0, "é", ""] for number in range(2_600)]
    for rows in (499, 500, 501, 1_000, 2_600):
        assert content_id_of_list("pool", iter(parts[:rows])) == content_id("pool", parts[:rows])
