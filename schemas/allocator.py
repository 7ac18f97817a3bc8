"""Memory that nobody holds goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # as glibc's malloc.h numbers them
_LARGE = 128 << 10  # bytes; what glibc begins with
_LARGEST = 32 << 20  # where it ends
_NOT_GLIBC = (AttributeError, OSError)  # another C library; one that is a part of Python, in which nothing is looked up


def give_back_early() -> None:
    """From now on what a large array took is the system's again as soon as the array goes, and one that grows is moved
    without a copy.

    Left to itself glibc takes the largest block that was ever freed, up to 32 MB, for small from then on: arrays that
    grow with the rows leave holes in a heap that gives back nothing but its end.
    """
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def keep_large() -> None:
    """From now on what a large array took stays the process's, for the next one: what glibc learns by itself where
    tensors come and go, each of which would else be cleared page by page (a seventh of a training step on a CPU)."""
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGEST)
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)


def one_heap() -> None:
    """Let threads share a heap: glibc has one for each of some threads, and keeps what was once used in every one."""
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """What a step that is over has left: Python keeps some objects of each kind for the next one of it, and where they
    lie scattered none of their neighbours' memory goes back either."""
    gc.collect()
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)
