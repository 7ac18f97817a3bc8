"""Async code from plain code: results, errors, a loop that runs already, and Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from schemas.blocking import run


async def answer(delay_s: float = 0.0) -> int:
    await asyncio.sleep(delay_s)
    return 42


def test_it_returns_and_raises_what_the_coroutine_does() -> None:
    """As `asyncio.run` would, also one call after another on the same loop."""

    async def broken() -> None:
        raise ValueError("no")

    assert [run(answer()), run(answer(0.01))] == [42, 42]
    with pytest.raises(ValueError, match="no"):
        run(broken())


def test_it_works_inside_a_running_loop() -> None:
    """A notebook's cell runs on a loop, where `asyncio.run` refuses."""

    async def cell() -> int:
        return run(answer())

    assert asyncio.run(cell()) == 42


def test_ctrl_c_cancels_and_waits_for_the_cleaning_up() -> None:
    """KeyboardInterrupt reaches the caller only after the coroutine has left its `finally`."""
    cleaned = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    # As in a script, whatever handler an earlier test of this process has left.
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(endless())
    finally:
        signal.signal(signal.SIGINT, left)
    assert cleaned.is_set()
    assert time.monotonic() - started < 10
