"""A job as a durable workflow of DBOS: what was asked, in which order, cancelled or not. Nothing else is kept there.

Rules, each of which has cost a job once: the version is fixed, because workflows of another version are never touched
again; so these functions keep their names, arguments and order of steps as long as it stands, and another shape needs
`jobs-2` beside it. A step is preemptible and async. Progress is no event of DBOS. Only the sweep resumes a workflow.
A database that refuses to be written (a full disk) is no end of a job: the workflow is left as it stands there.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID, error
from sqlalchemy.exc import DataError, DBAPIError, ProgrammingError

from pairsmith.failures import as_json
from pairsmith.serve import traces
from pairsmith.serve.environment import Environment
from pairsmith.serve.parts import Part, Request, next_part
from pairsmith.serve.process import End, kept_alive
from pairsmith.serve.workspace import Workspace
from schemas.errors import PairsmithError
from schemas.spec_file import load

VERSION = "jobs-1"
EXECUTOR = "server"
JOBS, LIGHT, HEAVY = "jobs", "light", "heavy"
_AT_ONCE = {JOBS: None, LIGHT: 4, HEAVY: 1}
_POLL_S = 0.5
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class JobPlace:
    """Where jobs run: the workspace, the environment of their processes, the database of what was asked."""

    workspace: Workspace
    environment: Environment
    database_url: str


_place: JobPlace | None = None
_dbos: DBOS | None = None


def launch(place: JobPlace) -> None:
    """Take up the jobs of the workspace, those of an earlier server first. One place a process."""
    global _place, _dbos
    _place = place
    config = DBOSConfig(
        name="pairsmith",
        system_database_url=place.database_url,
        application_version=VERSION,
        executor_id=EXECUTOR,
        log_level="ERROR",  # as a warning it tells every step that a stop leaves, with all its arguments
        run_migrations=True,
    )
    _dbos = DBOS(config=config)
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.ERROR)  # below that it advertises a console
    logger.handlers.clear()  # it is told by our own
    logger.propagate = True
    logger.addFilter(_is_a_failure)
    DBOS.launch()
    for name, at_once in _AT_ONCE.items():
        DBOS.register_queue(name, global_concurrency=at_once, polling_interval_sec=_POLL_S)


def destroy() -> None:
    """Leave the jobs alone: their processes go on, and the next server adopts them."""
    logging.getLogger("dbos").setLevel(logging.CRITICAL)  # it tells of every workflow that it leaves
    _take_no_more()
    DBOS.destroy(workflow_completion_timeout_sec=0)


def _take_no_more() -> None:
    """Let no worker take a workflow out of its queue: one that does while DBOS ends the loop on which it would run
    waits for ever, or leaves it unbegun."""
    for stop in _dbos.background_thread_stop_events if _dbos else ():
        stop.set()
    until_s = time.monotonic() + _STOP_TIMEOUT_S
    for thread in threading.enumerate():
        if thread.name.startswith("queue-worker-"):
            thread.join(max(0.0, until_s - time.monotonic()))


def _is_a_failure(record: logging.LogRecord) -> bool:
    """False for a job that a person has stopped, of which DBOS tells as an error."""
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, error.DBOSWorkflowCancelledError | error.DBOSAwaitedWorkflowCancelledError)


@DBOS.workflow(name="job", max_recovery_attempts=None)
async def job(request: Request) -> End:
    """The parts of a job, one after the other, until one ends badly or none is left."""
    with _left_to_the_sweep():
        return await _parts_of(request)


async def _parts_of(request: Request) -> End:
    part: Part | None = None
    end = End(code=0, problem=None)
    nth = 0
    while True:
        part, end = await _planned(request, part)
        if part is None:
            return end
        with SetWorkflowID(f"{request['id']}.{nth}"):
            handle = await DBOS.enqueue_workflow_async(HEAVY if part["heavy"] else LIGHT, process, request, nth, part)
        end = await handle.get_result(polling_interval_sec=_POLL_S)
        if end["code"] or part["until"] is None:
            return end
        nth += 1


@DBOS.workflow(name="process", max_recovery_attempts=None)
async def process(request: Request, nth: int, part: Part) -> End:
    """One part: a process that is kept alive."""
    with _left_to_the_sweep():
        return await _kept_alive(request, nth, part)


@contextmanager
def _left_to_the_sweep() -> Iterator[None]:
    """Where the database fails, leave the workflow "pending", not failed: the sweep puts it back into its queue."""
    try:
        yield
    except (ProgrammingError, DataError):
        raise  # of a statement that no other time makes right
    except DBAPIError as failed:
        raise error.DBOSWorkflowCancelledError("the jobs database could not be written") from failed


def _placed() -> JobPlace:
    assert _place is not None, "launch comes first"
    return _place


@DBOS.step(name="planned")
async def _planned(request: Request, before: Part | None) -> tuple[Part | None, End]:
    """The next part, or the end of the job if there is none or its project cannot be read."""
    workspace = _placed().workspace
    try:
        part = await asyncio.to_thread(
            lambda: next_part(request, workspace.folder(request["project"]).resolve(), before)
        )
    except PairsmithError as raised:
        return None, End(code=raised.exit_code, problem=as_json(raised))
    return part, End(code=0, problem=None)


@DBOS.step(name="kept_alive", preemptible=True)
async def _kept_alive(request: Request, nth: int, part: Part) -> End:
    place = _placed()
    folder = place.workspace.jobs_folder / request["id"]

    def environment() -> dict[str, str]:
        return place.environment(load(Path(part["folder"]), part["overrides"])) | traces.parent_of(request["id"])

    def cancelled() -> bool:
        while True:
            try:
                status = DBOS.get_workflow_status(request["id"])
            except DBAPIError:  # nobody knows; raised, it would be kept as the end of this step
                time.sleep(1.0)
            else:
                return status is not None and status.status == "CANCELLED"

    return await kept_alive(folder, nth, part, environment, cancelled)
