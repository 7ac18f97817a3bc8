"""A job as a durable DBOS workflow: the request, the order, and whether it was cancelled. DBOS stores nothing else.

Rules, each learnt from a lost job: The version is fixed, because workflows of another version are never picked up
again. So these functions keep their names, arguments and order of steps as long as the version stays, and another shape
needs `jobs-2` beside it. Steps are preemptible and async. Progress is no DBOS event. Only the sweep resumes a workflow.
If the database cannot be written (a full disk), the job does not end: its workflow stays as it is in the database.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID, error
from sqlalchemy.exc import DataError, DBAPIError, ProgrammingError

from pairsmith.serve import traces
from pairsmith.serve.environment import Environment
from pairsmith.serve.parts import Part, Request, moved_to, next_part
from pairsmith.serve.process import End, keep_alive
from pairsmith.serve.workspace import NoSuchProject, Workspace
from pairsmith.terminal.failures import as_json
from schemas.errors import PairsmithError
from schemas.spec_file import load

VERSION = "jobs-1"
EXECUTOR = "server"
JOBS, LIGHT, HEAVY = "jobs", "light", "heavy"
_AT_ONCE = {JOBS: None, LIGHT: 4, HEAVY: 1}
_POLL_S = 0.5
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class JobRuntime:
    """What jobs run with: the workspace, the environment of their processes, and the database of the requests."""

    workspace: Workspace
    environment: Environment
    database_url: str


_runtime: JobRuntime | None = None
_dbos: DBOS | None = None


def launch(runtime: JobRuntime) -> None:
    """Start processing the jobs of the workspace, beginning with those of an earlier server. Once per process."""
    global _runtime, _dbos
    _runtime = runtime
    config = DBOSConfig(
        name="pairsmith",
        system_database_url=runtime.database_url,
        application_version=VERSION,
        executor_id=EXECUTOR,
        log_level="ERROR",  # at WARNING it logs every step that is left on stopping, with all its arguments
        run_migrations=True,
    )
    _dbos = DBOS(config=config)
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.ERROR)  # below ERROR it advertises a console
    logger.handlers.clear()  # its records go to our handlers instead
    logger.propagate = True
    logger.addFilter(_is_not_cancellation)
    DBOS.launch()
    for name, at_once in _AT_ONCE.items():
        DBOS.register_queue(name, global_concurrency=at_once, polling_interval_sec=_POLL_S)


def destroy() -> None:
    """Stop processing jobs. Their processes continue, and the next server adopts them."""
    logging.getLogger("dbos").setLevel(logging.CRITICAL)  # it logs every workflow that it leaves
    _stop_queue_workers()
    DBOS.destroy(workflow_completion_timeout_sec=0)


def _stop_queue_workers() -> None:
    """Stop taking workflows from the queues.

    A workflow taken while DBOS shuts down its event loop would wait forever, or be left without having started.
    """
    for stop in _dbos.background_thread_stop_events if _dbos else ():
        stop.set()
    until_s = time.monotonic() + _STOP_TIMEOUT_S
    for thread in threading.enumerate():
        if thread.name.startswith("queue-worker-"):
            thread.join(max(0.0, until_s - time.monotonic()))


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    """False for a job that a user has stopped, which DBOS logs as an error."""
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, error.DBOSWorkflowCancelledError | error.DBOSAwaitedWorkflowCancelledError)


@DBOS.workflow(name="job", max_recovery_attempts=None)
async def job(request: Request) -> End:
    """Run the parts of a job one after the other, until one fails or none is left."""
    part: Part | None = None
    with _leave_to_sweep():
        for nth in count():
            part, end = await _planned(request, part)
            if part is None:
                break
            with SetWorkflowID(f"{request['id']}.{nth}"):
                queue = HEAVY if part["heavy"] else LIGHT
                handle = await DBOS.enqueue_workflow_async(queue, process, request, nth, part)
            end = await handle.get_result(polling_interval_sec=_POLL_S)
            if end["code"] or part["until"] is None:
                break
    return end


@DBOS.workflow(name="process", max_recovery_attempts=None)
async def process(request: Request, nth: int, part: Part) -> End:
    """Run one part: a process that is kept alive."""
    with _leave_to_sweep():
        return await _kept_alive(request, nth, part)


@contextmanager
def _leave_to_sweep() -> Iterator[None]:
    """If the database fails, leave the workflow pending, not failed: the sweep puts it back into its queue.

    This attempt ends. Had DBOS caught its own cancellation, it would ask for the outcome every second until then."""
    try:
        yield
    except (ProgrammingError, DataError):
        raise  # the statement itself is wrong, so retrying cannot help
    except DBAPIError as failed:
        raise asyncio.CancelledError("the jobs database could not be written") from failed


def _current_runtime() -> JobRuntime:
    assert _runtime is not None, "launch() has not been called"
    return _runtime


@DBOS.step(name="planned")
async def _planned(request: Request, before: Part | None) -> tuple[Part | None, End]:
    """The next part; None with the end of the job if there is no part left or the project cannot be read."""
    workspace = _current_runtime().workspace
    try:
        part = await asyncio.to_thread(
            lambda: next_part(request, workspace.folder(request["project"]).resolve(), before)
        )
    except PairsmithError as raised:
        return None, End(code=raised.exit_code, problem=as_json(raised))
    return part, End(code=0, problem=None)


@DBOS.step(name="kept_alive", preemptible=True)
async def _kept_alive(request: Request, nth: int, part: Part) -> End:
    runtime = _current_runtime()
    folder = runtime.workspace.jobs_folder / request["id"]
    with suppress(NoSuchProject):  # then its process says so, unless it has ended before
        part = moved_to(str(runtime.workspace.folder(request["project"]).resolve()), part)

    def environment() -> dict[str, str]:
        return runtime.environment(load(Path(part["folder"]), part["overrides"])) | traces.parent_of(request["id"])

    def cancelled() -> bool:
        while True:
            try:
                status = DBOS.get_workflow_status(request["id"])
            except DBAPIError:  # unknown for now; if raised, it would be stored as the result of this step
                time.sleep(1.0)
            else:
                return status is not None and status.status == "CANCELLED"

    return await keep_alive(folder, nth, part, environment, cancelled)
