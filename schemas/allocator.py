"""Returns unused memory to the operating system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # as glibc's malloc.h numbers them
_LARGE = 128 << 10  # bytes; glibc's initial threshold
_LARGEST = 32 << 20  # bytes; glibc's maximum threshold
_NOT_GLIBC = (AttributeError, OSError)  # another C library, or one linked statically into Python


def return_large_arrays_early() -> None:
    """From now on, return the memory of a large array to the system as soon as it is freed, and grow arrays without
    copying.

    By default glibc raises its threshold to the largest block ever freed, up to 32 MB. Arrays that grow with the number
    of rows then leave holes in the heap, of which only the end can be returned.
    """
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def keep_large_blocks() -> None:
    """From now on, keep the memory of freed large arrays in the process for the next ones.

    glibc adapts in this way by itself where tensors are allocated and freed repeatedly. Otherwise each of them would be
    zeroed page by page, which takes a seventh of a training step on a CPU.
    """
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGEST)
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)


def use_single_heap() -> None:
    """Let all threads share one heap. By default glibc creates several arenas and keeps the peak usage of each."""
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return what a finished step has left behind.

    Python keeps free lists of some object types, and if these objects are scattered, their neighbours' memory cannot be
    returned either.
    """
    gc.collect()
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)
