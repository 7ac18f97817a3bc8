"""A server that stops while its queues are full."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest

from pairsmith.serve import workflows
from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from schemas.errors import UsageError
from tests.serve.conftest import ended, write_project

JOBS, SERVERS = 20, 8


@pytest.mark.slow
def test_dequeued_jobs_are_started(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a server stops, none of its queue workers has taken a job that it can no longer hand over: no thread is
    left waiting, and the last server ends every job."""
    monkeypatch.setattr(workflows, "_POLL_S", 0.002)
    dropped: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda left: dropped.append(str(left.exc_value)))

    def refuses(project: object) -> dict[str, str]:
        raise UsageError("this host is not allowed.", fix="Ask an owner.")

    workspace.serve.mkdir(parents=True)
    jobs, slugs = Jobs(workspace, environment=refuses), [f"p{nth}" for nth in range(JOBS)]
    for slug in slugs:
        write_project(workspace, slug, "http://127.0.0.1:9/v1")
    asked = [jobs.start(slug, "curate", JobOptions(), "ann") for slug in slugs]

    async def run_server(seconds: float) -> None:
        async with jobs.serving():
            await asyncio.sleep(seconds)

    async def run_until_all_ended() -> None:
        async with jobs.serving():
            assert {(await ended(jobs, job.id)).state for job in asked} == {"failed"}

    for nth in range(SERVERS):
        asyncio.run(run_server(0.02 * nth))
    asyncio.run(run_until_all_ended())
    gc.collect()
    assert dropped == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("queue-worker-")]
