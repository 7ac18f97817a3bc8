"""Async code from synchronous code: results, errors, a loop that is already running, and Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.blocking import run

ROOT = Path(__file__).parents[2]


async def answer(delay_s: float = 0.0) -> int:
    await asyncio.sleep(delay_s)
    return 42


def test_it_returns_and_raises_what_the_coroutine_does() -> None:
    """Like `asyncio.run`, also for several calls in a row on the same loop."""

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


@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_ctrl_c_cancels_and_waits_for_cleanup(after_s: float) -> None:
    """KeyboardInterrupt reaches the caller only after the coroutine has finished its `finally`, from its very first
    moment on."""
    cleaned = threading.Event()

    async def endless() -> None:
        try:
            if after_s:
                threading.Timer(after_s, signal.raise_signal, (signal.SIGINT,)).start()
            else:
                os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    # As in a script, whatever handler an earlier test in this process has left.
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(endless())
    finally:
        signal.signal(signal.SIGINT, left)
    assert cleaned.is_set()
    assert time.monotonic() - started < 100


@pytest.mark.slow
def test_ctrl_c_ends_a_coroutine_that_computes_without_awaiting() -> None:
    """Comparing all rows takes minutes on the loop, which cannot be cancelled meanwhile: the interrupt is raised in
    the computation, its whole `finally` runs, and the loop serves the next call."""
    ended = list[str]()

    async def computing() -> None:
        try:
            threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
            for _ in range(2_000_000_000):
                pass
            ended.append("computed")
        finally:
            await asyncio.sleep(0.05)
            ended.append("cleaned")

    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(computing())
    finally:
        signal.signal(signal.SIGINT, left)
    assert ended == ["cleaned"]
    assert run(answer()) == 42


@pytest.mark.slow
def test_ctrl_c_after_a_call_that_runs_no_python_is_not_lost() -> None:
    """The interrupt is raised at the next Python code of the loop, which may be the one that cancels the coroutine. It
    would then run on to its end, perhaps for hours."""
    left = signal.signal(signal.SIGINT, signal.default_int_handler)

    async def waiting() -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 2)
        threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
        await asyncio.sleep(600)

    try:
        with pytest.raises(KeyboardInterrupt):
            run(waiting())
    finally:
        signal.signal(signal.SIGINT, left)
    assert run(answer()) == 42


WAKES_LATE = """
import asyncio, ctypes
from schemas.blocking import run

async def leaves_a_timer():
    asyncio.get_running_loop().call_later(0.5, print)

run(leaves_a_timer())
ctypes.pythonapi.Py_AtExit(ctypes.CDLL(None).getchar)
"""


@pytest.mark.slow
def test_a_loop_that_would_wake_while_python_ends_does_not_crash_it() -> None:
    """A machine under load takes long to end a process. A timer of the loop that expires then, such as that of an idle
    connection, ended a complete run with a segmentation fault. Here the end waits for standard input."""
    with subprocess.Popen([sys.executable, "-c", WAKES_LATE], stdin=subprocess.PIPE, cwd=ROOT) as ending:
        with pytest.raises(subprocess.TimeoutExpired):
            ending.wait(2)
        assert ending.stdin
        ending.stdin.close()
        assert ending.wait(60) == 0
