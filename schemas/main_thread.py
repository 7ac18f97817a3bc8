"""Runs a function in the main thread, the only one in which Python handles signals, while it waits for another one or
runs an event loop."""

from __future__ import annotations

import asyncio
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
_take_one: Callable[[], object] | None = None  # makes the main thread take a job; None: it takes none
_LOOK_EVERY_S = 0.2  # a signal that is delivered to another thread does not wake this one


def wait_for(ended: threading.Event) -> None:
    """Wait until `ended` is set, after which `wake` is to be called. The main thread meanwhile runs what other threads
    pass to `in_main_thread`."""
    if threading.current_thread() is not threading.main_thread():
        ended.wait()
        return
    with _accepting_jobs(lambda: None):
        while not ended.is_set():
            with suppress(queue.Empty):
                _jobs.get(timeout=_LOOK_EVERY_S)()


@contextmanager
def accepting_on_loop() -> Iterator[None]:
    """The running event loop, if it is the main thread's, runs what other threads pass to `in_main_thread`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    with _accepting_jobs(lambda: loop.call_soon_threadsafe(_run_one)):
        yield


def wake() -> None:
    """Make `wait_for` look again whether its event is set."""
    _pass(lambda: None)


def in_main_thread(compute: Callable[[], Result]) -> Result:
    """The result of `compute`, called in the main thread if that accepts jobs, else in this one. It must be short and
    wait for nothing. A KeyboardInterrupt in it is raised in both threads."""
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

    return future.result() if _pass(job) else compute()


def _pass(job: Callable[[], object]) -> bool:
    with _lock:
        if _take_one is not None:
            _jobs.put(job)
            _take_one()
        return _take_one is not None


@contextmanager
def _accepting_jobs(take_one: Callable[[], object]) -> Iterator[None]:
    global _take_one
    before, _take_one = _take_one, take_one
    try:
        yield
    finally:
        with _lock:
            _take_one = before
        with suppress(queue.Empty):
            while True:
                _jobs.get_nowait()()


def _run_one() -> None:
    with suppress(queue.Empty):
        _jobs.get_nowait()()


def _forget() -> None:
    global _take_one, _lock
    _take_one, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)  # in which another thread may be the main one
