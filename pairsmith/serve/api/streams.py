"""Streams that end when their reader loses access."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

Item = TypeVar("Item")
_ACCESS_CHECK_S = 5.0  # at most this long after losing access a stream still delivers items


async def while_allowed(items: AsyncIterator[Item], check_access: Callable[[], None]) -> AsyncIterator[Item | None]:
    """Yields the items, and None when there was none for some seconds.

    `check_access` is called every few seconds in a thread; the Refusal that it raises ends the stream.
    """
    following = asyncio.ensure_future(anext(items))
    checked_s = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_ACCESS_CHECK_S)
            if time.monotonic() - checked_s >= _ACCESS_CHECK_S:
                await asyncio.to_thread(check_access)  # a few threads check all streams
                checked_s = time.monotonic()
            if not done:
                yield None
                continue
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
            following = asyncio.ensure_future(anext(items))
    finally:
        following.cancel()
