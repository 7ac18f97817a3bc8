"""Jobs from their request to their end, with a server of them in this process and real processes of theirs."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.service.kills import WORDS
from pairsmith.serve import parts, sweep
from pairsmith.serve.environment import job_environment
from pairsmith.serve.job import Job, JobOptions, NoSuchJob, ProjectBusy
from pairsmith.serve.jobs import Jobs, describe_running_job
from pairsmith.serve.process import MOST_DEATHS, starts
from pairsmith.serve.sweep import JobMonitor
from pairsmith.serve.workspace import NoSuchProject, Workspace
from schemas.errors import StoreError, UsageError
from schemas.project import Project
from tests.pairsmith.conftest import answer
from tests.serve.conftest import ended, job_that, write_project
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

NO_OPTIONS = JobOptions()


def served(jobs: Jobs, *scenes: Coroutine[Any, Any, None]) -> None:
    """Play the scenes one after the other, each with a server of its own."""

    async def play(scene: Coroutine[Any, Any, None]) -> None:
        async with jobs.serving():
            await scene

    for scene in scenes:
        asyncio.run(play(scene))


def pid_of(jobs: Jobs, job: Job) -> int:
    pid: int = json.loads((jobs.folder(job.id) / "lock").read_text())["pid"]
    return pid


def unlike(count: int) -> tuple[str, ...]:
    """Seeds unlike each other: what is near a seed of the test split is not asked for."""
    draw = random.Random(0)
    return tuple(" ".join(draw.choices(WORDS, k=6)) for _ in range(count))


def pairs(workspace: Workspace, slug: str) -> int:
    with closing(sqlite3.connect(workspace.folder(slug) / "pairsmith.db", timeout=60)) as store:
        return int(store.execute("SELECT count(*) FROM pairs").fetchone()[0])


def test_a_job_is_one_process_and_everybody_sees_the_same(workspace: Workspace) -> None:
    """A job runs once however often it is asked for with one key; its project takes no second one meanwhile; how far
    it is, how it ended and what it said come from its folder; going on is a new job that finds all done."""
    refused = threading.Event()
    jobs = Jobs(workspace)

    async def scene() -> None:
        heard: list[dict[str, Any]] = []

        async def listen() -> None:
            async for event in jobs.hub.subscribe(["tiny"]):
                heard.append(event["data"])

        listening = asyncio.create_task(listen())
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann", "key")
        assert not job.has_ended
        assert (await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann", "key")).id == job.id
        with pytest.raises(UsageError, match="used for another request"):
            await asyncio.to_thread(jobs.start, "tiny", "curate", NO_OPTIONS, "ann", "key")
        with pytest.raises(ProjectBusy, match=job.id) as busy:
            await asyncio.to_thread(jobs.start, "tiny", "curate", NO_OPTIONS, "ben")
        assert busy.value.job_id == job.id
        refused.set()
        await job_that(jobs, job.id, lambda job: any(state["state"] == "done" for state in heard))
        done = await asyncio.to_thread(jobs.get, job.id)
        assert {state["id"] for state in heard} == {job.id}
        assert [state["state"] for state in heard].index("done") == len(heard) - 1
        assert (done.state, done.exit_code, done.problem) == ("done", 0, None)
        assert done.answer is not None
        assert done.answer["rows_in"] == done.answer["waiting"] == 24
        assert done.progress is not None
        numbers = done.progress["numbers"]
        assert numbers["done"] == numbers["total"] == numbers["passed"] == 24, "how many pass the gates is told live"
        assert numbers["rejected"] == 0
        assert done.started is not None
        assert done.ended is not None
        assert done.created.timestamp() - 1 < done.started.timestamp() < done.ended.timestamp()
        log = jobs.log(job.id)
        assert b"24 rows in = 0 accepted" in log
        assert jobs.log(job.id, 10) == log[10:]
        again = await asyncio.to_thread(jobs.continue_job, job.id, "ben")
        assert (again.continues, again.command, again.by) == (job.id, "generate", "ben")
        assert (await asyncio.to_thread(jobs.continue_job, job.id, "ben")).id == again.id
        assert (await ended(jobs, again.id)).state == "done"
        assert [job.id for job in jobs.list("tiny")] == [again.id, job.id]
        assert jobs.list("absent") == []
        listening.cancel()

    with LoopbackTeacher(lambda ask: replace(answer(ask), when=refused.is_set)) as teacher:
        write_project(workspace, "tiny", teacher.url)
        served(jobs, scene())
    assert len(teacher.asked) == 12
    with pytest.raises(NoSuchProject):
        jobs.start("absent", "generate", NO_OPTIONS, "ann")
    with pytest.raises(NoSuchJob):
        jobs.log("absent")
    jobs.close()


def test_stop_drains_and_keeps_and_going_on_asks_for_the_rest(workspace: Workspace) -> None:
    """Stop is one request to the process, which saves what is in flight; another job then asks for what is left."""
    asked_to_stop = threading.Event()
    jobs = Jobs(workspace)

    def in_flight_until_then(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number <= 4 or asked_to_stop.is_set())

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: len(teacher.asked) >= 8)
        stopping = await asyncio.to_thread(jobs.cancel, job.id)
        assert stopping.state == "stopping"
        assert [job.state for job in await asyncio.to_thread(jobs.active)] == ["stopping"], "pages show it till it ends"
        with pytest.raises(ProjectBusy):
            await asyncio.to_thread(jobs.continue_job, job.id, "ann")
        await job_that(jobs, job.id, lambda job: b"stopping: " in jobs.log(job.id))
        asked_to_stop.set()
        stopped = await ended(jobs, job.id)
        assert (stopped.state, stopped.exit_code, stopped.problem) == ("stopped", 130, None)
        assert await asyncio.to_thread(jobs.active) == []
        assert 0 < pairs(workspace, "tiny") < 48
        assert (await asyncio.to_thread(jobs.cancel, job.id)).state == "stopped"
        again = await asyncio.to_thread(jobs.continue_job, job.id, "ann")
        assert (await ended(jobs, again.id)).state == "done"

    with LoopbackTeacher(in_flight_until_then) as teacher:
        write_project(workspace, "tiny", teacher.url, unlike(24))
        served(jobs, scene())
    assert pairs(workspace, "tiny") == 48
    assert len(teacher.asked) == 24, "nothing was asked twice"


def test_of_two_requests_at_once_one_is_a_job(workspace: Workspace) -> None:
    """However close they come, and whatever they ask for, a project has one job; with one key it is the same one."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    workspace.serve.mkdir()
    jobs = Jobs(workspace)
    assert jobs.list() == []

    async def scene(*keys: str | None) -> tuple[list[str], int]:
        asked = [asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann", key) for key in keys]
        given = await asyncio.gather(*asked, return_exceptions=True)
        busy = [answer for answer in given if isinstance(answer, ProjectBusy)]
        begun = [answer.id for answer in given if isinstance(answer, Job)]
        assert len(busy) + len(begun) == len(keys), given
        return begun, len(busy)

    begun, busy = asyncio.run(scene(*[None] * 6))
    assert (len(begun), busy) == (1, 5)
    jobs.cancel(begun[0])
    begun, busy = asyncio.run(scene(*["key"] * 6))
    assert (len(set(begun)), busy) == (1, 0)
    assert len(jobs.list()) == 2
    jobs.close()


def test_a_job_that_is_stopped_while_its_process_starts_does_nothing(
    workspace: Workspace, teacher: LoopbackTeacher
) -> None:
    """Nobody can find that process yet: it ends by itself, no teacher is asked, and the project is free."""
    write_project(workspace, "tiny", teacher.url)

    def just_before_it_starts(project: Project) -> dict[str, str]:
        for job in jobs.active():
            jobs.cancel(job.id)
        return job_environment(project)

    jobs = Jobs(workspace, environment=just_before_it_starts)

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: bool(starts(jobs.folder(job.id))))
        stopped = await ended(jobs, job.id)
        assert (stopped.state, stopped.exit_code, stopped.problem) == ("stopped", 130, None)
        assert await asyncio.to_thread(jobs.unended_job_id, "tiny") is None

    served(jobs, scene())
    assert len(teacher.asked) == 0


