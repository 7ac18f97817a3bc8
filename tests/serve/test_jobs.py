"""Jobs from request to end, with a job server in this process and real job processes."""

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
from pairsmith.serve import metrics, parts, sweep
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


def run_scenes(jobs: Jobs, *scenes: Coroutine[Any, Any, None]) -> None:
    """Run the scenes one after the other, each with its own job server."""

    async def play(scene: Coroutine[Any, Any, None]) -> None:
        async with jobs.serving():
            await scene

    for scene in scenes:
        asyncio.run(play(scene))


def pid_of(jobs: Jobs, job: Job) -> int:
    pid: int = json.loads((jobs.folder(job.id) / "lock").read_text())["pid"]
    return pid


def dissimilar_seeds(count: int) -> tuple[str, ...]:
    """Seeds that are not similar to each other, because near-duplicates of test seeds are not generated."""
    draw = random.Random(0)
    return tuple(" ".join(draw.choices(WORDS, k=6)) for _ in range(count))


def count_pairs(workspace: Workspace, slug: str) -> int:
    with closing(sqlite3.connect(workspace.folder(slug) / "pairsmith.db", timeout=60)) as store:
        return int(store.execute("SELECT count(*) FROM pairs").fetchone()[0])


def test_job_runs_once_and_all_see_the_same_state(workspace: Workspace) -> None:
    """A job is started once per idempotency key, and its project accepts no second one meanwhile. Progress, result and
    log come from its folder. Continuing creates a new job, which finds everything done."""
    refused = threading.Event()
    jobs = Jobs(workspace)

    async def scene() -> None:
        events: list[dict[str, Any]] = []

        async def listen() -> None:
            async for event in jobs.hub.subscribe(["tiny"]):
                events.append(event["data"])

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
        await job_that(jobs, job.id, lambda job: any(state["state"] == "done" for state in events))
        done = await asyncio.to_thread(jobs.get, job.id)
        assert {state["id"] for state in events} == {job.id}
        assert [state["state"] for state in events].index("done") == len(events) - 1
        assert (done.state, done.exit_code, done.problem) == ("done", 0, None)
        assert done.answer is not None
        assert done.answer["rows_in"] == done.answer["waiting"] == 24
        assert done.progress is not None
        numbers = done.progress["numbers"]
        assert numbers["done"] == numbers["total"] == numbers["passed"] == 24, "passed rows are not counted live"
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
        run_scenes(jobs, scene())
    assert len(teacher.asked) == 12
    with pytest.raises(NoSuchProject):
        jobs.start("absent", "generate", NO_OPTIONS, "ann")
    with pytest.raises(NoSuchJob):
        jobs.log("absent")
    jobs.close()


def test_stopped_job_saves_what_is_in_flight_and_can_be_continued(workspace: Workspace) -> None:
    """Stopping sends one request to the process, which saves what is in flight; a continuing job then generates the
    rest."""
    asked_to_stop = threading.Event()
    jobs = Jobs(workspace)

    def in_flight_until_then(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number <= 4 or asked_to_stop.is_set())

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: len(teacher.asked) >= 8)
        stopping = await asyncio.to_thread(jobs.cancel, job.id)
        assert stopping.state == "stopping"
        assert [job.state for job in await asyncio.to_thread(jobs.active)] == ["stopping"], "not shown until it ends"
        with pytest.raises(ProjectBusy):
            await asyncio.to_thread(jobs.continue_job, job.id, "ann")
        await job_that(jobs, job.id, lambda job: b"stopping: " in jobs.log(job.id))
        asked_to_stop.set()
        stopped = await ended(jobs, job.id)
        assert (stopped.state, stopped.exit_code, stopped.problem) == ("stopped", 130, None)
        assert await asyncio.to_thread(jobs.active) == []
        assert 0 < count_pairs(workspace, "tiny") < 48
        assert (await asyncio.to_thread(jobs.cancel, job.id)).state == "stopped"
        again = await asyncio.to_thread(jobs.continue_job, job.id, "ann")
        assert (await ended(jobs, again.id)).state == "done"

    with LoopbackTeacher(in_flight_until_then) as teacher:
        write_project(workspace, "tiny", teacher.url, dissimilar_seeds(24))
        run_scenes(jobs, scene())
    assert count_pairs(workspace, "tiny") == 48
    assert len(teacher.asked) == 24, "a request was sent twice"


