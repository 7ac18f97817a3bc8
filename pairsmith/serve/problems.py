"""Errors over HTTP: problem+json (RFC 9457) with what / where / why / fix, which is also a valid OpenAI error."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from pairsmith.serve.job import NoSuchJob, ProjectBusy
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import NoSuchProject, within
from pairsmith.terminal.failures import as_json
from schemas import errors
from schemas.errors import PairsmithError
from schemas.expected import expected
from schemas.store.failures import explained
from schemas.store.opening import sqlite_url

MEDIA_TYPE = "application/problem+json"

# Error class -> HTTP status. For other classes, the nearest base class counts.
STATUS: dict[type[PairsmithError], int] = {
    errors.UsageError: 400,
    errors.SpecError: 422,
    errors.InputError: 422,
    errors.TeacherError: 502,
    errors.AuthError: 424,
    errors.StoreError: 503,
    errors.StoreBusy: 409,
    errors.StoreFull: 507,
    errors.MissingDependency: 501,
    errors.NoWork: 409,
    errors.NotLicensed: 403,
    errors.RowCountMismatch: 500,
    errors.ReviewError: 502,
    errors.BudgetReached: 409,
    errors.Interrupted: 503,
    NoSuchProject: 404,
    NoSuchJob: 404,
    PairsmithError: 500,
}
# OpenAI's error type for a status. All others are invalid_request_error, and server_error from 500 on.
_OPENAI_TYPE = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_TITLES = {
    400: "Bad request", 401: "Not signed in", 403: "Not allowed", 404: "Not there", 405: "Method not allowed",
    409: "Conflict", 412: "Changed since", 413: "Too large", 415: "Unknown media type", 422: "Not valid",
    424: "The key is refused", 428: "If-Match is missing", 429: "Too many requests", 500: "A defect of pairsmith",
    501: "Not installed", 502: "Another server failed", 503: "Not now", 507: "No space left",
}  # fmt: skip


class Refusal(PairsmithError):
    """An error of the service itself, with its own status: not signed in, not allowed, not found, too much, not now."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        fix: str | None = None,
        code: str = "refused",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, fix=fix)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


def not_there(what: str, fix: str | None = None) -> Refusal:
    """404: it does not exist, or the caller may not know that it does."""
    return Refusal(404, what, code="not_found", fix=fix)


class OpenAIError(BaseModel):
    """The part that OpenAI clients read."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorDetail(BaseModel):
    """One invalid part of a request: its location as a JSON pointer, the line if known, and what is wrong."""

    pointer: str | None = None
    line: int | None = None
    what: str


class Problem(BaseModel):
    """The body of every error response."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    what: str
    where: str | None
    why: str | None
    fix: str | None
    kind: str
    exit_code: int | None
    request_id: str
    error: OpenAIError
    errors: list[ErrorDetail] | None = None


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": _TITLES[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (400, 401, 403, 404, 405, 409, 413, 415, 422, 424, 429, 501, 502, 503, 507)
}


def status_of(error: PairsmithError) -> int:
    if isinstance(error, Refusal):
        return error.status
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_of(error: PairsmithError, root: Path, *, instance: str, request_id: str) -> Problem:
    """The error as a response body."""
    status, parts = status_of(error), {name: within(str(part), root) for name, part in as_json(error).items()}
    kind, line = type(error).__name__, re.search(r":(\d+)$", error.where or "")
    key = re.match(r"(?:unknown key |the key )?'([\w.]+)'", error.what)
    mistakes = None
    if status == 422:
        pointer = "/" + key[1].replace(".", "/") if key else None
        mistakes = [ErrorDetail(pointer=pointer, line=int(line[1]) if line else None, what=error.what)]
    openai_type = _OPENAI_TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = error.code if isinstance(error, Refusal) else _words(kind).replace(" ", "_")
    return Problem(
        type=f"urn:pairsmith:problem:{code}",
        title=_TITLES.get(status, "Refused"),
        status=status,
        detail=parts["message"] or "",
        instance=instance,
        what=parts["what"] or "",
        where=parts.get("where"),
        why=parts.get("why"),
        fix=parts.get("fix"),
        kind=kind,
        exit_code=None if isinstance(error, Refusal) else error.exit_code,
        request_id=request_id,
        error=OpenAIError(message=parts["message"] or "", type=openai_type, param=key[1] if key else None, code=code),
        errors=mistakes,
    )