def test_a_queued_job_is_taken_out_of_its_queue(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """Without a server a job waits, can be seen and stopped, and never runs."""
    write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace)
    job = jobs.start("tiny", "generate", NO_OPTIONS, "ann")
    assert (job.state, job.position) == ("queued", 1)
    assert jobs.cancel(job.id).state == "stopped"

    async def scene() -> None:
        again = await asyncio.to_thread(jobs.start, "tiny", "curate", NO_OPTIONS, "ann")
        failed = await ended(jobs, again.id)
        assert failed.state == "failed"
        assert failed.problem is not None
        assert failed.problem["exit_code"] == failed.exit_code == 8
        assert failed.problem["fix"]

    served(jobs, scene())
    assert len(teacher.asked) == 0
    jobs.close()


def test_processes_outlive_their_server(workspace: Workspace) -> None:
    """A server that stops leaves its jobs running. Stop from the terminal reaches a process meanwhile; the next server
    adopts the others with their real end, and starts none."""
    no_server, stopping = threading.Event(), threading.Event()
    jobs, begun = Jobs(workspace), list[Job]()

    def at_work_until(over: threading.Event) -> LoopbackTeacher:
        return LoopbackTeacher(lambda ask: replace(answer(ask), when=lambda: ask.number <= 4 or over.is_set()))

    async def first() -> None:
        begun.extend(
            [await asyncio.to_thread(jobs.start, slug, "generate", NO_OPTIONS, "ann") for slug in ("one", "two")]
        )
        for job in begun:
            await job_that(jobs, job.id, lambda job: job.progress is not None)

    async def second() -> None:
        assert (await ended(jobs, begun[0].id)).state == "done"
        assert (await ended(jobs, begun[1].id)).state == "stopped"

    with at_work_until(no_server) as one, at_work_until(stopping) as two:
        for slug, teacher in (("one", one), ("two", two)):
            write_project(workspace, slug, teacher.url, unlike(24))
        served(jobs, first())
        no_server.set()
        assert jobs.cancel(begun[1].id).state == "stopping"
        while b"stopping: " not in jobs.log(begun[1].id):
            time.sleep(0.05)
        stopping.set()
        served(jobs, second())
    jobs.close()
    assert [len(starts(jobs.folder(job.id))) for job in begun] == [1, 1]
    assert pairs(workspace, "one") == 48
    assert 0 < pairs(workspace, "two") < 48


