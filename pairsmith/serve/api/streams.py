"""Answers that take long: streams end when their reader loses access, other answers when nobody waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from fastapi import Request

from pairsmith.serve.problems import Refusal

Item = TypeVar("Item")
_ACCESS_CHECK_S = 5.0  # at most this long after losing access a stream still delivers items


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """End the block as soon as the client of `request` has disconnected, with a Refusal that nobody reads. A streaming
    response notices by itself."""
    with anyio.CancelScope() as scope:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":  # the body has been read
                pass
            scope.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
    if scope.cancelled_caught:
        raise Refusal(499, "the client has disconnected.", code="disconnected")


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
