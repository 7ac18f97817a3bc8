"""A process that is forked for the tests is like one that was started."""

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

MODULE = "tests.pairsmith.told"
forks = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "A_MARK": "m"}


@contextmanager
def began(
    command: list[str], folder: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that leads a session, and what it tells."""
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


def in_its_place(*words: str) -> list[str]:
    return forked.in_its_place(forked.address(forked.COMMANDS), MODULE, *words)


def test_it_finds_what_a_started_one_finds_and_ends_as_it_ends(tmp_path: Path) -> None:
    """Folder, words, variables and a session of its own; the end of its input; its exit code."""
    outputs = []
    for command in (child_command(MODULE, "3", "a b"), in_its_place("3", "a b")):
        with began(command, tmp_path) as (process, tells):
            assert process.communicate()[0] == ""
            assert process.returncode == 3
        outputs.append({name: value for name, value in tells.items() if name != "pid"})
    assert outputs[0] == outputs[1] == {"leads": True, "folder": str(tmp_path), "words": ["3", "a b"], "marked": "m"}


@forks
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, forked_child.KILL])
def test_signals_reach_it_and_are_how_it_ended(tmp_path: Path, number: signal.Signals) -> None:
    """What stands in its place ends after it, and by the same signal."""
    with began(in_its_place("0"), tmp_path) as (process, heard):
        assert heard["pid"] != process.pid
        process.send_signal(number)
        process.communicate()
        assert process.returncode == -forked_child.PASSED_ON[number]
        assert not Path(f"/proc/{heard['pid']}").exists()


@forks
def test_a_signal_to_one_that_has_ended_changes_nothing(tmp_path: Path) -> None:
    """What stands in its place has not been told so yet: it ends as the process did."""
    with began(in_its_place("3"), tmp_path) as (process, heard):
        process.send_signal(signal.SIGSTOP)
        assert process.stdin is not None
        process.stdin.close()
        wait_until_gone(heard["pid"])
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 3


@forks
def test_whoever_kills_what_stands_in_its_place_kills_it(tmp_path: Path) -> None:
    """So that a test that kills a process has not killed a name of it."""
    with began(in_its_place("0"), tmp_path) as (process, heard):
        process.kill()
        wait_until_gone(heard["pid"])


@forks
def test_it_is_killed_too_where_nobody_heard_its_number(tmp_path: Path) -> None:
    """What stands in its place may be killed when it has asked and not been answered."""
    (given, kept), (shown, out) = os.pipe(), os.pipe()
    asked = {"module": MODULE, "arguments": ["0"], "folder": str(tmp_path), "environment": _environment()}
    with open(kept, "w"), open(shown) as tells:
        with socket.socket(socket.AF_UNIX) as talk:
            talk.connect(f"\0{forked.address(forked.COMMANDS)}")
            talk.shutdown(socket.SHUT_RD)
            forked_child.ask(talk, [given, out, out], leads=True, **asked)
            os.close(given)
            os.close(out)
            process = json.loads(tells.readline())["pid"]
        wait_until_gone(process)


def test_one_that_begins_otherwise_is_started(tmp_path: Path) -> None:
    """With another hash seed, or where no server is there, it is the process that was asked for, itself."""
    nowhere = forked.in_its_place(forked.NOBODY, MODULE, "5")
    for command, environment in ((in_its_place("5"), {"PYTHONHASHSEED": "7"}), (nowhere, {})):
        with began(command, tmp_path, **environment) as (process, heard):
            assert heard["pid"] == process.pid
            process.communicate()
            assert process.returncode == 5


@forks
def test_models_are_not_forked_where_a_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forked after torch has looked at a GPU cannot use it: there models are forked before it is loaded."""
    monkeypatch.setattr(forked, "_GPUS", (os.devnull,))
    assert forked.address(forked.MODELS) in {forked.address(forked.COMMANDS) for _ in range(2)}
