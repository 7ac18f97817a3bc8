"""Memory that nobody holds goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_MMAP_THRESHOLD = -3  # as glibc's malloc.h numbers them
_LARGE = 128 << 10  # bytes; what glibc begins with


def give_back_early() -> None:
    """From now on what a large array took is the system's again as soon as the array goes, and one that grows is moved
    without a copy.

    Left to itself glibc takes the largest block that was ever freed, up to 32 MB, for small from then on: arrays that
    grow with the rows leave holes in a heap that gives back nothing but its end.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """What a step that is over has left: Python keeps some objects of each kind for the next one of it, and where they
    lie scattered none of their neighbours' memory goes back either."""
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