def test_a_process_that_nobody_stopped_is_started_again(workspace: Workspace) -> None:
    """Killed, or interrupted by a container's end: the job goes on where it was, and asks at most for what was in
    flight again."""
    both_ended = threading.Event()
    jobs = Jobs(workspace)

    def in_flight_until_then(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number <= 4 or both_ended.is_set())

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: len(teacher.asked) >= 8)
        os.kill(pid_of(jobs, job), signal.SIGKILL)
        await job_that(jobs, job.id, lambda job: len(teacher.asked) >= 12)
        assert len(starts(jobs.folder(job.id))) == 2
        os.kill(pid_of(jobs, job), signal.SIGTERM)
        both_ended.set()
        await job_that(jobs, job.id, lambda job: len(starts(jobs.folder(job.id))) > 2)
        assert (await ended(jobs, job.id)).state == "done"

    with LoopbackTeacher(in_flight_until_then) as teacher:
        write_project(workspace, "tiny", teacher.url)
        served(jobs, scene())
    assert pairs(workspace, "tiny") == 24
    assert len(teacher.asked) <= 12 + 8, "twice the concurrency may be in flight"


def test_a_process_that_dies_again_and_again_fails_with_its_signal(
    workspace: Workspace, teacher: LoopbackTeacher
) -> None:
    """Three times it is started again; then the job has failed, and the reason is a sentence with what to do."""
    write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace, environment=lambda project: {**os.environ, "PAIRSMITH_FAILPOINT": "before_exit"})

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        failed = await ended(jobs, job.id)
        assert (failed.state, failed.exit_code) == ("failed", 137)
        assert failed.problem is not None
        assert failed.problem["what"] == "the job's process was killed by signal 9 (Killed), 4 times."
        assert "memory" in failed.problem["why"]
        assert failed.problem["fix"]
        assert len(starts(jobs.folder(job.id))) == MOST_DEATHS

    served(jobs, scene())


def test_a_run_stops_when_its_spec_is_changed_between_its_parts(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """A run in several processes is a run of one spec: it never asks again by surprise. And what needs the GPU waits
    until nobody else computes on it."""
    folder = write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace)

    async def scene() -> None:
        with (workspace.jobs_folder / "heavy.lock").open("ab") as gpu:
            fcntl.flock(gpu, fcntl.LOCK_EX)
            job = await asyncio.to_thread(jobs.start, "tiny", "run", JobOptions(no_review=True), "ann")
            await job_that(jobs, job.id, lambda job: len(starts(jobs.folder(job.id))) == 2)
            text = (folder / "pairsmith.toml").read_text()
            (folder / "pairsmith.toml").write_text(text.replace("n = 2", "n = 3"))
        failed = await ended(jobs, job.id)
        assert failed.state == "failed"
        assert failed.problem is not None
        assert failed.problem["what"] == "the spec was changed while the job was running: generate.forward.n."
        assert "--until train" in " ".join(json.loads((jobs.folder(job.id) / "part-0.json").read_text())["argv"])

    served(jobs, scene())
    assert len(teacher.asked) == 12


