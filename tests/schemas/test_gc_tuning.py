"""Garbage collection is made infrequent for a while, and then restored."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from schemas.gc_tuning import infrequent_gc


@pytest.fixture(autouse=True)
def _restore_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_thresholds_are_restored_however_the_block_ends() -> None:
    """After nested blocks, one of which fails, the collector has the process's thresholds again."""
    gc.set_threshold(700, 7, 8)
    with suppress(ValueError), infrequent_gc():
        assert gc.get_threshold() == (50_000, 7, 8)
        with infrequent_gc():
            assert gc.get_threshold() == (50_000, 7, 8)
        raise ValueError
    assert gc.get_threshold() == (700, 7, 8)


@pytest.mark.parametrize("young", [0, 100_000])
def test_even_less_frequent_collection_is_kept(young: int) -> None:
    """A process that has disabled the collector by its threshold, or has a higher one, keeps that."""
    gc.set_threshold(young, 10, 10)
    with infrequent_gc():
        assert gc.get_threshold()[0] == young


@pytest.mark.parametrize("ends_first", [0, 1])
def test_blocks_that_overlap_end_in_any_order(ends_first: int) -> None:
    """With two generations in one process, the first to end leaves the setting for the other, and the last one restores
    it."""
    gc.set_threshold(700, 7, 8)
    generations = [ExitStack(), ExitStack()]
    for generation in generations:
        generation.enter_context(infrequent_gc())
    generations[ends_first].close()
    assert gc.get_threshold() == (50_000, 7, 8)
    generations[1 - ends_first].close()
    assert gc.get_threshold() == (700, 7, 8)
