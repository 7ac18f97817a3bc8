"""Tests that a process forked for the tests behaves like one that was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synth.embedded.child import child_command
from tests.pairsmith import forked, forked_child
from tests.pairsmith.conftest import ROOT

MODULE = "tests.pairsmith.process_facts"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "A_MARK": "m"}


@contextmanager
def started(
    command: list[str], folder: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that leads a session, with the facts that it printed about itself."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def wait_until_gone(number: int) -> None:
    until = time.monotonic() + 120
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def forked_command(*words: str) -> list[str]:
    return forked.in_its_place(forked.address(forked.COMMANDS), MODULE, *words)


def test_a_forked_process_is_like_a_started_one(tmp_path: Path) -> None:
    """Same folder, arguments, environment and own session; it sees the end of its input and keeps its exit code."""
    outputs = []
    for command in (child_command(MODULE, "3", "a b"), forked_command("3", "a b")):
        with started(command, tmp_path) as (process, facts):
            assert process.communicate()[0] == ""
            assert process.returncode == 3
        outputs.append({name: value for name, value in facts.items() if name != "pid"})
    assert outputs[0] == outputs[1] == {"leads": True, "folder": str(tmp_path), "words": ["3", "a b"], "marked": "m"}


def test_a_forked_process_ends_like_a_started_one(tmp_path: Path) -> None:
    """Threads are waited for, functions registered for the exit are called, resources left open are noticed and output
    is flushed. If nobody reads the output any more, the exit code says so."""
    module, ends = "tests.pairsmith.process_end", []
    for command in (child_command(module, "3"), forked.in_its_place(forked.address(forked.COMMANDS), module, "3")):
        done = subprocess.run(command, cwd=tmp_path, env=_environment(), capture_output=True, text=True)
        reading, writing = os.pipe()
        os.close(reading)
        unread = subprocess.run(command, cwd=tmp_path, env=_environment(), stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        ends.append((done.returncode, done.stdout, unread.returncode, b"BrokenPipeError" in unread.stderr))
    assert ends[0] == ends[1] == (3, "main\nthread\nat exit\nleft open\n", 120, True)


@linux_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, forked_child.KILL])
def test_signals_are_forwarded_to_the_forked_process(tmp_path: Path, number: signal.Signals) -> None:
    """The stand-in process ends after the forked one, by the same signal."""
    with started(forked_command("0"), tmp_path) as (process, facts):
        assert facts["pid"] != process.pid
        process.send_signal(number)
        # Its input stays open, otherwise it may end before the signal is forwarded.
        assert process.wait(120) == -forked_child.FORWARDED[number]
        assert not Path(f"/proc/{facts['pid']}").exists()


@linux_only
def test_a_signal_after_the_forked_process_has_ended_changes_nothing(tmp_path: Path) -> None:
    """The stand-in does not yet know that the process has ended; it still ends with that process's exit code."""
    with started(forked_command("3"), tmp_path) as (process, facts):
        process.send_signal(signal.SIGSTOP)
        assert process.stdin is not None
        process.stdin.close()
        wait_until_gone(facts["pid"])
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 3


@linux_only
def test_killing_the_stand_in_kills_the_forked_process(tmp_path: Path) -> None:
    """A test that kills a process must not leave the real one running."""
    with started(forked_command("0"), tmp_path) as (process, facts):
        process.kill()
        wait_until_gone(facts["pid"])


@linux_only
def test_the_forked_process_is_killed_if_its_pid_was_never_read(tmp_path: Path) -> None:
    """The stand-in may be killed after it sent its request and before it read the response."""
    (given, kept), (shown, out) = os.pipe(), os.pipe()
    request = {"module": MODULE, "arguments": ["0"], "folder": str(tmp_path), "environment": _environment()}
    with open(kept, "w"), open(shown) as facts:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"\0{forked.address(forked.COMMANDS)}")
            connection.shutdown(socket.SHUT_RD)
            forked_child.ask(connection, [given, out, out], leads=True, **request)
            os.close(given)
            os.close(out)
            process = json.loads(facts.readline())["pid"]
        wait_until_gone(process)


def test_a_process_that_cannot_be_forked_is_started(tmp_path: Path) -> None:
    """With another hash seed, or without a server, the stand-in becomes the requested process itself."""
    without_server = forked.in_its_place(forked.NO_SERVER, MODULE, "5")
    for command, environment in ((forked_command("5"), {"PYTHONHASHSEED": "7"}), (without_server, {})):
        with started(command, tmp_path, **environment) as (process, facts):
            assert facts["pid"] == process.pid
            process.communicate()
            assert process.returncode == 5


@linux_only
def test_models_are_not_forked_on_a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process forked after torch has initialised a GPU cannot use it, so there the processes are forked before torch
    is loaded."""
    monkeypatch.setattr(forked, "_GPUS", (os.devnull,))
    assert forked.address(forked.MODELS) in {forked.address(forked.COMMANDS) for _ in range(2)}