def test_one_job_at_a_time_has_the_gpu(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in the order in which they came, each with its place; whose project computes is
    not said, because it may be one of which they know nothing."""
    monkeypatch.setattr(parts, "needs_gpu", lambda spec, stage: True)
    all_wait = threading.Event()
    jobs = Jobs(workspace)

    async def scene() -> None:
        begun = [await asyncio.to_thread(jobs.start, "one", "generate", NO_OPTIONS, "ann")]
        await job_that(jobs, begun[0].id, lambda job: bool(starts(jobs.folder(job.id))))
        for nth, slug in enumerate(("two", "three"), 1):
            begun.append(await asyncio.to_thread(jobs.start, slug, "generate", NO_OPTIONS, "ann"))
            waiting = await job_that(
                jobs, begun[nth].id, lambda job: job.state == "waits_for_gpu" and job.note is not None
            )
            assert waiting.position == nth
            assert (waiting.note or "").startswith("another project is using the GPU")
        all_wait.set()
        done = [await ended(jobs, job.id) for job in begun]
        assert [job.state for job in done] == ["done"] * 3
        for before, after in itertools.pairwise(done):
            assert before.ended is not None
            assert after.started is not None
            assert before.ended <= after.started

    with LoopbackTeacher(lambda ask: replace(answer(ask), when=all_wait.is_set)) as held:
        for slug in ("one", "two", "three"):
            write_project(workspace, slug, held.url if slug == "one" else teacher.url)
        served(jobs, scene())


def test_a_spec_that_may_not_run_fails_the_job_in_words(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """A refusal of the environment's owner, and a spec with an error, reach the person as the command's error would."""
    folder = write_project(workspace, "tiny", teacher.url)

    def refuses(project: object) -> dict[str, str]:
        raise UsageError("this host is not allowed.", fix="Ask an owner.")

    jobs = Jobs(workspace, environment=refuses)

    async def scene() -> None:
        job = await ended(jobs, (await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")).id)
        assert job.problem == {
            "kind": "UsageError",
            "what": "this host is not allowed.",
            "fix": "Ask an owner.",
            "message": "this host is not allowed. Ask an owner.",
            "exit_code": 2,
        }
        (folder / "pairsmith.toml").write_text("[tusk]\n")
        job = await ended(jobs, (await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")).id)
        assert job.problem is not None
        assert (job.state, job.problem["kind"], job.exit_code) == ("failed", "SpecError", 3)

    served(jobs, scene())


def test_a_process_sees_only_the_variables_its_spec_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of the server that no spec names reaches no job."""
    from pairsmith.serve.environment import job_environment
    from schemas.spec_file import parse

    monkeypatch.setenv("NAMED_KEY", "one")
    monkeypatch.setenv("HEADER_KEY", "two")
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "three")
    text = (
        '[task]\nname = "t"\nstyle = "s"\n[teachers.big]\nurl = "https://a.example/v1"\nmodel = "m"\n'
        'key_env = "NAMED_KEY"\nheaders_env = { X-Key = "HEADER_KEY" }\n[store]\nurl_env = "ABSENT"\n'
    )
    variables = job_environment(parse(text, tmp_path))
    assert variables["NAMED_KEY"] == "one"
    assert variables["HEADER_KEY"] == "two"
    assert "PATH" in variables
    assert not {"SECRET_OF_THE_SERVER", "ABSENT"} & variables.keys()


