"""The search for cycles is put off for a while, and as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from schemas.cycles import seldom_sought


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_is_as_before_however_the_block_ends() -> None:
    """Blocks in blocks, one of which fails: the collector's thresholds are those of the process again."""
    gc.set_threshold(700, 7, 8)
    with suppress(ValueError), seldom_sought():
        assert gc.get_threshold() == (50_000, 7, 8)
        with seldom_sought():
            assert gc.get_threshold() == (50_000, 7, 8)
        raise ValueError
    assert gc.get_threshold() == (700, 7, 8)


@pytest.mark.parametrize("young", [0, 100_000])
def test_who_wants_it_more_seldom_still_gets_that(young: int) -> None:
    """A process that has switched the collector off by its threshold, or waits for longer, keeps that."""
    gc.set_threshold(young, 10, 10)
    with seldom_sought():
        assert gc.get_threshold()[0] == young


def test_blocks_that_overlap_leave_the_collector_as_it_was() -> None:
    """Two threads, each with a project of its own, need not end in the order in which they began."""
    before = gc.get_threshold()
    first, second = seldom_sought(), seldom_sought()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() != before, "the second still makes rows"
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
