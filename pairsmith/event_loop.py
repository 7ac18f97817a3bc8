"""Runs asynchronous work to its end, also where an event loop runs already."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], runner: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run) -> T:
    """The result of `main`, on a loop of its own; in a notebook, where one runs in this thread, in another thread.

    `runner` makes the loop: `asyncio.run`, or `uvloop.run` where many requests are in flight.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return runner(main)
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(context.run(runner, main))
        except BaseException as error:
            result.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=work, daemon=True).start()
    return result.result()
