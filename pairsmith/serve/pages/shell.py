"""What every page has: the shell around it, its style and script, and the way in which a failure is shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import FormData, ImmutableMultiDict, UploadFile
from starlette.exceptions import HTTPException
from starlette.routing import Match

from pairsmith import __version__
from pairsmith.failures import as_json
from pairsmith.serve import problems
from pairsmith.serve.access import ALL, AnyOne, Caller, Right
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import rows_line
from pairsmith.serve.problems import Refusal, not_there, status_of
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import within
from pairsmith.style import charts, numbers
from schemas.errors import PairsmithError, misused
from schemas.money import dollars
from schemas.wording import capital

_HERE = Path(__file__).parent.parent
_STYLE = Path(charts.__file__).parent
CORRECT = "Correct it and send it again."
Typed = TypeVar("Typed", bound=tuple[object, ...])
_FILES = {
    "page.css": (_STYLE / "page.css", "text/css; charset=utf-8"),
    "pages.css": (_HERE / "static" / "pages.css", "text/css; charset=utf-8"),
    "htmx.min.js": (_HERE / "static" / "htmx.min.js", "text/javascript; charset=utf-8"),
    "page.js": (_HERE / "static" / "page.js", "text/javascript; charset=utf-8"),
    "stream.js": (_HERE / "static" / "stream.js", "text/javascript; charset=utf-8"),
    "icon.svg": (_HERE / "static" / "icon.svg", "image/svg+xml"),
}
# Name, what follows /p/SLUG, the key behind `g`, and the right that it needs.
_PLACES = (
    ("Overview", "", "o", Right.see_project),
    ("Run", "/run", "u", Right.see_work),
    ("Rows", "/rows", "r", Right.see_work),
    ("Prompts", "/prompts", "p", Right.see_work),
    ("Review", "/review", "v", Right.see_queue),
    ("Training", "/training", "t", Right.see_work),
    ("Evaluation", "/evaluation", "e", Right.see_work),
    ("Downloads", "/downloads", "d", Right.see_work),
)


class PageRoute(APIRoute):
    """A route whose failures are pages: somebody who is not signed in is led to the sign-in and back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_failures(request: Request) -> Response:
            try:
                return await handle(request)
            except PairsmithError as error:
                return failed(request, error)
            except HTTPException as refused:
                what = f"{str(refused.detail).rstrip('.')}."
                return failed(request, Refusal(refused.status_code, what, fix="Send less, or choose it as a file."))
            except RequestValidationError as invalid:
                first = invalid.errors()[0]
                where = ".".join(map(str, first["loc"][1:]))
                return failed(request, misused([first], where=where, fix=CORRECT))

        return with_failures


async def _sent(request: Request) -> AsyncIterator[FormData]:
    async with request.form() as form:
        yield form


Sent = Annotated[FormData, Depends(_sent)]
"""The whole form of a request, its files among it."""