def answer(
    error: PairsmithError, root: Path, *, instance: str, request_id: str, mistakes: list[ErrorDetail] | None = None
) -> Response:
    """The error as a response, without the path of the workspace `root` on the server.

    OpenAI clients would retry a 409 three times, and a 501 as well; a header tells them not to.
    """
    problem = problem_of(error, root, instance=instance, request_id=request_id)
    if mistakes is not None:
        problem = problem.model_copy(update={"errors": mistakes})
    headers = {}
    after = error.retry_after_s if isinstance(error, Refusal) else None
    if problem.status in (409, 429, 501, 507):
        headers["x-should-retry"] = "false"
    if problem.status in (409, 429):
        after = after or 5
    if after is not None:
        headers["Retry-After"] = str(after)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="pairsmith"'
    if isinstance(error, ProjectBusy):
        headers["Link"] = f'</api/v1/jobs/{error.job_id}>; rel="related"'
    return Response(problem.model_dump_json(), problem.status, headers, media_type=MEDIA_TYPE)


def answer_to(request: Request, error: PairsmithError, mistakes: list[ErrorDetail] | None = None) -> Response:
    """The error as the response to this request."""
    root, request_id = state_of(request).workspace.root, request.state.request_id
    return answer(error, root, instance=request.scope["path"], request_id=request_id, mistakes=mistakes)


def defect(request_id: str) -> Refusal:
    """The refusal for an unexpected exception: no traceback leaves the server, its log has it."""
    return Refusal(
        500,
        "this is a defect of pairsmith.",
        why="The server's log has the traceback under the id of this request.",
        fix=f"Please report it with the request id {request_id}.",
        code="defect",
    )


def disk_full(error: Exception, root: Path) -> Refusal | None:
    """A refusal if the error means that the workspace's disk or its owner's quota is full; None for any other error."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) if isinstance(error, OSError) else False
    if not full and not isinstance(explained(error, sqlite_url(root / ".serve" / "service.db")), errors.StoreFull):
        return None
    return Refusal(
        507,
        "no space is left to write.",
        code="store_full",
        why="Existing data is unchanged.",
        fix="Free some space on the disk of the workspace, then try again.",
    )


async def on_pairsmith_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler for PairsmithError."""
    assert isinstance(error, PairsmithError)
    return answer_to(request, error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """FastAPI's handler for its own errors: unknown path or method, or a body that is too large."""
    assert isinstance(error, HTTPException)
    response = answer_to(request, of_http(error))
    response.headers.update(error.headers or {})
    if response.status_code == 405:  # the framework names the methods of one route, and each has one
        routes = iter_route_contexts(request.app.routes)
        here = [r.methods or () for r in routes if r.original_route.matches(request.scope)[0] is not Match.NONE]
        response.headers["Allow"] = ", ".join(sorted({"HEAD" for each in here if "GET" in each}.union(*here)))
    return response


_PATHS = "The paths and their methods are listed in /api/v1/openapi.json."
_FIXES = {
    400: "Send JSON in UTF-8, at most some hundred levels deep.",
    404: _PATHS,
    405: _PATHS,
    413: "Send less at once; split a large file into parts.",
}


def of_http(error: HTTPException) -> Refusal:
    """An error of the framework as a Refusal."""
    return Refusal(
        error.status_code,
        f"{str(error.detail).rstrip('.')}.",
        code=_TITLES.get(error.status_code, "refused").lower().replace(" ", "_"),
        fix=_FIXES.get(error.status_code),
    )


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """FastAPI's handler for a body or parameter that does not match the schema. The values sent are not repeated."""
    assert isinstance(error, RequestValidationError)
    rows = sorted(error.errors(), key=lambda row: row["type"] != "extra_forbidden")  # first: it may be the missing one
    mistakes = [
        ErrorDetail(
            pointer="/" + "/".join(str(part) for part in row["loc"]),
            what=expected(row, "an object"),
        )
        for row in rows
    ]
    first = mistakes[0] if mistakes else ErrorDetail(what="the request cannot be read")
    refusal = Refusal(
        422,
        f"{first.what}.",
        where=first.pointer,
        code="not_valid",
        fix="The expected format is described in /api/v1/openapi.json.",
    )
    return answer_to(request, refusal, mistakes)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
