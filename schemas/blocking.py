"""Runs async code from plain Python: from scripts and notebooks, where an event loop may already be running."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

from schemas.errors import UsageError
from schemas.main_thread import wait_for, wake

Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` to completion on a private event loop in its own thread, and return its result.

    It blocks the calling thread and works whether or not a loop is running there. Ctrl-C cancels the coroutine, waits
    for its cleanup, and is raised. If the coroutine computes for so long that it cannot be cancelled, the interrupt is
    raised inside it instead. Raises UsageError if called from the private loop, which would wait for itself.
    """
    (loop, thread), tasks = _loop(), list[asyncio.Task[Result]]()
    ended, cancelled, interrupted = threading.Event(), threading.Event(), threading.Event()
    try:
        refuse_on_private_loop()
    except UsageError:
        coroutine.close()
        raise

    def end(task: asyncio.Task[Result]) -> None:
        ended.set()
        wake()

    def begin() -> None:
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(end)

    def give_up(again: bool = False) -> None:
        if cancelled.is_set():
            return
        # If the first of two calls runs, the interrupt was raised in the task, whose cleanup a cancellation would cut.
        for task in tasks if again or not interrupted.is_set() else ():
            task.cancel()
        if not tasks:  # Ctrl-C came before it started
            coroutine.close()
            ended.set()
        cancelled.set()

    try:
        loop.call_soon_threadsafe(begin)
        wait_for(ended)
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(give_up)
        computing = None if cancelled.wait(_BUSY_S) or ended.is_set() else asyncio.current_task(loop)
        if computing:
            import ctypes

            if computing in tasks:
                interrupted.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
            loop.call_soon_threadsafe(give_up, True)  # because the interrupt may be raised in the first one
        ended.wait()
        for task in tasks:
            _ = task.cancelled() or task.exception()  # or asyncio prints that it was never retrieved
        raise
    return tasks[0].result()


_BUSY_S = 1.0  # after which a loop that has not answered is computing


@cache
def _loop() -> tuple[asyncio.AbstractEventLoop, int]:
    """The private loop, and the identifier of its thread."""
    try:
        import uvloop
    except ImportError:  # the service forbids it: see pairsmith/serve/network.py
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    thread = threading.Thread(target=_run_forever, args=(loop,), name="pairsmith-loop", daemon=True)
    thread.start()
    return loop, thread.ident or 0


@atexit.register
def _halt_loop() -> None:
    """Make the loop's thread wait for nothing, with all that it holds, until the process ends. If a timer or a
    connection woke uvloop after Python has shut down, the process would end with a segmentation fault, although all its
    work is done."""
    if not _loop.cache_info().currsize:
        return
    (loop, _), halted = _loop(), threading.Event()
    _loop.cache_clear()

    def halt() -> None:
        halted.set()
        threading.Event().wait()

    loop.call_soon_threadsafe(halt)
    halted.wait(_BUSY_S)


os.register_at_fork(after_in_child=_loop.cache_clear)  # the thread of the loop exists only in the parent


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    """Keep `loop` running: a SystemExit in a task stops the loop, and the caller waiting for that task would hang."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def refuse_on_private_loop() -> None:
    """Raise UsageError when called on the private loop, where waiting for its own result would block forever."""
    if asyncio._get_running_loop() is _loop()[0]:
        raise UsageError(
            "a function called by pairsmith called pairsmith again and would wait for itself forever.",
            fix="Call generate, curate and the like beforehand, or from a plain (not async) function from texts to "
            "outputs, which runs in its own thread.",
        )


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `work` in a thread beside the block. At the end its event is set, and the thread is waited for."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_cancelled() -> bool:
    """Whether the current task is being cancelled. If not, a CancelledError in it comes from the code it called."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all of `work`, in order. If one raises, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
