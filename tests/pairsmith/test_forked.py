"""A process that is forked for the tests is like one that was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from synth.embedded.child import child_command
from tests.pairsmith import forked, forked_child
from tests.pairsmith.conftest import ROOT

MODULE = "tests.pairsmith.told"
forks = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


def began(command: list[str], folder: Path, **environment: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A process that leads a session, and what it tells."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "A_MARK": "m"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def in_its_place(*words: str) -> list[str]:
    return forked.in_its_place(forked.address(forked.COMMANDS), MODULE, *words)


def test_it_finds_what_a_started_one_finds_and_ends_as_it_ends(tmp_path: Path) -> None:
    """Folder, words, variables and a session of its own; the end of its input; its exit code."""
    outputs = []
    for command in (child_command(MODULE, "3", "a b"), in_its_place("3", "a b")):
        process, tells = began(command, tmp_path)
        assert process.communicate()[0] == ""
        assert process.returncode == 3
        outputs.append({name: value for name, value in tells.items() if name != "pid"})
    assert outputs[0] == outputs[1] == {"leads": True, "folder": str(tmp_path), "words": ["3", "a b"], "marked": "m"}


@forks
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, forked_child.KILL])
def test_signals_reach_it_and_are_how_it_ended(tmp_path: Path, number: signal.Signals) -> None:
    """What stands in its place ends after it, and by the same signal."""
    process, heard = began(in_its_place("0"), tmp_path)
    assert heard["pid"] != process.pid
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -forked_child.PASSED_ON[number]
    assert not Path(f"/proc/{heard['pid']}").exists()


@forks
def test_whoever_kills_what_stands_in_its_place_kills_it(tmp_path: Path) -> None:
    """So that a test that kills a process has not killed a name of it."""
    process, heard = began(in_its_place("0"), tmp_path)
    process.kill()
    until = time.monotonic() + 60
    while Path(f"/proc/{heard['pid']}").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    process.communicate()


def test_one_that_begins_otherwise_is_started(tmp_path: Path) -> None:
    """With another hash seed, or where no server is there, it is the process that was asked for, itself."""
    nowhere = forked.in_its_place(forked.NOBODY, MODULE, "5")
    for command, environment in ((in_its_place("5"), {"PYTHONHASHSEED": "7"}), (nowhere, {})):
        process, heard = began(command, tmp_path, **environment)
        assert heard["pid"] == process.pid
        process.communicate()
        assert process.returncode == 5


@forks
def test_models_are_not_forked_where_a_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forked after torch has looked at a GPU cannot use it: there models are forked before it is loaded."""
    monkeypatch.setattr(forked, "_GPUS", (os.devnull,))
    assert forked.address(forked.MODELS) in {forked.address(forked.COMMANDS) for _ in range(2)}
