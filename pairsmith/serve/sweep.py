"""Background work of a server besides its queues: stopping jobs, recovering jobs after a database outage, and
publishing the state of each job to the hub."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pairsmith.serve import metrics, traces
from pairsmith.serve.job import NoSuchJob
from pairsmith.serve.process import is_held, stop

if TYPE_CHECKING:
    from pairsmith.serve.job import Job
    from pairsmith.serve.jobs import Jobs

_LOG = logging.getLogger(__name__)
_TICK_S = 0.25
_CHECK_EVERY_S = 1.0
SWEEP_EVERY_S = 15.0
_ENDED_WITHIN_S = 60.0
_SETTLED_S = 5.0  # a workflow dequeued longer ago than this is known to the process that runs it


class JobMonitor:
    """Runs as long as the server does. If the database is unavailable, it tries again."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._watched: dict[str, Job] = {}
        self._changed_s: dict[str, float] = {}
        self._logged: dict[str, str] = {}  # the state of each job that has not ended
        self._began_s = time.time()

    async def run(self) -> None:
        checked_s = swept_s = -math.inf
        while True:
            now_s = time.monotonic()
            if is_due := now_s - swept_s >= SWEEP_EVERY_S:
                await self._try(self._adopt_running)
            if is_due or now_s - checked_s >= _CHECK_EVERY_S:
                await self._try(self._check_jobs)
                checked_s = now_s
            if is_due:
                await self._try(self.sweep)
                swept_s = now_s
            for job_id in list(self._watched):
                await self._try(self._check_progress, job_id)
            await asyncio.sleep(_TICK_S)

    async def _try(self, work: Callable[..., list[Job] | None], *arguments: str) -> None:
        """Run `work` in a thread and publish the jobs it returns. Failures are logged, and the work is tried again."""
        try:
            for job in await asyncio.to_thread(work, *arguments) or ():
                if job.has_ended:
                    traces.job_ended(job)
                if self._logged.pop(job.id, None) != job.state:  # progress is a change, too
                    _LOG.info("job %s of %s is %s", job.id, job.project, job.state, extra={"job": job.id})
                if not job.has_ended:
                    self._logged[job.id] = job.state
                self._jobs.hub.publish("job", job.project, f"job:{job.project}", job.model_dump(mode="json"))
        except Exception as error:
            what = str(error).strip().splitlines()
            _LOG.warning("checking the jobs failed and will be retried: %s %s", type(error).__name__, what[:1])

    def _adopt_running(self) -> list[Job]:
        """Watch every job whose process is alive, and return those that were not watched yet.

        That includes jobs that were stopped while no server was running, and jobs whose process had only just started.
        """
        adopted = {}
        for lock in self._jobs.workspace.jobs_folder.glob("*/lock"):
            job_id = lock.parent.name
            if job_id not in self._watched and is_held(lock.parent) and (job := self._current(job_id)):
                adopted[job_id] = job
        self._watched |= adopted
        return list(adopted.values())

    def _check_jobs(self) -> list[Job]:
        """The jobs whose state has changed, oldest first. The processes of stopped jobs are asked to end.

        A job that began and ended since the last check is found by when it ended."""
        now = {job.id: job for job in self._jobs.active()}
        ended = {job.id: job for job in self._jobs.ended_since(max(self._began_s, time.time() - _ENDED_WITHIN_S))}
        listed = now | ended
        now |= ended
        now |= {job_id: job for job_id in self._watched.keys() - now.keys() if (job := self._current(job_id))}
        for job in now.values():
            if job.state == "stopping":
                stop(self._jobs.folder(job.id))
        changed = [job for job_id, job in now.items() if self._watched.get(job_id) != job]
        self._watched = {job_id: job for job_id, job in now.items() if not job.has_ended or job_id in listed}
        self._changed_s = {job_id: at_s for job_id, at_s in self._changed_s.items() if job_id in self._watched}
        return sorted(changed, key=lambda job: (job.created, not job.has_ended))

    def _check_progress(self, job_id: str) -> list[Job]:
        """The job, if its process has reported since the last check."""
        try:
            changed_s = (self._jobs.folder(job_id) / "events.jsonl").stat().st_mtime
        except FileNotFoundError:
            return []
        if self._changed_s.get(job_id) == changed_s:
            return []
        self._changed_s[job_id] = changed_s
        job = self._current(job_id)
        if job is None or job == self._watched[job_id]:
            return []
        self._watched[job_id] = job
        return [job]

    def _current(self, job_id: str) -> Job | None:
        """The current state of a job; None if it was deleted with its project."""
        try:
            return self._jobs.get(job_id)
        except NoSuchJob:
            return None

    def sweep(self) -> None:
        """Put workflows back into their queue that the database lists as running on this server although they are not.

        A workflow whose end could not be written during a database outage would stay like that forever and occupy its
        place in the queue.
        """
        from dbos._dbos import _get_dbos_instance

        from pairsmith.serve.workflows import EXECUTOR

        rows = self._jobs.client.list_workflows(
            status="PENDING", executor_id=EXECUTOR, load_input=False, load_output=False
        )
        # Read after the rows: a workflow that starts between the two is running. One that ends is not resumed.
        running = set(_get_dbos_instance()._active_workflows_set.activeList())
        now_ms = time.time() * 1000
        for row in rows:
            # abs() because the clock may have been set back
            is_settled = abs(now_ms - (row.updated_at or 0)) > _SETTLED_S * 1000
            if row.workflow_id not in running and is_settled:
                _LOG.warning("job %s was interrupted by a database outage and continues", row.workflow_id)
                self._jobs.client.resume_workflow(row.workflow_id, queue_name=row.queue_name)
                metrics.REPAIRS.inc()
