"""Async code from plain Python: scripts, notebooks and their cells, where a loop may run already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` to its end on a private event loop in a thread of its own, and return what it returns.

    Works whether or not a loop runs in the calling thread, which waits. Ctrl-C cancels the coroutine, waits until it
    has cleaned up, and is raised. Must not be called from code that runs on the private loop itself.
    """
    loop, ended, tasks = _loop(), threading.Event(), list[asyncio.Task[Result]]()

    def begin() -> None:
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(lambda _: ended.set())

    def give_up() -> None:
        for task in tasks:
            task.cancel()
        if not tasks:  # Ctrl-C came before it had begun
            coroutine.close()
            ended.set()

    try:
        loop.call_soon_threadsafe(begin)
        # In steps, because a signal that reaches another thread does not wake this one.
        while not ended.wait(0.2):
            pass
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(give_up)
        ended.wait()
        raise
    return tasks[0].result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it is not made for Windows
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, name="pairsmith-loop", daemon=True).start()
    return loop


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all of `work`, in its order; where one raises, the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
