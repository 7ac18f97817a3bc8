"""Jobs: asked for, looked at, stopped, gone on with; their log, and what moves as a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from pairsmith.serve.access import Caller, JobRunner, JobViewer, Right, Runner, SignedIn, Viewer
from pairsmith.serve.api.pages import Cursor, Limit, Page, encoded, position_of
from pairsmith.serve.api.people import Body
from pairsmith.serve.edge import caller_of
from pairsmith.serve.job import COMMANDS, Job, JobOptions
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of

router = APIRouter(prefix="/api/v1", tags=["jobs"])
_LONGEST_STREAM_S = 900.0  # then the browser connects again
_LOOK_S = 5.0  # how long somebody may still hear what they may not any more
_BEAT_S = 15.0
_MOST_JOBS = 1000
_MOST_LOG = 1_000_000


class NewJob(Body):
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
    """Put a job into the queue. A project has one at a time: another is refused (409) with a link to the first."""
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
    return _page(request, sorted(_seen(caller, request)), limit, cursor)


@router.get("/jobs/{job}", name="job")
def job(caller: JobViewer, job: str, request: Request) -> Job:
    """One job, as it is now."""
    return state_of(request).jobs.get(job)


@router.post("/jobs/{job}/cancel", name="cancel_job", status_code=202)
def cancel(caller: JobRunner, job: str, request: Request) -> Job:
    """Stop it: it finishes what is in flight, and everything is kept."""
    stopped = state_of(request).jobs.cancel(job)
    request.state.changed = {"project": stopped.project}
    return stopped


@router.post("/jobs/{job}/continue", name="continue_job", status_code=202)
def go_on(caller: JobRunner, job: str, request: Request, response: Response) -> Job:
    """A new job that goes on where this one ended; what is done is asked for no more."""
    _check(request, state_of(request).jobs.get(job).project)
    new = state_of(request).jobs.go_on(job, caller.name)
    response.headers["Location"] = location_of(new)
    request.state.changed = {"project": new.project, "after": new.id}
    return new


@router.get(
    "/jobs/{job}/log", name="job_log", response_class=Response, responses={200: {"content": {"text/plain": {}}}}
)
def log(
    caller: JobViewer,
    job: str,
    request: Request,
    begin: Annotated[int, Query(alias="from", ge=0, le=10**15)] = 0,
) -> Response:
    """What its processes have said, from a byte on."""
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
    """What moves in your projects: every present state at once, then each change. State, not a log.

    Who was cut off and sends `Last-Event-ID` hears what came after it; an event `anew` says that this cannot be told,
    and all present states follow. The stream ends where you are signed out or see other projects than before: connect
    again."""
    state = state_of(request)
    slugs = await run_in_threadpool(_seen, caller, request)
    heard = sha256("\0".join([state.jobs.hub.name, str(caller.user), *sorted(slugs)]).encode()).hexdigest()[:16]
    before, _, number = (last_event_id or "").partition(".")
    after = int(number) if before == heard and number.isdecimal() else None
    with state.limits.one_of("streams"):
        pass  # refused before the headers are sent

    def goes_on() -> bool:
        try:
            now = caller_of(request.headers, state)
        except Refusal:
            return False
        return now.user == caller.user and _seen(now, request) == slugs

    async def stream() -> AsyncIterator[bytes]:
        with state.limits.one_of("streams"), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_STREAM_S):
                if last_event_id and after is None:
                    yield b"event: anew\nid:\ndata: {}\n\n"
                async for line in _lines(state.jobs.hub.subscribe(slugs, after or 0), heard, goes_on):
                    yield line

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def location_of(job: Job) -> str:
    """Where a job is looked at."""
    return f"/api/v1/jobs/{job.id}"


def start_job(
    request: Request, caller: Caller, slug: str, command: str, options: JobOptions, key: str | None = None
) -> Job:
    """Check the spec and start a job. Raises Refusal, ProjectBusy, UsageError; the pages start jobs with it."""
    _check(request, slug)
    new = state_of(request).jobs.start(slug, command, options, caller.name, key)
    request.state.changed = {"target": f"{command} {new.id}", "after": new.id}
    return new


def _seen(caller: Caller, request: Request) -> frozenset[str]:
    return frozenset(slug for slug in state_of(request).workspace.projects() if caller.may(Right.see_work, slug))


def _check(request: Request, slug: str) -> None:
    state = state_of(request)
    state.policy.check(state.readers.project(slug))


def _page(request: Request, slugs: list[str], limit: int, cursor: str | None) -> Page[Any]:
    """Jobs by the id of the last one on the page before."""
    every = state_of(request).jobs.list(slugs[0] if len(slugs) == 1 else None, limit=_MOST_JOBS)
    mine = [job for job in every if job.project in set(slugs)]
    after = position_of(cursor, str)
    begin = next((n + 1 for n, job in enumerate(mine) if job.id == after), None) if after else 0
    if begin is None:
        raise not_there("the page before ended with a job that is gone.", fix="Begin without a cursor.")
    items = mine[begin : begin + limit]
    more = encoded(items[-1].id) if begin + limit < len(mine) else None
    return Page(items=items, next=more, total=len(mine), total_is_capped=len(every) == _MOST_JOBS)


async def _lines(
    states: AsyncIterator[dict[str, Any]], heard: str, goes_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """States as server-sent events while `goes_on`, with a beat so that proxies do not cut a quiet stream. Their ids
    are the number behind `heard`, which says who hears what from which server."""
    yield b"retry: 1000\n\n"
    following = asyncio.ensure_future(anext(states))
    looked_s = beat_s = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_LOOK_S)
            if time.monotonic() - looked_s >= _LOOK_S:
                if not await asyncio.to_thread(goes_on):  # a few threads look after all streams
                    return
                looked_s = time.monotonic()
            if not done:
                if time.monotonic() - beat_s >= _BEAT_S:
                    beat_s = time.monotonic()
                    yield b": beat\n\n"
                continue
            try:
                state = following.result()
            except StopAsyncIteration:
                return
            head = f"event: {state['event']}\nid: {heard}.{state['number']}\n"
            yield f"{head}data: {json.dumps(state, default=str)}\n\n".encode()
            following = asyncio.ensure_future(anext(states))
    finally:
        following.cancel()
