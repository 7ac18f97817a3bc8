"""A project whose folder is deleted manually while its job is running."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path

from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from tests.pairsmith.conftest import answer
from tests.serve.conftest import ended, job_that, write_project
from tests.serve.test_jobs import count_pairs
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

SUBJECTS = tuple(f"a lamp of kind {n}" for n in range(120))


def test_job_of_a_deleted_project_is_stopped(workspace: Workspace) -> None:
    """Its answers could not be stored, so the job is stopped within seconds with a message, and another project's job
    continues. If the folder is restored, the job can be continued."""
    jobs, kept, is_back = Jobs(workspace), Path(workspace.root) / "kept", [False]
    is_gone = threading.Event()

    def slowly_until_it_is_back(ask: Ask) -> Reply:
        is_slow = "of kind" in ask.prompt and ask.number > 4 and not is_back[0]
        return replace(answer(ask), delay_s=5.0, when=is_gone.is_set) if is_slow else replace(answer(ask), delay_s=0.2)

    async def scene(teacher: LoopbackTeacher, folder: Path) -> None:
        async with jobs.serving():
            job = await asyncio.to_thread(jobs.start, "tiny", "generate", JobOptions(), "ann")
            # Until the answers to the first four are stored, after which nothing is written before the folder is gone.
            await job_that(jobs, job.id, lambda _: len(teacher.asked) >= 8 and count_pairs(workspace, "tiny") >= 8)
            shutil.copytree(folder, kept)
            shutil.rmtree(folder)
            is_gone.set()
            other = await asyncio.to_thread(jobs.start, "other", "generate", JobOptions(), "ann")
            over = await ended(jobs, job.id)
            asked = len([ask for ask in teacher.asked if "of kind" in ask.prompt])
            assert asked < len(SUBJECTS) / 2  # a minute's work
            is_back[0] = True
            assert over.state in ("failed", "stopped")
            assert str(workspace.root) not in over.model_dump_json()
            assert (over.note or (over.problem or {}).get("what") or "").startswith(
                "the folder of the project was deleted"
            )
            assert (await ended(jobs, other.id)).state == "done"
            shutil.copytree(kept, folder)
            again = await asyncio.to_thread(jobs.continue_job, job.id, "ann")
            assert (await ended(jobs, again.id)).state == "done"

    with LoopbackTeacher(slowly_until_it_is_back) as teacher:
        folder = write_project(workspace, "tiny", teacher.url, SUBJECTS)
        write_project(workspace, "other", teacher.url)
        asyncio.run(scene(teacher, folder))


def test_briefly_missing_spec_stops_no_job(workspace: Workspace, slow_teacher: LoopbackTeacher) -> None:
    """Editors save by replacing the file, some with a pause in between: the job continues."""
    folder = write_project(workspace, "tiny", slow_teacher.url, SUBJECTS)
    spec, aside, jobs = folder / "pairsmith.toml", folder / "pairsmith.toml~", Jobs(workspace)

    async def scene() -> None:
        async with jobs.serving():
            job = await asyncio.to_thread(jobs.start, "tiny", "generate", JobOptions(), "ann")
            await asyncio.to_thread(slow_teacher.wait_for, 4)
            spec.rename(aside)
            await asyncio.to_thread(slow_teacher.wait_for, 4 + len(slow_teacher.asked))
            aside.rename(spec)
            assert (await ended(jobs, job.id)).state == "done"

    asyncio.run(scene())
