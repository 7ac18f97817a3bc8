"""`/v1/models` and `/v1/chat/completions`: the tuned models of the projects, and their base models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from pairsmith.serve.access import Caller, Right, SignedIn, needs
from pairsmith.serve.api.streams import while_allowed, while_connected
from pairsmith.serve.edge import caller_of
from pairsmith.serve.job import Job
from pairsmith.serve.problems import Refusal, not_there, problem_of
from pairsmith.serve.state import state_of
from pairsmith.serve.talking import Tuned
from schemas.errors import PairsmithError
from schemas.records import now
from schemas.store import Store
from schemas.store.latest import latest
from train.results import read_result

router = APIRouter(prefix="/v1", tags=["openai"])
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}


class ServedModel(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ServedModel]


class OpenAIChat(
    BaseModel,
    json_schema_extra={
        "examples": [{"model": "ft:embedded:notes::ID", "messages": [{"role": "user", "content": "Hi"}]}]
    },
):
    """An OpenAI request. Fields that the local model does not support are rejected by it, not ignored."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=300)]
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=200)]
    stream: bool = False
    stream_options: dict[str, Any] | None = None


@router.get("/models", name="openai_models")
def models(caller: SignedIn, request: Request) -> ModelList:
    """The tuned models that you may use, newest first, each followed by its base model."""
    return ModelList(data=[_served_model(tuned) for tuned in _all_models(request, caller)])


@router.get("/models/{model:path}", name="openai_model")
def model(caller: SignedIn, model: str, request: Request) -> ServedModel:
    """One model."""
    return _served_model(_find_model(request, caller, model))


@router.post("/chat/completions", name="openai_chat", response_model=None, responses=_STREAM)
async def chat(
    caller: Annotated[Caller, needs(Right.see_work, somewhere=True)], body: OpenAIChat, request: Request
) -> Response:
    """Chat with a tuned model. It is started by the first request, and stopped after ten minutes without one.

    While a job needs the GPU, a 503 says when to try again. With `stream`, every token is sent as the model generates
    it; the stream ends within seconds of your key, session or role.
    """
    tuned = await run_in_threadpool(_find_model, request, caller, body.model)
    body_sent = body.model_dump(exclude_none=True)
    body_sent["messages"] = with_system_prompt(body.messages, tuned)
    async with while_connected(request), AsyncExitStack() as exit_stack:
        exit_stack.enter_context(state_of(request).limits.one_of("chat"))
        answer = await exit_stack.enter_async_context(state_of(request).talking.stream_response(tuned, body_sent))
        if answer.status >= 400 or not body.stream:
            return JSONResponse({**await answer.json(), "model": body.model}, answer.status)
        return _Stream(_stream_lines(answer.content, body.model, request, tuned.project), exit_stack.pop_all())


class _Stream(StreamingResponse):
    """Server-sent events. The resources in `exit_stack` are released once they have been sent or the client has
    disconnected."""

    def __init__(self, lines: AsyncIterator[bytes], exit_stack: AsyncExitStack) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self.exit_stack = exit_stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.exit_stack:
            await super().__call__(scope, receive, send)


def tuned_of_job(request: Request, job: Job) -> Tuned | None:
    """The model that a job has trained, or found already trained; None if there is none."""
    store = state_of(request).readers.store(job.project)
    if store is None or job.started is None:
        return None
    until = job.ended or now()
    receipts = (r for r in reversed(store.receipts("train")) if r.ok and job.started <= r.started <= until)
    receipt, present = next(receipts, None), latest(store, "adapter")
    adapter_id = receipt.facts.get("made") if receipt else present.id if present and job.state == "done" else None
    names = (f"::{adapter_id[:8]}",) if adapter_id else ()
    return next(
        (each for each in models_of(request, job.project, store) if each.adapter and each.name.endswith(names)), None
    )


def _all_models(request: Request, caller: Caller) -> list[Tuned]:
    models = []
    for slug in state_of(request).workspace.projects():
        if caller.may(Right.see_work, slug):
            try:
                models += models_of(request, slug, state_of(request).readers.store(slug))
            except PairsmithError:  # a project with a broken spec has no models; the others are still listed
                continue
    return sorted(models, key=lambda each: -each.created)  # stable: a base stays behind its tuned model


def models_of(request: Request, slug: str, store: Store | None) -> list[Tuned]:
    """The tuned models of a project, newest first, each followed by its base model."""
    folder = state_of(request).workspace.folder(slug)
    models = []
    for artifact in store.artifacts("adapter")[::-1] if store else ():
        path = (folder / artifact.path).resolve()
        result = read_result(path) if path.is_relative_to(folder.resolve()) else None
        if result is None:
            continue
        base = result.base.rpartition("/")[2].lower()
        created = int(artifact.at.timestamp())
        for prefix, adapter in (("ft", True), ("base", False)):
            name = f"{prefix}:{base}:{slug}::{artifact.id[:8]}"
            models.append(Tuned(name, slug, result, path, adapter, created))
    return models


def _find_model(request: Request, caller: Caller, name: str) -> Tuned:
    tuned = next((each for each in _all_models(request, caller) if each.name == name), None)
    if tuned is None:
        raise not_there(f"there is no model '{name[:100]}'.", fix="GET /v1/models lists your models.")
    return tuned


def with_system_prompt(messages: list[dict[str, Any]], tuned: Tuned) -> list[dict[str, Any]]:
    """The messages, with the system prompt of the training added unless the caller sent one."""
    if any(message.get("role") in ("system", "developer") for message in messages) or not tuned.result.system_prompt:
        return messages
    return [{"role": "system", "content": tuned.result.system_prompt}, *messages]


def _served_model(tuned: Tuned) -> ServedModel:
    return ServedModel(id=tuned.name, created=tuned.created, owned_by=tuned.project)


async def _stream_lines(
    lines: AsyncIterable[bytes], model: str, request: Request, project: str
) -> AsyncIterator[bytes]:
    """The model's events under its public name. If the model is stopped or the caller loses access meanwhile, the last
    event is an error."""
    from aiohttp import ClientError

    def check_access() -> None:
        caller_of(request.headers, state_of(request)).require(Right.see_work, project)

    try:
        async for line in while_allowed(aiter(lines), check_access):
            if line is not None:
                yield _rename_model(line, model)
    except Refusal as refusal:
        yield _error_event(request, refusal)
    except (ClientError, TimeoutError):
        what = "the model was stopped before its answer was complete."
        yield _error_event(request, Refusal(503, what, code="model_stopped"))


def _rename_model(line: bytes, model: str) -> bytes:
    if not line.startswith(b"data: {"):
        return line
    return f"data: {json.dumps({**json.loads(line[6:]), 'model': model})}\n".encode()


def _error_event(request: Request, refusal: Refusal) -> bytes:
    """An error as an event. It begins with an empty line, because the event before it may lack its end."""
    root, request_id = state_of(request).workspace.root, request.state.request_id
    problem = problem_of(refusal, root, instance=request.scope["path"], request_id=request_id)
    return f"\ndata: {json.dumps({'error': problem.error.model_dump()})}\n\n".encode()
