"""What a server looks after beside its queues: jobs that were stopped, jobs that a database outage has left, and the
present state of each for the hub.
"""

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
_LOOK_EVERY_S = 1.0
SWEEP_EVERY_S = 15.0
_SETTLED_S = 5.0  # a workflow that was taken from its queue so long ago is known to the process that has it


class Watch:
    """Runs as long as the server does. A database that is away is waited for."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._watched: dict[str, Job] = {}
        self._changed_s: dict[str, float] = {}
        self.swept = 0
        """How many workflows the sweep has mended."""

    async def run(self) -> None:
        looked_s = swept_s = -math.inf
        while True:
            now_s = time.monotonic()
            if is_due := now_s - swept_s >= SWEEP_EVERY_S:
                await self._tried(self._take_up_running)
            if is_due or now_s - looked_s >= _LOOK_EVERY_S:
                await self._tried(self._look)
                looked_s = now_s
            if is_due:
                await self._tried(self.sweep)
                swept_s = now_s
            for job_id in list(self._watched):
                await self._tried(self._progress, job_id)
            await asyncio.sleep(_TICK_S)

    async def _tried(self, work: Callable[..., list[Job] | None], *arguments: str) -> None:
        """Do `work` in a thread and publish the jobs it gives; what fails is told in the log and tried again."""
        try:
            for job in await asyncio.to_thread(work, *arguments) or ():
                if job.has_ended:
                    traces.job_ended(job)
                _LOG.info("job %s of %s is %s", job.id, job.project, job.state, extra={"job": job.id})
                self._jobs.hub.publish("job", job.project, f"job:{job.project}", job.model_dump(mode="json"))
        except Exception as error:
            what = str(error).strip().splitlines()
            _LOG.warning("jobs could not be looked after, it is tried again: %s %s", type(error).__name__, what[:1])

    def _take_up_running(self) -> None:
        """Watch every job whose process lives, also one that was stopped while no server did, or looked as if it had
        none yet."""
        for lock in self._jobs.workspace.jobs_folder.glob("*/lock"):
            job_id = lock.parent.name
            if job_id not in self._watched and is_held(lock.parent) and (job := self._now(job_id)):
                self._watched[job_id] = job

    def _look(self) -> list[Job]:
        """The jobs whose state has changed; a process whose job was stopped is asked to end."""
        active = {job.id: job for job in self._jobs.active()}
        gone = {job_id: job for job_id in self._watched.keys() - active.keys() if (job := self._now(job_id))}
        self._jobs.looked_s = time.monotonic()
        now = active | gone
        for job in now.values():
            if job.state == "stopping":
                stop(self._jobs.folder(job.id))
        changed = [job for job_id, job in now.items() if self._watched.get(job_id) != job]
        self._watched = {job_id: job for job_id, job in now.items() if not job.has_ended}
        self._changed_s = {job_id: at_s for job_id, at_s in self._changed_s.items() if job_id in self._watched}
        return changed

    def _progress(self, job_id: str) -> list[Job]:
        """The job, if its process has reported since."""
        try:
            changed_s = (self._jobs.folder(job_id) / "events.jsonl").stat().st_mtime
        except FileNotFoundError:
            return []
        if self._changed_s.get(job_id) == changed_s:
            return []
        self._changed_s[job_id] = changed_s
        if (job := self._now(job_id)) is None:
            return []
        self._watched[job_id] = job
        return [job]

    def _now(self, job_id: str) -> Job | None:
        """The job as it is; None if it went with its project."""
        try:
            return self._jobs.get(job_id)
        except NoSuchJob:
            return None

    def sweep(self) -> None:
        """Put back into its queue what the database says this server runs, and it does not: the end of a workflow that
        could not be written while the database was away leaves it so for ever, and its place in the queue taken."""
        from dbos._dbos import _get_dbos_instance

        from pairsmith.serve.workflows import EXECUTOR

        running = set(_get_dbos_instance()._active_workflows_set.activeList())
        now_ms = time.time() * 1000
        for row in self._jobs.client.list_workflows(
            status="PENDING", executor_id=EXECUTOR, load_input=False, load_output=False
        ):
            is_settled = abs(now_ms - (row.updated_at or 0)) > _SETTLED_S * 1000  # the clock may have been set back
            if row.workflow_id not in running and is_settled:
                _LOG.warning("job %s was left by a database outage; it goes on", row.workflow_id)
                self._jobs.client.resume_workflow(row.workflow_id, queue_name=row.queue_name)
                self.swept += 1
                metrics.repaired()