def texts_of(form: FormData) -> ImmutableMultiDict[str, str]:
    """What was typed into a form, without its files."""
    return ImmutableMultiDict([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


def typed_as(fields: type[Typed], texts: Mapping[str, str]) -> Typed:
    """What was typed into the fields of a form; an empty one has its default. Raises UsageError."""
    filled = {name: texts[name] for name in fields.__annotations__ if texts.get(name)}
    try:
        return TypeAdapter(fields).validate_python(filled)
    except ValidationError as wrong:
        raise misused(wrong.errors(), fix=CORRECT) from None


def upload_in(form: FormData) -> UploadFile | None:
    """The file that was chosen in a form."""
    file = form.get("file")
    return file if isinstance(file, UploadFile) and file.filename else None


def page_router() -> APIRouter:
    """A router of pages: they are no part of the API's schema."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


router = page_router()


@router.get("/static/{name}", name="static_file")
def static_file(caller: AnyOne, name: str) -> Response:
    """One of our own files; its address changes with its content."""
    if name not in _FILES:
        raise not_there(f"there is no file '{name}'.")
    body, _ = _static(name)
    return Response(body, media_type=_FILES[name][1], headers={"Cache-Control": "public, max-age=31536000, immutable"})


@cache
def _static(name: str) -> tuple[bytes, str]:
    body = _FILES[name][0].read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:12]


def static(name: str) -> str:
    """The address of one of our files."""
    return f"/static/{name}?v={_static(name)[1]}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["coded"] = _coded
    environment.globals |= {
        "static": static,
        "version": __version__,
        "chart": charts,
        "fmt": numbers,
        "say": words,
        "dollars": dollars,
        "link": link,
        "quote": lambda text: quote(str(text), safe=""),
    }
    return environment


def _coded(text: str) -> Markup:
    """A sentence with what stands between backticks in it, which a terminal shows as it is, as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def link(path: str, **query: Any) -> str:
    """An address with a query; what is None or empty is left out, so that one state has one address."""
    given = {name: value for name, value in query.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given)}" if given else path


def render(
    request: Request,
    template: str,
    caller: Caller,
    *,
    slug: str | None = None,
    place: str | None = None,
    status: int = 200,
    error: PairsmithError | None = None,
    **context: Any,
) -> HTMLResponse:
    """A page. `place` is which entry of the shell it is; `error` is told at its head, and gives the status."""
    named = _title(request, slug) if slug else None
    body = (
        _templates()
        .get_template(f"{template}.html.j2")
        .render(
            request_id=request.state.request_id,
            me=caller,
            slug=slug,
            named=named,
            role=caller.role(slug or ALL),
            places=_places(caller, slug),
            may={right.value: caller.may(right, slug or ALL) for right in Right},
            **{
                "title": " · ".join(filter(None, (place, named, "pairsmith"))),
                "place": place,
                "problem": shown_problem(error, state_of(request).workspace.root) if error else None,
                "refresh_s": None,
                "rows_line": None,
                "done": DONE.get(request.query_params.get("done", "")),
                **context,
            },
        )
    )
    return HTMLResponse(body, status_of(error) if error else status)


def project_page(request: Request, template: str, caller: Caller, slug: str, **context: Any) -> HTMLResponse:
    """A page of a project, which the shell lists under the name of its template, with the sum of the rows for who may
    see them."""
    sum_of_rows = rows_line(request, slug) if caller.may(Right.see_work, slug) else None
    place = template.capitalize()
    return render(request, template, caller, slug=slug, place=place, rows_line=sum_of_rows, **context)


def _title(request: Request, slug: str) -> str:
    """What a project is called; its name where the database is away, because that failure has a page, too."""
    with suppress(SQLAlchemyError):
        return str(state_of(request).accounts.titles().get(slug, slug))
    return slug


# What was done is said by a word of the address, never by a text of it: somebody else may have written the address.
DONE = {
    "saved": "Saved; it counts from the next run. One that is going on may stop at its next stage, and says why.",
    "records": "Saved. Every output is a JSON object, so the task is to extract now; schema.json has their keys.",
    "unpriced": "Saved without the prices, which were those of the teacher before; write them again if they hold.",
    "rate": "Saved, with the learning rate and the batch that fit this model; those before were another one's.",
    "answered": "Your answer is kept; the next curation counts it.",
    "stopping": "It stops now: what was sent is waited for, and everything that was answered is kept.",
    "signed-out": "You are signed out.",
    "revoked": "The key opens nothing any more.",
    "host": "Projects may ask that host now.",
    "role": "The role is changed; that person signs in again.",
    "ended": "That browser is signed out.",
    "deleted": "The project is in the trash; whoever runs the service can bring it back.",
}


def _places(caller: Caller, slug: str | None) -> list[tuple[str, str, str]]:
    if slug is not None:
        held = [(n, f"/p/{slug}{path}", key) for n, path, key, right in _PLACES if caller.may(right, slug)]
        return held + ([("Setup", f"/p/{slug}/setup", "")] if caller.may(Right.edit, slug) else [])
    if caller.user is None:
        return []
    owner = [("People", "/people", ""), ("Audit", "/audit", "")] if caller.may(Right.administer) else []
    return [("Projects", "/", ""), *owner, ("Keys", "/keys", ""), ("Settings", "/settings", "")]


def failed(request: Request, error: PairsmithError) -> Response:
    """A failure as a page; who is not signed in is led to the sign-in, and from there back."""
    caller: Caller = getattr(request.state, "caller", None) or Caller()
    if status_of(error) == 401 and caller.user is None and request.method == "GET":
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(link("/sign-in", next="" if back == "/" else back), 303)
    slug = request.path_params.get("project")
    known = slug if slug and caller.may(Right.see_project, slug) and status_of(error) != 404 else None
    status = status_of(error)
    heading = _FAILED.get(status, "This did not work.")
    failure, typed = shown_problem(error, state_of(request).workspace.root), getattr(request.state, "typed", [])
    return render(request, "failed", caller, slug=known, status=status, heading=heading, failure=failure, typed=typed)


def page_of(request: Request, error: PairsmithError) -> Response | None:
    """A failure as a page where a person's browser asks for something that is not the API's."""
    return failed(request, error) if _is_for_a_person(request) else None


def _is_for_a_person(request: Request) -> bool:
    theirs = request.url.path.startswith(("/api/", "/v1/"))
    return not theirs and "text/html" in request.headers.get("accept", "")


def _page_above(request: Request) -> str:
    path = request.url.path
    while path := path.rpartition("/")[0]:
        scope = {**request.scope, "path": path}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            return path
    return "/"


async def on_http_exception(request: Request, error: Exception) -> Response:
    """No such address: a page for a person's browser, the API's answer for a program. Where a form goes is no page:
    who comes there later, by the address bar or a bookmark, is led to the page above it."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and request.method == "GET" and _is_for_a_person(request):
        return RedirectResponse(_page_above(request), 303)
    unknown = not_there("there is no page here.", fix="The start page lists your projects.")
    return page_of(request, unknown) or await problems.on_http_exception(request, error)


_FAILED = {
    401: "You are signed out.",
    403: "You may not do this here.",
    404: "There is nothing at this address.",
    409: "This cannot be done as things stand.",
    429: "That was too often for now.",
}


_OF_A_PLACE = re.compile(r"(?:is|has|holds|cannot|does) ")  # a sentence whose subject is where it happened


def shown_problem(error: PairsmithError, root: Path) -> dict[str, str | None]:
    """The parts of an error for a page; absent ones are None. Of a path on the machine only the file, or where it is
    within `root`, is anyone's business."""
    parts = as_json(error)
    if str(parts.get("where") or "").startswith(("/", "sqlite:")):
        parts["where"] = Path(str(parts["where"])).name
    parts = {name: within(part, root) if isinstance(part, str) else part for name, part in parts.items()}
    what, where = str(parts["what"]), parts.get("where")
    if where and _OF_A_PLACE.match(what):  # as on a command line, where the place stands before it
        what, parts["where"] = f"{where} {what}", None
    else:
        what = capital(what)
    return {"what": what, **{name: parts.get(name) for name in ("where", "why", "fix")}}


def gone_to(path: str, done: str = "", **query: Any) -> RedirectResponse:
    """After a change: a page that can be loaded again without doing it again."""
    return RedirectResponse(link(path, done=done, **query), 303)
