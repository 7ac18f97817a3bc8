"""Environments for programs of their own, as a person sees them being made."""

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
def test_what_pip_does_is_said_for_a_person(line: str, step: str) -> None:
    """The package alone, without who asks for it in which versions, and how many are installed instead of a list."""
    assert _parse_pip_step(line) == step


def test_whoever_waits_for_another_process_says_so(tmp_path: Path) -> None:
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

        def made_meanwhile(stage: str, numbers: dict[str, object]) -> None:
            steps.append(f"{stage}: {numbers['step']}")
            (folder / "complete").write_text(f"1 python{sys.version_info[0]}.{sys.version_info[1]}")
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()

        assert ensure(own, folder, made_meanwhile) == folder / "bin" / "python"
    assert steps == ["argilla: waiting for another process to create its environment"]


def test_a_free_lock_is_taken_without_a_word(tmp_path: Path) -> None:
    """Nobody is said to be waited for where nobody holds it."""
    with exclusive_lock(tmp_path / "lock", lambda: pytest.fail("nobody has it")):
        pass
