"""Environments for separate programs, as a user sees them being created."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ReviewError
from schemas.files import exclusive_lock
from schemas.isolated_environment import IsolatedEnvironment, _parse_pip_step, ensure

HOLDER = """
import fcntl, sys
held = open(sys.argv[1], "a")
fcntl.flock(held, fcntl.LOCK_EX)
print("holds", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Collecting propcache>=0.2.0 (from aiohttp<4,>=3->elasticsearch8[async]~=8.7.0)", "fetching propcache"),
        ("Collecting ruamel.yaml", "fetching ruamel.yaml"),
        ("Installing collected packages: brotli, xxhash, websockets", "installing 3 packages"),
        ("Installing build dependencies: started", ""),
        ("  Downloading propcache-0.4.1.whl (198 kB)", ""),
    ],
)
def test_steps_of_pip_are_summarised(line: str, step: str) -> None:
    """Only the package, without who requires it in which versions, and the number of installed packages instead of a
    list."""
    assert _parse_pip_step(line) == step


def test_waiting_for_another_process_is_reported(tmp_path: Path) -> None:
    """A second process that needs the same environment is not silent for the minutes that the first one takes."""
    folder, steps = tmp_path / "env", list[str]()
    own = IsolatedEnvironment("the review server", "argilla", "1", (), 0, "", ReviewError)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "env.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "holds\n"

        def complete_and_release(stage: str, numbers: dict[str, object]) -> None:
            steps.append(f"{stage}: {numbers['step']}")
            (folder / "complete").write_text(f"1 python{sys.version_info[0]}.{sys.version_info[1]}")
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()

        assert ensure(own, folder, complete_and_release) == folder / "bin" / "python"
    assert steps == ["argilla: waiting for another process to create its environment"]


def test_free_lock_is_taken_without_a_message(tmp_path: Path) -> None:
    """No wait is reported if no other process holds the lock."""
    with exclusive_lock(tmp_path / "lock", lambda: pytest.fail("nobody has it")):
        pass
