"""Async code from plain Python: scripts, notebooks and their cells, where a loop may run already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from schemas.errors import UsageError

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` to its end on a private event loop in a thread of its own, and return what it returns.

    Works whether or not a loop runs in the calling thread, which waits. Ctrl-C cancels the coroutine, waits until it
    has cleaned up, and is raised. Raises UsageError where the private loop itself would wait for its own next turn.
    """
    loop, ended, tasks = _loop(), threading.Event(), list[asyncio.Task[Result]]()
    try:
        refuse_within()
    except UsageError:
        coroutine.close()
        raise

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
    threading.Thread(target=_forever, args=(loop,), name="pairsmith-loop", daemon=True).start()
    return loop


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    """Run `loop` whatever comes: SystemExit in a task ends a loop, and who waits for the task would wait for ever."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def refuse_within() -> None:
    """Raises UsageError on the private loop: who waits there for what it does would wait for ever."""
    if asyncio._get_running_loop() is _loop():
        raise UsageError(
            "a function that pairsmith is calling called pairsmith and would wait for itself for ever.",
            fix="Call generate, curate and the like before, or in a plain function from texts to outputs, which has a "
            "thread of its own.",
        )


def is_cancelled() -> bool:
    """Whether the present task is asked to end: if not, a CancelledError in it is one of the code that it called."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all of `work`, in its order; where one raises, the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
