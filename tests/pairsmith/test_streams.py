"""What is printed to goes away, is closed or full: a command still does its work, or says so in a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pairsmith.conftest import Project
from tests.synth.loopback import LoopbackTeacher

needs_a_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")


def shell(project: Project, command: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """A command of a process of its own, as a shell starts it."""
    line = f'"{sys.executable}" -m pairsmith {command} --project "{project.folder}" {redirected}'
    return subprocess.run(["/bin/sh", "-c", line], env=project.environ(), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_command_and_get_no_file(
    closed: str, make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """Cron and daemons may start it so. What is printed leads nowhere, and into no file of the project."""
    project = make_project(teacher.url, ("a dog", "an owl"))
    assert shell(project, "generate", closed).returncode == 0
    assert project.is_intact()
    assert not [path for path in project.folder.rglob("*") if path.is_file() and b"rows in" in path.read_bytes()]


@needs_a_full_device
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_full_disk_behind_stdout_is_a_sentence(
    option: str, make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """`pairsmith status > report.txt` where there is no room is no defect of pairsmith."""
    project = make_project(teacher.url, ("a dog",))
    ended = shell(project, f"status {option}", "> /dev/full")
    assert ended.returncode == 6
    assert "nothing more can be written (No space left on device). Free some space" in ended.stderr
    assert "Traceback" not in ended.stderr
