"""A project whose folder is deleted by hand while a job of it runs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import ended, write_project
from tests.synth.loopback import LoopbackTeacher

SUBJECTS = tuple(f"a lamp of kind {n}" for n in range(120))


def test_nothing_is_asked_for_a_project_that_is_gone(workspace: Workspace, unhurried: LoopbackTeacher) -> None:
    """Its answers would have nowhere to go: the job is stopped within seconds, says why in a sentence, and another
    project's goes on. A folder that comes back is gone on with."""
    folder = write_project(workspace, "tiny", unhurried.url, SUBJECTS)
    write_project(workspace, "other", unhurried.url)
    jobs, kept = Jobs(workspace), Path(workspace.root) / "kept"

    async def scene() -> None:
        async with jobs.serving():
            job = await jobs.start("tiny", "generate", JobOptions(), "ann")
            await asyncio.to_thread(unhurried.wait_for, 4)
            shutil.copytree(folder, kept)
            shutil.rmtree(folder)
            other = await jobs.start("other", "generate", JobOptions(), "ann")
            over = await ended(jobs, job.id)
            asked = len([ask for ask in unhurried.asked if "of kind" in ask.prompt])
            assert asked < len(SUBJECTS) / 2
            assert over.state in ("failed", "stopped")
            assert str(workspace.root) not in over.model_dump_json()
            assert (over.note or (over.problem or {}).get("what") or "").startswith(
                "the folder of the project was deleted"
            )
            assert (await ended(jobs, other.id)).state == "done"
            shutil.copytree(kept, folder)
            again = await jobs.go_on(job.id, "ann")
            assert (await ended(jobs, again.id)).state == "done"

    asyncio.run(scene())


def test_a_spec_that_is_away_for_a_moment_stops_no_job(workspace: Workspace, unhurried: LoopbackTeacher) -> None:
    """Editors save by putting another file in place of the old one, some with a pause between: the job goes on."""
    folder = write_project(workspace, "tiny", unhurried.url, SUBJECTS)
    spec, aside, jobs = folder / "pairsmith.toml", folder / "pairsmith.toml~", Jobs(workspace)

    async def scene() -> None:
        async with jobs.serving():
            job = await jobs.start("tiny", "generate", JobOptions(), "ann")
            await asyncio.to_thread(unhurried.wait_for, 4)
            spec.rename(aside)
            await asyncio.sleep(2.5)
            aside.rename(spec)
            assert (await ended(jobs, job.id)).state == "done"

    asyncio.run(scene())
