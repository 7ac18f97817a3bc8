"""Jobs: start, inspect, stop and continue them, read their log, and stream events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from pairsmith.serve.access import Caller, JobRunner, JobViewer, Right, Runner, SignedIn, Viewer
from pairsmith.serve.api.pages import Cursor, Limit, Page, decode_cursor, encode_cursor
from pairsmith.serve.api.people import RequestBody
from pairsmith.serve.api.streams import while_allowed
from pairsmith.serve.edge import caller_of
from pairsmith.serve.job import COMMANDS, Job, JobOptions
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of

router = APIRouter(prefix="/api/v1", tags=["jobs"])
_LONGEST_STREAM_S = 900.0  # after this the browser reconnects
_HEARTBEAT_S = 15.0
_MOST_JOBS = 1000
_MOST_LOG = 1_000_000


class NewJob(
    RequestBody, json_schema_extra={"examples": [{"command": "run", "options": {"no_review": True, "cap_usd": 5}}]}
):
    command: str = Field(description=f"One of {', '.join(COMMANDS)}.", max_length=40)
    options: JobOptions = JobOptions()


@router.post("/projects/{project}/jobs", name="start_job", status_code=202)
def start(
    caller: Runner,
    project: str,
    body: NewJob,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> Job:
    """Queue a job. A project has one at a time: another is refused (409) with a link to the first."""
    new = start_job(request, caller, project, body.command, body.options, idempotency_key)
    response.headers["Location"] = location_of(new)
    return new


@router.get("/projects/{project}/jobs", name="project_jobs")
def project_jobs(caller: Viewer, project: str, request: Request, limit: Limit = 50, cursor: Cursor = None) -> Page[Job]:
    """The project's jobs, newest first."""
    return _page(request, [project], limit, cursor)


@router.get("/jobs", name="jobs")
def jobs(caller: SignedIn, request: Request, limit: Limit = 50, cursor: Cursor = None) -> Page[Job]:
    """The jobs of all your projects, newest first."""
    return _page(request, sorted(_visible_projects(caller, request)), limit, cursor)


@router.get("/jobs/{job}", name="job")
def job(caller: JobViewer, job: str, request: Request) -> Job:
    """The current state of a job."""
    return state_of(request).jobs.get(job)


@router.post("/jobs/{job}/cancel", name="cancel_job", status_code=202)
def cancel(caller: JobRunner, job: str, request: Request) -> Job:
    """Stop a job: it finishes what is in flight, and nothing is lost."""
    stopped = state_of(request).jobs.cancel(job)
    request.state.changed = {"project": stopped.project}
    return stopped


@router.post("/jobs/{job}/continue", name="continue_job", status_code=202)
def continue_job(caller: JobRunner, job: str, request: Request, response: Response) -> Job:
    """Start a new job that continues where this one ended; finished work is not requested again."""
    _check(request, state_of(request).jobs.get(job).project)
    new = state_of(request).jobs.continue_job(job, caller.name)
    response.headers["Location"] = location_of(new)
    request.state.changed = {"project": new.project, "after": new.id}
    return new


@router.get(
    "/jobs/{job}/log", name="job_log", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
def log(
    caller: JobViewer, job: str, request: Request, begin: Annotated[int, Query(alias="from", ge=0, le=10**15)] = 0
) -> Response:
    """The output of the job's processes, from a byte offset on."""
    return Response(state_of(request).jobs.log(job, begin)[:_MOST_LOG], media_type="text/plain; charset=utf-8")


@router.get(
    "/events",
    name="events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    caller: SignedIn, request: Request, last_event_id: Annotated[str | None, Header(max_length=80)] = None
) -> StreamingResponse:
    """Live events of your projects: all current states at once, then each change. It is a state stream, not a log.

    After a disconnect, send `Last-Event-ID` to receive what came later. An event `anew` means that this is not
    possible, and that all current states follow. The stream ends when you are signed out or your projects change: then
    reconnect.
    """
    state = state_of(request)
    slugs = await run_in_threadpool(_visible_projects, caller, request)
    stream_key = sha256("\0".join([state.jobs.hub.name, str(caller.user), *sorted(slugs)]).encode()).hexdigest()[:16]
    before, _, number = (last_event_id or "").partition(".")
    after = int(number) if before == stream_key and number.isdecimal() else None
    with state.limits.one_of("streams"):
        pass  # raises before the headers are sent

    def check_access() -> None:
        now = caller_of(request.headers, state)
        if now.user != caller.user or _visible_projects(now, request) != slugs:
            raise Refusal(403, "your session or your projects have changed.", code="not_allowed", fix="Reconnect.")

    async def stream() -> AsyncIterator[bytes]:
        with state.limits.one_of("streams"), contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(_LONGEST_STREAM_S):
                if last_event_id and after is None:
                    yield b"event: anew\nid:\ndata: {}\n\n"
                states = while_allowed(state.jobs.hub.subscribe(slugs, after or 0), check_access)
                async for line in _lines(states, stream_key):
                    yield line

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def location_of(job: Job) -> str:
    """The URL path of a job."""
    return f"/api/v1/jobs/{job.id}"


def start_job(
    request: Request, caller: Caller, slug: str, command: str, options: JobOptions, key: str | None = None
) -> Job:
    """Check the spec and start a job, for the API and the pages. Raises Refusal, ProjectBusy, UsageError."""
    _check(request, slug)
    new = state_of(request).jobs.start(slug, command, options, caller.name, key)
    request.state.changed = {"target": f"{command} {new.id}", "after": new.id}
    return new


def _visible_projects(caller: Caller, request: Request) -> frozenset[str]:
    return frozenset(slug for slug in state_of(request).workspace.projects() if caller.may(Right.see_work, slug))


def _check(request: Request, slug: str) -> None:
    state = state_of(request)
    state.policy.check(state.readers.project(slug))


def _page(request: Request, slugs: list[str], limit: int, cursor: str | None) -> Page[Any]:
    """A page of jobs; the cursor is the id of the last job on the page before."""
    every = state_of(request).jobs.list(slugs[0] if len(slugs) == 1 else None, limit=_MOST_JOBS)
    mine = [job for job in every if job.project in set(slugs)]
    after = decode_cursor(cursor, str)
    begin = next((n + 1 for n, job in enumerate(mine) if job.id == after), None) if after else 0
    if begin is None:
        raise not_there("the last job of the previous page no longer exists.", fix="Start again without a cursor.")
    items = mine[begin : begin + limit]
    more = encode_cursor(items[-1].id) if begin + limit < len(mine) else None
    return Page(items=items, next=more, total=len(mine), total_is_capped=len(every) == _MOST_JOBS)


async def _lines(states: AsyncIterator[dict[str, Any] | None], stream_key: str) -> AsyncIterator[bytes]:
    """States as server-sent events, with a heartbeat so that proxies keep a quiet stream open.

    Event ids are the state's number after `stream_key`, which identifies the hub, the user and their projects.
    """
    yield b"retry: 1000\n\n"
    heartbeat_s = time.monotonic()
    async for state in states:
        if state is not None:
            head = f"event: {state['event']}\nid: {stream_key}.{state['number']}\n"
            yield f"{head}data: {json.dumps(state, default=str)}\n\n".encode()
        elif time.monotonic() - heartbeat_s >= _HEARTBEAT_S:
            heartbeat_s = time.monotonic()
            yield b": beat\n\n"
