"""`pairsmith jobs` in a workspace without a running server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pairsmith.commands import start
from pairsmith.commands.jobs import _show
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import write_project


@pytest.fixture
def jobs(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run `pairsmith jobs` and return its exit code and its output, or the JSON object."""

    def run(*words: str) -> tuple[int, Any]:
        code = start(["jobs", "--workspace", str(workspace.root), *words])
        captured = capfd.readouterr()
        return code, json.loads(captured.out) if "--json" in words else captured.out + captured.err

    return run


def test_jobs_can_be_queued_shown_and_cancelled_without_a_server(workspace: Workspace, jobs: Any) -> None:
    """The queue is stored in the workspace: a job can be added, shown by the first characters of its id, and cancelled,
    with text or JSON output."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    code, words = jobs()
    assert code == 2
    assert "no server has used this workspace" in words
    workspace.serve.mkdir()
    assert jobs() == (0, "No jobs.\n")
    code, words = jobs("start", "tiny", "generate", "--max-usd", "2.5")
    assert code == 0
    assert "the job waits for one" in words
    assert "queued (number 1 in the queue)" in words
    (job,) = jobs("--json")[1]["jobs"]
    assert (job["project"], job["command"], job["state"]) == ("tiny", "generate", "queued")
    assert job["options"]["cap_usd"] == 2.5
    assert jobs("show", job["id"][:10], "--json")[1]["job"]["id"] == job["id"]
    code, words = jobs("start", "tiny", "curate")
    assert code == 6
    assert job["id"] in words
    assert "stopped" in jobs("cancel", job["id"][:10])[1]
    assert jobs("log", job["id"][:10]) == (0, "")
    assert f"{job['id'][:12]}" in jobs("--project", "tiny")[1]
    assert jobs("--project", "absent")[1] == "No jobs.\n"


def test_job_errors_are_printed_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """The message may contain text of a teacher's server, including escape sequences."""
    problem = {"what": "The teacher answers \x1b]0;mine\x07", "where": "\x1b[2J"}
    one: dict[str, Any] = {"project": "a", "command": "run", "options": JobOptions(), "by": "b", "state": "failed"}
    _show(Job(id="1", created=datetime.now(UTC), problem=problem, **one))
    screen = capsys.readouterr().out
    assert "\\x1b]0;mine" in screen
    assert "\x1b" not in screen


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("show", "0123"), 2, "no job '0123'"),
        (("show", ""), 2, "no job ''"),
        (("cancel", "0123"), 2, "no job '0123'"),
        (("log", "%"), 2, "no job '%'"),
        (("start", "absent", "run"), 2, "no project 'absent'"),
        (("start", "tiny", "init"), 2, "jobs cannot run 'init'"),
        (("start", "tiny", "curate", "--no-review"), 2, "does not take no_review"),
        (("start", "tiny", "run", "--max-usd", "nan"), 2, "'nan' is not a number above 0"),
    ],
)
def test_invalid_arguments_are_reported(workspace: Workspace, jobs: Any, words: Any, code: int, says: str) -> None:
    """A wrong id, project, command or option gives a message and an exit code."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    workspace.serve.mkdir()
    ended = jobs(*words)
    assert ended[0] == code
    assert says in ended[1]
    assert "error" in jobs(*words, "--json")[1]
