"""A workspace with tiny projects whose teacher is a loopback server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pairsmith.serve import process, workflows
from pairsmith.serve.job import Job
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from tests.pairsmith import forked
from tests.pairsmith.conftest import SPEC, SUBJECTS, answer, write_seeds
from tests.serve.people import Service, browsing, staffed
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

_WAIT_S = 250.0
Browse = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def _fast_and_without_keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll queues often, fork jobs from a server with all imports done, and remove API keys so that no test calls a
    paid API."""
    monkeypatch.setattr(workflows, "_POLL_S", 0.1)
    trains = request.node.get_closest_marker("model")
    monkeypatch.setattr(process, "child_command", forked.training_command if trains else forked.child_command)
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)


@pytest.fixture
def teacher() -> Iterator[LoopbackTeacher]:
    with LoopbackTeacher(answer) as serving:
        yield serving


@pytest.fixture
def slow_teacher() -> Iterator[LoopbackTeacher]:
    """A slow teacher, so that there is something to stop."""

    def slowly(ask: Ask) -> Reply:
        return replace(answer(ask), delay_s=0.5)

    with LoopbackTeacher(slowly) as serving:
        yield serving


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with closing(staffed(tmp_path / "space")) as service:
        yield service


@pytest.fixture
def browse() -> Iterator[Browse]:
    """Return a function that makes a client of a workspace's application, closed at the end of the test."""
    with ExitStack() as ends:
        yield lambda *given, **more: ends.enter_context(browsing(*given, **more))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "space")


def write_project(workspace: Workspace, slug: str, url: str, subjects: tuple[str, ...] = SUBJECTS) -> Path:
    """Create a tiny project in the workspace that uses the teacher at `url`."""
    folder = workspace.new_folder(slug)
    folder.mkdir(parents=True)
    (folder / "pairsmith.toml").write_text(SPEC.format(url=url))
    write_seeds(folder, subjects)
    return folder


async def job_that(jobs: Jobs, job_id: str, holds: Callable[[Job], bool], within_s: float = _WAIT_S) -> Job:
    """Wait until `holds` is true of the job, and return it."""
    until = time.monotonic() + within_s
    while not holds(job := await asyncio.to_thread(jobs.get, job_id)):
        assert time.monotonic() < until, job
        await asyncio.sleep(0.05)
    return job


async def ended(jobs: Jobs, job_id: str, within_s: float = _WAIT_S) -> Job:
    """Wait until the job has ended, and return it."""
    return await job_that(jobs, job_id, lambda job: job.has_ended, within_s)