def test_simultaneous_requests_start_one_job(workspace: Workspace) -> None:
    """However close together they are, a project gets one job; with the same key all requests return it."""
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


def test_job_stopped_while_its_process_starts_does_nothing(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """The process cannot be found yet, so it ends by itself: no request reaches the teacher, and the project is
    free."""
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

    run_scenes(jobs, scene())
    assert len(teacher.asked) == 0


def test_queued_job_can_be_stopped(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """Without a job server a job is queued; it can be seen and stopped, and then never runs."""
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

    run_scenes(jobs, scene())
    assert len(teacher.asked) == 0
    jobs.close()


def test_job_processes_outlive_their_server(workspace: Workspace) -> None:
    """A server that stops leaves its jobs running, and a process can be stopped meanwhile. The next server adopts the
    processes with their actual end, and starts none again."""
    no_server, stopping = threading.Event(), threading.Event()
    jobs, begun = Jobs(workspace), list[Job]()

    def busy_until(over: threading.Event) -> LoopbackTeacher:
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

    with busy_until(no_server) as one, busy_until(stopping) as two:
        for slug, teacher in (("one", one), ("two", two)):
            write_project(workspace, slug, teacher.url, dissimilar_seeds(24))
        run_scenes(jobs, first())
        no_server.set()
        assert jobs.cancel(begun[1].id).state == "stopping"
        while b"stopping: " not in jobs.log(begun[1].id):
            time.sleep(0.05)
        stopping.set()
        run_scenes(jobs, second())
    jobs.close()
    assert [len(starts(jobs.folder(job.id))) for job in begun] == [1, 1]
    assert count_pairs(workspace, "one") == 48
    assert 0 < count_pairs(workspace, "two") < 48


def test_killed_job_process_is_restarted(workspace: Workspace) -> None:
    """After SIGKILL, or SIGTERM at the end of a container, the job continues where it was; at most the requests in
    flight are sent again."""
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
        run_scenes(jobs, scene())
    assert count_pairs(workspace, "tiny") == 24
    assert len(teacher.asked) <= 12 + 8, "twice the concurrency may be in flight"


def test_job_continues_in_a_workspace_that_was_moved(workspace: Workspace, tmp_path: Path) -> None:
    """The machine went down during a job, and its disk was mounted elsewhere: the job failed, with the advice to create
    a project where it had been."""
    jobs, begun, is_moved = Jobs(workspace), list[Job](), threading.Event()

    def in_flight_until_moved(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number <= 4 or is_moved.is_set())

    async def first() -> None:
        begun.append(await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann"))
        await job_that(jobs, begun[0].id, lambda job: len(teacher.asked) >= 8)

    async def second() -> None:
        job = await ended(moved, begun[0].id)
        assert (job.state, job.problem) == ("done", None)

    with LoopbackTeacher(in_flight_until_moved) as teacher:
        write_project(workspace, "tiny", teacher.url)
        run_scenes(jobs, first())
        os.kill(pid_of(jobs, begun[0]), signal.SIGKILL)
        jobs.close()
        moved = Jobs(Workspace(workspace.root.rename(tmp_path / "elsewhere")))
        is_moved.set()
        run_scenes(moved, second())
        moved.close()
    assert count_pairs(moved.workspace, "tiny") == 24
    assert len(teacher.asked) <= 12 + 4, "only what was in flight is sent again"
    assert not workspace.root.exists()


def test_repeatedly_killed_process_fails_with_its_signal(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """It is restarted three times; then the job fails, with a message that says what to do."""
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

    run_scenes(jobs, scene())


def test_run_fails_if_its_spec_is_changed_between_its_parts(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """A run in several processes must use one spec, so that it never generates anything again unexpectedly. A part that
    needs the GPU waits until it is free."""
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

    run_scenes(jobs, scene())
    assert len(teacher.asked) == 12


def test_one_job_at_a_time_uses_the_gpu(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in the order of their start, each with its position. The message does not name the running
    project, because the user may have no access to it."""
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
            assert (waiting.note or "").startswith("another project is computing on this machine")
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
        run_scenes(jobs, scene())


def test_refused_spec_fails_the_job_with_its_message(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """A refusal by the policy and an invalid spec are reported like the command's own errors."""
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

    run_scenes(jobs, scene())


def test_job_process_gets_only_the_variables_its_spec_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the server's environment that the spec does not name is not passed to the job."""
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


def test_unavailable_database_is_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A starting server reports it after its timeout and a query at once; the message contains no password."""
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


def repairs() -> float:
    """How many workflows sweeps have recovered, as the service counts them."""
    return metrics.REGISTRY.get_sample_value("pairsmith_sweep_repairs_total") or 0.0


def test_database_outage_leaves_no_job_pending(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the end of a workflow could not be written because the database was away, it stays "pending" there and
    occupies its queue. The sweep detects that nothing runs it, and ends it."""
    monkeypatch.setattr(sweep, "SWEEP_EVERY_S", 3600)  # the test itself sweeps, after the first time
    monkeypatch.setattr(sweep, "_SETTLED_S", 3600)
    write_project(workspace, "tiny", teacher.url)
    jobs = Jobs(workspace)

    async def scene() -> None:
        job = await ended(jobs, (await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")).id)
        with closing(sqlite3.connect(workspace.serve / "jobs.db", timeout=60)) as database, database:
            database.execute("UPDATE workflow_status SET status = 'PENDING', output = NULL, completed_at = NULL")
        assert jobs.get(job.id).state == "running"
        await asyncio.sleep(0.1)
        watch, before = JobMonitor(jobs), repairs()
        watch.sweep()
        assert repairs() == before, "a new job was swept too early"
        monkeypatch.setattr(sweep, "_SETTLED_S", 0)
        watch.sweep()
        assert repairs() == before + 2, "the job and its process"
        assert (await ended(jobs, job.id)).state == "done"
        assert len(starts(jobs.folder(job.id))) == 1, "the process ran again although its result was written"

    run_scenes(jobs, scene())


def test_database_that_refuses_a_write_fails_no_job(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the end of a process cannot be recorded, for example because the disk is full, the job does not fail. It ends
    once there is space, and nothing is run again. Meanwhile each attempt to record it replaces the one before."""
    from dbos._dbos import _get_dbos_instance

    write_project(workspace, "tiny", teacher.url)

    def database_full(is_full: bool) -> None:
        with closing(sqlite3.connect(workspace.serve / "jobs.db", timeout=60)) as database:
            refuse = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            text = f"CREATE TRIGGER IF NOT EXISTS full BEFORE INSERT ON operation_outputs {refuse}"
            database.execute(text if is_full else "DROP TRIGGER full")

    def environment(project: Project) -> dict[str, str]:
        database_full(True)
        return job_environment(project)

    jobs = Jobs(workspace, environment=environment)

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "generate", NO_OPTIONS, "ann")
        await job_that(jobs, job.id, lambda job: (jobs.folder(job.id) / "exit-0.json").exists() or job.has_ended)
        # Not earlier, and not 0: a workflow that a busy machine is still starting would be taken for interrupted.
        monkeypatch.setattr(sweep, "_SETTLED_S", 1.0)
        watch, before = JobMonitor(jobs), repairs()

        def swept(job: Job) -> Job:
            watch.sweep()
            return job

        await job_that(jobs, job.id, lambda job: swept(job).has_ended or repairs() >= before + 3)
        assert not jobs.get(job.id).has_ended
        assert len(_get_dbos_instance()._workflow_tasks) <= 2, "attempts that failed still wait for the end of the job"
        database_full(False)
        now = await job_that(jobs, job.id, lambda job: swept(job).has_ended)
        assert (now.state, now.problem) == ("done", None)
        assert len(starts(jobs.folder(job.id))) == 1

    run_scenes(jobs, scene())


def test_a_failure_that_the_database_cannot_record_is_shown(
    workspace: Workspace, teacher: LoopbackTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a process failed because the disk is full, its job does not look as if it ran on: it has failed, with the
    message, although the database of the jobs could not be written either. The monitor reports that once, and whoever
    starts another one learns what holds it up, not that a failed job has not ended."""
    write_project(workspace, "tiny", teacher.url)

    def environment(project: Project) -> dict[str, str]:
        with closing(sqlite3.connect(workspace.serve / "jobs.db", timeout=60)) as database:
            refuse = "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            database.execute(f"CREATE TRIGGER IF NOT EXISTS full BEFORE INSERT ON operation_outputs {refuse}")
        return job_environment(project)

    jobs = Jobs(workspace, environment=environment)
    monkeypatch.setattr("pairsmith.serve.jobs._RECORDED_WITHIN_S", 0.5)

    async def scene() -> None:
        job = await asyncio.to_thread(jobs.start, "tiny", "certify", NO_OPTIONS, "ann")
        now = await job_that(jobs, job.id, lambda job: job.has_ended)
        assert (now.state, bool(now.problem)) == ("failed", True)
        assert jobs.unended_job_id("tiny") == job.id, "the database still lists it"
        with pytest.raises(ProjectBusy, match=r"not recorded yet.*the disk is full\. Free disk space\."):
            await asyncio.to_thread(jobs.start, "tiny", "certify", NO_OPTIONS, "ann")
        watch = JobMonitor(jobs)
        reported = [await asyncio.to_thread(watch._check_jobs) for _ in range(3)]
        assert [len(changed) for changed in reported] == [1, 0, 0]

    run_scenes(jobs, scene())


def test_job_of_a_deleted_project_does_not_affect_others(workspace: Workspace) -> None:
    """The job monitor skips it and monitors the jobs of other projects as before."""
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


def test_job_that_ends_between_two_checks_is_published(workspace: Workspace) -> None:
    """The state of a job that began and ended between two checks is published once; a job that had ended before the
    server started is not, and the newest job of a project is published last."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    jobs = Jobs(workspace)
    jobs.cancel(jobs.start("tiny", "curate", NO_OPTIONS, "ann").id)
    time.sleep(1.1)
    watch = JobMonitor(jobs)
    assert watch._check_jobs() == []
    stopped = jobs.cancel(jobs.start("tiny", "curate", NO_OPTIONS, "ann").id)
    waiting = jobs.start("tiny", "curate", NO_OPTIONS, "ann")
    assert [(job.id, job.state) for job in watch._check_jobs()] == [(stopped.id, "stopped"), (waiting.id, "queued")]
    assert watch._check_jobs() == []
    assert watch._check_progress(stopped.id) == []
    jobs.close()


def test_the_log_has_each_state_of_a_job_once(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """Each report of progress wrote `is running` again: more than a line a second, a hundred thousand in a day."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    jobs = Jobs(workspace)
    queued = jobs.start("tiny", "curate", NO_OPTIONS, "ann")
    running = queued.model_copy(update={"state": "running", "stage": "curate"})
    states = [queued, running, running.model_copy(update={"stage": "split"}), jobs.cancel(queued.id)]
    watch = JobMonitor(jobs)
    with caplog.at_level("INFO", sweep.__name__):
        for state in states:
            asyncio.run(watch._try(lambda state=state: [state]))
    jobs.close()
    assert [line.rpartition(" ")[2] for line in caplog.messages] == ["queued", "running", "stopped"]


@pytest.mark.parametrize(
    ("left_s", "says"), [(None, ""), (20, "; its current step takes about 1 more minute"), (400, " 7 more minutes")]
)
def test_waiting_message_estimates_the_remaining_time(tmp_path: Path, left_s: float | None, says: str) -> None:
    """The message for waiting jobs includes the time left, if the running job has reported it."""
    assert describe_running_job(tmp_path) == "another project is computing on this machine"
    line = {"at": 1.0, "stage": "train", "numbers": {"done": 1}, "pace": {"left_s": left_s}}
    (tmp_path / "events.jsonl").write_text(json.dumps(line) + "\n")
    assert describe_running_job(tmp_path).startswith("another project is computing on this machine")
    assert describe_running_job(tmp_path).endswith(says)
