"""Jobs: start, inspect, stop and continue them. Works both in a server and without one.

The request is a row of DBOS. Whether a job runs is shown by a lock; its progress and result are files in the job's
folder (see `pairsmith.serve.child`). A `Job` is assembled from these on every read and stored nowhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import DBAPIError

from pairsmith.serve import events, workflows
from pairsmith.serve.database import refuse_other_database
from pairsmith.serve.environment import Environment, job_environment
from pairsmith.serve.job import ENDED, Job, JobOptions, NoSuchJob, ProjectBusy, State, check_options
from pairsmith.serve.parts import Request
from pairsmith.serve.process import End, ended, is_held, starts, stop
from pairsmith.serve.workflows import HEAVY, JOBS, VERSION
from pairsmith.serve.workspace import Workspace, within
from pairsmith.terminal.stopping import INTERRUPTED
from schemas.errors import UsageError
from schemas.store.failures import explained
from schemas.store.opening import sqlite_url
from schemas.wording import counted

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

    from pairsmith.serve.events import Hub

_LOG = logging.getLogger(__name__)
_MOST_STOPPING = 50  # how many of the last stopped jobs are checked for one that has not ended
DATABASE_TIMEOUT_S = 60.0
_RECORDED_WITHIN_S = 10.0  # in which the database has the end of a process, unless it cannot be written
_ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]
_STATES: dict[int, State] = {0: "done", 11: "waits_for_people", INTERRUPTED: "stopped"}


class Jobs:
    """The jobs of a workspace.

    `database_url` names a PostgreSQL database for them alone; by default it is a SQLite file in `.serve/`.
    `environment` returns the variables of a project's processes, and may reject its spec.
    """

    def __init__(
        self, workspace: Workspace, *, environment: Environment = job_environment, database_url: str | None = None
    ) -> None:
        self.workspace = workspace
        self.hub: Hub = events.Hub()
        refuse_other_database(database_url)
        self.database_url = database_url or sqlite_url(workspace.serve.resolve() / "jobs.db")
        self._environment = environment

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run as the server of the workspace: process the queue and adopt the jobs of an earlier server.

        On exit, running jobs continue. Raises StoreBusy if there is another server.
        """
        from pairsmith.serve.sweep import JobMonitor

        with self.workspace.lock():
            await self._launch()
            watching = asyncio.create_task(JobMonitor(self).run())
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await asyncio.to_thread(workflows.destroy)
                self.close()

    async def _launch(self) -> None:
        """Start processing jobs as soon as their database answers. Raises StoreError if it does not within a minute."""
        runtime = workflows.JobRuntime(self.workspace, self._environment, self.database_url)
        until_s = time.monotonic() + DATABASE_TIMEOUT_S
        while True:
            try:
                await asyncio.to_thread(workflows.launch, runtime)
                await asyncio.to_thread(lambda: self.client)  # created before several threads need it
                return
            except Exception as error:
                await asyncio.to_thread(workflows.destroy)
                if time.monotonic() > until_s:
                    raise explained(error, self.database_url) from None
                _LOG.warning("the jobs database is not available yet: %s", explained(error, self.database_url).what)
                await asyncio.sleep(1.0)

    def close(self) -> None:
        """Close the connection to the database."""
        if client := self.__dict__.pop("client", None):
            client.destroy()

    def start(
        self,
        slug: str,
        command: str,
        options: JobOptions,
        by: str,
        key: str | None = None,
        continues: str | None = None,
    ) -> Job:
        """A new job at the end of the queue; the same job again for the same `by` and `key`.

        Raises ProjectBusy if the project has a job that has not ended, UsageError for an unknown command or option and
        for a key that was used for another request, and NoSuchProject.
        """
        from dbos import error

        check_options(command, options)
        self.workspace.folder(slug)
        job_id = _id_prefix(slug) + (uuid.uuid5(uuid.NAMESPACE_URL, f"{by}\n{key}") if key else uuid.uuid4()).hex[:24]
        request = Request(
            id=job_id,
            project=slug,
            command=command,
            options=options.model_dump(exclude_defaults=True),
            by=by,
            continues=continues,
        )
        if existing := self._rows(workflow_ids=[job_id]):
            if _request(existing[0]) != request:
                raise UsageError("this key was used for another request.", fix="Use a new key for each request.")
            return self.get(job_id)
        if (busy := self.unended_job_id(slug)) and busy != job_id:
            unrecorded = self.get(busy).has_ended and self.unended_job_id(slug) == busy
            raise ProjectBusy(slug, busy, unrecorded=unrecorded)
        try:
            with self._database():
                self.client.enqueue(
                    {
                        "queue_name": JOBS,
                        "workflow_name": "job",
                        "workflow_id": job_id,
                        "app_version": VERSION,
                        "deduplication_id": slug,
                    },
                    request,
                )
        except error.DBOSQueueDeduplicatedError:
            if (busy := self.unended_job_id(slug)) != job_id:
                raise ProjectBusy(slug, busy or "it has just ended") from None
        return self.get(job_id)

    def cancel(self, job_id: str) -> Job:
        """Stop a job: it is removed from its queue, and a running process drains and saves.

        A job that has ended is unchanged. Works without a server, too. Raises NoSuchJob.
        """
        job = self.get(job_id)
        if not job.has_ended:
            with self._database():
                self.client.cancel_workflow(job_id, cancel_children=True)
            stop(self.folder(job_id))
        return self.get(job_id)

    def continue_job(self, job_id: str, by: str) -> Job:
        """Start a new job with the same request; finished work is reused. Calling it twice starts one job.

        Raises NoSuchJob, and ProjectBusy while this job or another one of its project has not ended.
        """
        job = self.get(job_id)
        if not job.has_ended:
            raise ProjectBusy(job.project, job.id)
        return self.start(job.project, job.command, job.options, by, f"continues {job_id}", job_id)

    def get(self, job_id: str) -> Job:
        """The current state of a job. Raises NoSuchJob."""
        rows = self._rows(workflow_ids=[job_id], name="job")
        if not rows:
            raise NoSuchJob(f"there is no job '{job_id}'.", fix="`pairsmith jobs` lists the jobs.")
        return self._jobs(rows)[0]

    def list(self, slug: str | None = None, limit: int = 50) -> Sequence[Job]:
        """The newest jobs of one project or of all, newest first."""
        prefix = _id_prefix(slug) if slug else None
        return self._jobs(self._rows(name="job", workflow_id_prefix=prefix, limit=limit, sort_desc=True))

    def active(self) -> Sequence[Job]:
        """The jobs that are waiting, running or being stopped, in the order in which they were requested."""
        rows = self._rows(name="job", status=_ACTIVE)
        stopped = self._rows(name="job", status="CANCELLED", limit=_MOST_STOPPING, sort_desc=True, load_output=False)
        stopping = [row for row in stopped if is_held(self.folder(row.workflow_id))]
        return self._jobs(sorted([*rows, *stopping], key=lambda row: row.created_at or 0))

    def ended_since(self, seconds: float) -> Sequence[Job]:
        """The jobs that have ended since a time in seconds since 1970, of which SQLite records whole ones."""
        since = datetime.fromtimestamp(int(seconds), UTC).isoformat()
        return [job for job in self._jobs(self._rows(name="job", completed_after=since)) if job.has_ended]

    def unended_job_id(self, slug: str) -> str | None:
        """The id of the project's job that has not ended, including one that is being stopped; None if there is
        none."""
        mine: dict[str, Any] = {"name": "job", "workflow_id_prefix": _id_prefix(slug), "load_output": False}
        if active := self._rows(**mine, status=_ACTIVE, limit=1):
            return active[0].workflow_id
        recent = self._rows(**mine, limit=5, sort_desc=True)
        return next((row.workflow_id for row in recent if is_held(self.folder(row.workflow_id))), None)

    def find_by_prefix(self, prefix: str) -> Sequence[Job]:
        """The jobs whose id begins with this prefix, at most two."""
        return self._jobs(self._rows(name="job", workflow_id_prefix=prefix, limit=2)) if prefix else ()

    def is_served(self) -> bool:
        """Whether a server, this process or another one, is using the workspace."""
        return is_held(self.workspace.serve)

    def folder(self, job_id: str) -> Path:
        """The folder of a job's files."""
        return self.workspace.jobs_folder / job_id

    def uncounted_usd(self, job_id: str) -> float | None:
        """The project's spending in dollars that does not count towards the cap of a job.

        That is what was spent before the job and before the jobs that it continues. None before its first process.
        """
        pins = self.folder(job_id) / "pins.json"
        return float(json.loads(pins.read_bytes())["usd"]) if pins.is_file() else None

    def forget(self, slug: str, trash: Path) -> None:
        """Remove the jobs of a deleted project and move their folders to `trash`.

        A later project of the same name then starts without jobs. None of them may be waiting or running.
        """
        ids = [row.workflow_id for row in self._rows(name="job", workflow_id_prefix=_id_prefix(slug))]
        trash.mkdir(parents=True)
        for folder in filter(Path.is_dir, map(self.folder, ids)):
            folder.rename(trash / folder.name)
        with self._database():
            self.client.delete_workflows(ids, delete_children=True)

    def log(self, job_id: str, from_byte: int = 0) -> bytes:
        """The output of the job's processes, from byte `from_byte` on. Raises NoSuchJob.

        The middle of a long log is dropped: an offset in the gap continues after it.
        """
        self.get(job_id)
        parts = []
        for log_file in sorted((self.folder(job_id) / "log").glob("*.txt")):
            with log_file.open("rb") as file:
                file.seek(max(0, from_byte - int(log_file.stem)))
                parts.append(file.read())
        return b"".join(parts)

    @cached_property
    def client(self) -> DBOSClient:
        """The DBOS client. The first access creates the database's tables."""
        from dbos import DBOS, DBOSClient

        logging.getLogger("dbos").setLevel(logging.ERROR)
        self.workspace.jobs_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        DBOS.migrate(self.database_url)
        return DBOSClient(
            system_database_url=self.database_url, application_name="pairsmith", retry_connection_errors=False
        )

    # ---- assembling jobs ------------------------------------------------------------------------------------------

    def _rows(self, **wanted: Any) -> Sequence[WorkflowStatus]:
        with self._database():
            return self.client.list_workflows(**wanted)

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Raises StoreError if the database is unavailable: the caller learns it at once, and running jobs are not
        affected."""
        try:
            yield
        except DBAPIError as error:
            raise explained(error, self.database_url) from None

    def _jobs(self, rows: Sequence[WorkflowStatus]) -> Sequence[Job]:
        if not any(row.status in _ACTIVE for row in rows):
            return [self._job(row, (), {}) for row in rows]
        active = self._rows(status=_ACTIVE)  # one query: a workflow enqueued between two would have no position
        parts = [row for row in active if row.name == "process"]
        in_queue, places = Counter[str | None](), dict[str, int]()
        for row in sorted(active, key=lambda row: row.created_at or 0):
            if row.status == "ENQUEUED":
                in_queue[row.queue_name] += 1
                places[row.workflow_id] = in_queue[row.queue_name]
        return [self._job(row, parts, places) for row in rows]

    def _job(self, row: WorkflowStatus, parts: Iterable[WorkflowStatus], places: dict[str, int]) -> Job:
        request, folder = _request(row), self.folder(row.workflow_id)
        began, running = starts(folder), is_held(folder)
        nth = began[-1]["part"] if began else 0
        end = ended(folder, nth) or {}
        progress = events.last(folder / "events.jsonl")
        status = self._status(row, running, parts)
        state, problem = status.state, status.problem
        answer = end.get("answer") if state in ("done", "waits_for_people") else None
        note = status.note or ((answer or {}).get("facts") or {}).get("waits")
        if state == "stopped":
            note = (end.get("problem") or {}).get("what")
        signs = [path.stat().st_mtime for path in (folder / "events.jsonl", *folder.glob("log/*.txt")) if path.exists()]
        return Job(
            id=row.workflow_id,
            project=request["project"],
            command=request["command"],
            options=JobOptions.model_validate(request["options"]),
            by=request["by"],
            state=state,
            position=places.get(status.waiting),
            created=_from_milliseconds(row.created_at) or datetime.now(UTC),
            started=_from_timestamp(began[0]["at"]) if began else None,
            ended=(_from_timestamp(end.get("ended")) or _from_milliseconds(row.completed_at))
            if state in ENDED
            else None,
            stage=progress["stage"] if progress else None,
            exit_code=status.code,
            problem=problem and {name: self._within(part) for name, part in problem.items()},
            progress=progress,
            answer=answer,
            note=note,
            continues=request["continues"],
            last_sign_of_life=_from_timestamp(max(signs)) if signs else None,
        )

    def _within(self, part: Any) -> Any:
        return within(part, self.workspace.root) if isinstance(part, str) else part

    def _status(self, row: WorkflowStatus, running: bool, parts: Iterable[WorkflowStatus]) -> _Status:
        if row.status == "CANCELLED" and running:
            return _Status("stopping")
        if row.status in ("CANCELLED", "SUCCESS"):
            end: End = self._end_of_stopped_job(row.workflow_id) if row.output is None else row.output
            return _Status(_STATES.get(end["code"], "failed"), end["code"], end["problem"])
        if row.status not in _ACTIVE:
            what = f"this is a defect of pairsmith: {row.error!r}"
            return _Status("failed", 1, {"kind": "Defect", "what": what, "exit_code": 1})
        if running:
            return _Status("running")
        if unrecorded := self._unrecorded_end(row.workflow_id):
            return _Status(_STATES.get(unrecorded["code"], "failed"), unrecorded["code"], unrecorded["problem"])
        part = next((part for part in parts if part.parent_workflow_id == row.workflow_id), None)
        if part is None or part.status == "PENDING":
            return _Status("queued" if row.status == "ENQUEUED" else "running", waiting=row.workflow_id)
        if part.queue_name != HEAVY:
            return _Status("queued", waiting=part.workflow_id)
        ahead = next((one for one in parts if one.queue_name == HEAVY and one.status == "PENDING"), None)
        holder = ahead and ahead.parent_workflow_id
        note = describe_running_job(self.folder(holder)) if holder else None
        return _Status("waits_for_gpu", waiting=part.workflow_id, note=note)

    def _unrecorded_end(self, job_id: str) -> End | None:
        """How a job has failed that the database, on a full disk for example, still lists as running; None if it
        succeeded, runs on or has only just ended."""
        end = self._last_end(job_id)
        if end is None or end["code"] in (0, INTERRUPTED) or time.time() - end["ended"] < _RECORDED_WITHIN_S:
            return None
        return End(code=end["code"], problem=end["problem"])

    def _last_end(self, job_id: str) -> dict[str, Any] | None:
        """What the job's last process recorded; None if it has not ended or another one follows."""
        folder = self.folder(job_id)
        nth = max((start["part"] for start in starts(folder)), default=0)
        end = ended(folder, nth)
        if end is None or (end["code"] == 0 and json.loads((folder / f"part-{nth}.json").read_bytes())["until"]):
            return None
        return end

    def _end_of_stopped_job(self, job_id: str) -> End:
        """How a stopped job ended: as usual if its last process had ended before it could receive the signal."""
        if (end := self._last_end(job_id)) is None:
            return End(code=INTERRUPTED, problem=None)
        return End(code=end["code"], problem=None if end["code"] == INTERRUPTED else end["problem"])


class _Status(NamedTuple):
    """The state of a job: how it ended, or the workflow (`waiting`) whose queue position it has, and a note."""

    state: State
    code: int | None = None
    problem: dict[str, Any] | None = None
    waiting: str = ""
    note: str | None = None


def describe_running_job(folder: Path) -> str:
    """A note that another job is computing, and for about how long in its current step, if known.

    It does not name the job's project, which the reader may not be allowed to know of.
    """
    left_s = ((events.last(folder / "events.jsonl") or {}).get("pace") or {}).get("left_s")
    if not left_s:
        return "another project is computing on this machine"
    minutes = counted(max(1, round(left_s / 60)), "more minute", "more minutes")
    return f"another project is computing on this machine; its current step takes about {minutes}"


def _id_prefix(slug: str) -> str:
    """The prefix of the ids of a project's jobs, by which they are found in the database."""
    return uuid.uuid5(uuid.NAMESPACE_URL, slug).hex[:8]


def _request(row: WorkflowStatus) -> Request:
    assert row.input is not None
    request: Request = row.input["args"][0]
    return request


def _from_milliseconds(milliseconds: int | None) -> datetime | None:
    return _from_timestamp(milliseconds / 1000) if milliseconds else None


def _from_timestamp(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
