"""The search for cycles is put off for a while, and as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from schemas.gc_tuning import infrequent_gc


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_is_as_before_however_the_block_ends() -> None:
    """Blocks in blocks, one of which fails: the collector's thresholds are those of the process again."""
    gc.set_threshold(700, 7, 8)
    with suppress(ValueError), infrequent_gc():
        assert gc.get_threshold() == (50_000, 7, 8)
        with infrequent_gc():
            assert gc.get_threshold() == (50_000, 7, 8)
        raise ValueError
    assert gc.get_threshold() == (700, 7, 8)


@pytest.mark.parametrize("young", [0, 100_000])
def test_who_wants_it_more_seldom_still_gets_that(young: int) -> None:
    """A process that has switched the collector off by its threshold, or waits for longer, keeps that."""
    gc.set_threshold(young, 10, 10)
    with infrequent_gc():
        assert gc.get_threshold()[0] == young


@pytest.mark.parametrize("ends_first", [0, 1])
def test_blocks_that_overlap_end_in_any_order(ends_first: int) -> None:
    """Two generations of one process: what ends first leaves it put off for the other, the other puts it back."""
    gc.set_threshold(700, 7, 8)
    generations = [ExitStack(), ExitStack()]
    for generation in generations:
        generation.enter_context(infrequent_gc())
    generations[ends_first].close()
    assert gc.get_threshold() == (50_000, 7, 8)
    generations[1 - ends_first].close()
    assert gc.get_threshold() == (700, 7, 8)
