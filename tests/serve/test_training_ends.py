"""Stopping a training: what is kept, what is reported, and that later stages can use it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from schemas.store import Store
from synth.embedded.weights import embedded_weights
from tests.serve.conftest import ended, job_that
from tests.train.tiny import write_project
from train.results import read_result

pytestmark = pytest.mark.timeout(2400)
_WITHIN_S = 1000.0  # on a busy machine
KEYS = {
    "train.r": 4,
    "train.batch": 4,
    "train.epochs": 400,
    "train.learning_rate": 0.01,
    # Such a small model does not end its answers.
    "evaluate.samples": 1,
    "evaluate.max_seeds": 2,
    "evaluate.sampling": {"temperature": 0.7, "max_tokens": 24},
    "evaluate.checks": [{"name": "flag", "pattern": "--ar"}],
}


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    return embedded_weights().folder


@pytest.mark.model
def test_stopped_training_job_keeps_its_best_state(workspace: Workspace, smollm2_folder: Path) -> None:
    """The job reports the completed steps and what was kept; evaluation and export use that adapter; the next training
    continues after the last step instead of starting again."""
    folder = workspace.new_folder("tiny")
    folder.mkdir(parents=True)
    write_project(folder, smollm2_folder, KEYS)
    jobs = Jobs(workspace)

    async def done(command: str) -> Job:
        job = await ended(
            jobs, (await asyncio.to_thread(jobs.start, "tiny", command, JobOptions(), "ann")).id, _WITHIN_S
        )
        assert job.state == "done", (job.problem, jobs.log(job.id)[-2000:])
        return job

    async def stopped(steps: int) -> Job:
        training = await asyncio.to_thread(jobs.start, "tiny", "train", JobOptions(), "ann")
        await job_that(jobs, training.id, lambda job: job.has_ended or _step(job) >= steps, _WITHIN_S)
        await asyncio.to_thread(jobs.cancel, training.id)
        return await ended(jobs, training.id, _WITHIN_S)

    async def scene() -> None:
        async with jobs.serving():
            await done("generate")
            await done("curate")
            first = await stopped(3)
            assert first.state == "stopped"
            assert first.exit_code == 130
            assert first.note is not None
            assert "its best state" in first.note
            project = workspace.project("tiny")
            with Store.open(Store.url_for(project), write=False) as store:
                (kept,) = store.artifacts("adapter")
            result = read_result(project.folder / kept.path)
            assert result is not None
            assert kept.id[:8] in first.note
            assert f"after {result.steps} of {result.planned_steps} steps" in first.note
            evaluated, exported = await done("evaluate"), await done("export")
            assert evaluated.answer is not None
            assert exported.answer is not None
            assert exported.answer["facts"]["ids"]["adapter"] == kept.id
            second = await stopped(result.steps + 1)
            assert second.note is not None
            assert _steps_in(second.note) > result.steps

    asyncio.run(scene())


def _step(job: Job) -> int:
    numbers = (job.progress or {}).get("numbers") or {}
    return int(numbers.get("done", 0)) if job.stage == "train" and "loss" in numbers else 0


def _steps_in(note: str) -> int:
    return int(note.partition(" after ")[2].split()[0])