def test_a_database_that_is_away_is_said_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it without a word: a server that starts says so after a while, a question is answered now, and
    the password is in neither."""
    workspace.serve.mkdir(parents=True)
    away = Jobs(workspace, database_url=f"postgresql://ann:secret@/none?host={workspace.root}")
    monkeypatch.setattr("pairsmith.serve.jobs.DATABASE_TIMEOUT_S", 0)

    async def begins() -> None:
        async with away.serving():
            pass

    for asks in (away.list, lambda: asyncio.run(begins())):
        with pytest.raises(StoreError, match="the database reports an error") as refused:
            asks()
        assert "secret" not in str(refused.value)


def test_an_outage_leaves_no_job_behind(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow whose end could not be written while the database was away stays "pending" there, and its place in the
    queue taken. The sweep finds that nobody runs it, and it ends."""
    monkeypatch.setattr(sweep, "SWEEP_EVERY_S", 3600)  # here it is the test that sweeps, after the first time
    monkeypatch.setattr(sweep, "_SETTLED_S", 3600)
    write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace)

    async def scene() -> None:
        job = await ended(jobs, (await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")).id)
        with closing(sqlite3.connect(workspace.serve / "jobs.db", timeout=60)) as database, database:
            database.execute("UPDATE workflow_status SET status = 'PENDING', output = NULL, completed_at = NULL")
        assert jobs.get(job.id).state == "running"
        await asyncio.sleep(0.1)
        watch = JobMonitor(jobs)
        watch.sweep()
        assert watch.swept == 0, "what has just begun is given time"
        monkeypatch.setattr(sweep, "_SETTLED_S", 0)
        watch.sweep()
        assert watch.swept == 2, "the job and its process"
        assert (await ended(jobs, job.id)).state == "done"
        assert len(starts(jobs.folder(job.id))) == 1, "nothing ran again: it had said how it ended"

    served(jobs, scene())


def test_a_database_that_refuses_a_write_fails_no_job(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a process ended cannot be kept, as where the disk is full just then: that is no end of its job. It goes on
    when there is room, and nothing is run again."""
    monkeypatch.setattr(sweep, "_SETTLED_S", 0)
    write_project(workspace, "tiny", teacher.url)

    def database_full(is_full: bool) -> None:
        with closing(sqlite3.connect(workspace.serve / "jobs.db", timeout=60)) as database:
            refuse = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            text = f"CREATE TRIGGER full BEFORE INSERT ON operation_outputs {refuse}"
            database.execute(text if is_full else "DROP TRIGGER full")

    def environment(project: Project) -> dict[str, str]:
        database_full(True)
        return job_environment(project)

    jobs = Jobs(workspace, environment=environment)

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: (jobs.folder(job.id) / "exit-0.json").exists() or job.has_ended)
        watch = JobMonitor(jobs)

        def swept(job: Job) -> Job:
            watch.sweep()
            return job

        await job_that(jobs, job.id, lambda job: swept(job).has_ended or watch.swept > 0)
        assert not jobs.get(job.id).has_ended
        database_full(False)
        now = await job_that(jobs, job.id, lambda job: swept(job).has_ended)
        assert (now.state, now.problem) == ("done", None)
        assert len(starts(jobs.folder(job.id))) == 1

    served(jobs, scene())


def test_a_job_that_went_with_its_project_keeps_nobody_from_the_others(workspace: Workspace) -> None:
    """Whoever watches over jobs passes it over, and looks after those of other projects as before."""
    for slug in ("gone", "kept"):
        write_project(workspace, slug, "http://127.0.0.1:9/v1")
    jobs = Jobs(workspace)
    watch = JobMonitor(jobs)
    gone, kept = (jobs.start(slug, "curate", NO_OPTIONS, "ann") for slug in ("gone", "kept"))
    assert {job.id for job in watch._check_jobs()} == {gone.id, kept.id}
    jobs.cancel(gone.id)
    jobs.forget("gone", workspace.serve / "trash" / "gone")
    assert [(job.id, job.position) for job in watch._check_jobs()] == [(kept.id, 1)]
    jobs.cancel(kept.id)
    assert [job.id for job in watch._check_jobs()] == [kept.id]
    jobs.close()


@pytest.mark.parametrize(
    ("left_s", "says"), [(None, ""), (20, "; its current step takes about 1 more minute"), (400, " 7 more minutes")]
)
def test_how_long_the_one_that_computes_needs_is_said(tmp_path: Path, left_s: float | None, says: str) -> None:
    """To those who wait, as far as it has reported it; nothing is guessed."""
    assert describe_running_job(tmp_path) == "another project is using the GPU"
    line = {"at": 1.0, "stage": "train", "numbers": {"done": 1}, "pace": {"left_s": left_s}}
    (tmp_path / "events.jsonl").write_text(json.dumps(line) + "\n")
    assert describe_running_job(tmp_path).startswith("another project is using the GPU")
    assert describe_running_job(tmp_path).endswith(says)
