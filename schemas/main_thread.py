"""Runs a function in the main thread, the only one in which Python handles signals, while it waits for another one."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TypeVar

Result = TypeVar("Result")

_jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
_lock = threading.Lock()
_is_waiting = False
_LOOK_EVERY_S = 0.2  # a signal that is delivered to another thread does not wake this one


def wait_for(ended: threading.Event) -> None:
    """Wait until `ended` is set, after which `wake` is to be called. The main thread meanwhile runs what other threads
    pass to `in_main_thread`."""
    if threading.current_thread() is not threading.main_thread():
        ended.wait()
        return
    with _accepting_jobs():
        while not ended.is_set():
            with suppress(queue.Empty):
                _jobs.get(timeout=_LOOK_EVERY_S)()


def wake() -> None:
    """Make `wait_for` look again whether its event is set."""
    with _lock:
        if _is_waiting:
            _jobs.put(lambda: None)


def in_main_thread(compute: Callable[[], Result]) -> Result:
    """The result of `compute`, called in the main thread if that is in `wait_for`, else in this one. It must be short
    and wait for nothing. A KeyboardInterrupt in it is raised in both threads."""
    if threading.current_thread() is threading.main_thread():
        return compute()
    future: Future[Result] = Future()

    def job() -> None:
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    with _lock:
        is_waiting = _is_waiting
        if is_waiting:
            _jobs.put(job)
    return future.result() if is_waiting else compute()


@contextmanager
def _accepting_jobs() -> Iterator[None]:
    global _is_waiting
    _is_waiting = True
    try:
        yield
    finally:
        with _lock:
            _is_waiting = False
        with suppress(queue.Empty):
            while True:
                _jobs.get_nowait()()


def _forget() -> None:
    global _is_waiting, _lock
    _is_waiting, _lock = False, threading.Lock()


os.register_at_fork(after_in_child=_forget)  # in which another thread may be the main one
