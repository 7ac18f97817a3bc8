"""What all pages share: layout, static files, form parsing and error pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
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
from pairsmith.serve import problems
from pairsmith.serve.access import ALL, AnyOne, Caller, Right
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import rows_line
from pairsmith.serve.pages.page_terms import FIELDS, on_page
from pairsmith.serve.problems import Refusal, not_there, status_of
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import within
from pairsmith.style import charts, numbers
from pairsmith.terminal.failures import as_json
from schemas.errors import PairsmithError, SpecError, UsageError, usage_error_from
from schemas.money import dollars
from schemas.wording import capital

_HERE = Path(__file__).parent.parent
_STYLE = Path(charts.__file__).parent
CORRECT = "Correct it and try again."
Fields = TypeVar("Fields", bound=tuple[object, ...])
_FILES = {
    "page.css": (_STYLE / "page.css", "text/css; charset=utf-8"),
    "pages.css": (_HERE / "static" / "pages.css", "text/css; charset=utf-8"),
    "htmx.min.js": (_HERE / "static" / "htmx.min.js", "text/javascript; charset=utf-8"),
    "page.js": (_HERE / "static" / "page.js", "text/javascript; charset=utf-8"),
    "stream.js": (_HERE / "static" / "stream.js", "text/javascript; charset=utf-8"),
    "icon.svg": (_HERE / "static" / "icon.svg", "image/svg+xml"),
}
# Name, path below /p/SLUG, shortcut key after `g`, and the right required.
_PROJECT_PAGES = (
    ("Overview", "", "o", Right.see_work),
    ("Run", "/run", "u", Right.see_work),
    ("Rows", "/rows", "r", Right.see_work),
    ("Prompts", "/prompts", "p", Right.see_work),
    ("Review", "/review", "v", Right.see_queue),
    ("Training", "/training", "t", Right.see_work),
    ("Evaluation", "/evaluation", "e", Right.see_work),
    ("Downloads", "/downloads", "d", Right.see_work),
)


class PageRoute(APIRoute):
    """A route that renders errors as pages. Users who are not signed in are redirected to the sign-in and back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def with_failures(request: Request) -> Response:
            try:
                return await handle(request)
            except PairsmithError as error:
                return error_page(request, error)
            except HTTPException as refused:
                what = f"{str(refused.detail).rstrip('.')}."
                return error_page(
                    request, Refusal(refused.status_code, what, fix="Send less text, or upload it as a file.")
                )
            except RequestValidationError as invalid:
                first = invalid.errors()[0]
                where = ".".join(map(str, first["loc"][1:]))
                return error_page(request, usage_error_from([first], where=where, fix=CORRECT))

        return with_failures


async def _submitted_form(request: Request) -> AsyncIterator[FormData]:
    async with request.form() as form:
        yield form


SubmittedForm = Annotated[FormData, Depends(_submitted_form)]
"""The form of a request, including files."""


def text_fields(form: FormData) -> ImmutableMultiDict[str, str]:
    """The text fields of a form, without its files. Browsers send each line end as CR LF."""
    texts = ((name, value) for name, value in form.multi_items() if isinstance(value, str))
    return ImmutableMultiDict([(name, text.replace("\r\n", "\n")) for name, text in texts])


def parse_fields(fields: type[Fields], texts: Mapping[str, str]) -> Fields:
    """Parse text fields into the NamedTuple `fields`; empty ones get their default. Raises UsageError."""
    filled = {name: texts[name] for name in fields.__annotations__ if texts.get(name)}
    try:
        return TypeAdapter(fields).validate_python(filled)
    except ValidationError as wrong:
        raise usage_error_from(wrong.errors(), fix=CORRECT) from None


def parse_positive(
    text: str, kind: type[float] | type[int], name: str, most: float | None = None, unit: str = ""
) -> float | int | None:
    """Parse a number above 0, with or without its `unit` ($ or %), if it has one; None if empty. Raises UsageError."""
    given = text.strip().strip(unit).strip()
    if not given:
        return None
    try:
        value = kind(given)
    except ValueError:
        value = -1
    if not 0 < value <= (most or 1e9):
        limit = f" and at most {most:g}" if most else ""
        what = f"'{given[:40]}' is not a number above 0{limit}."
        raise UsageError(what, where=name, fix="Enter a number such as 5 or 2.50.")
    return value


def uploaded_file(form: FormData) -> UploadFile | None:
    """The uploaded file of a form; None if no file was chosen."""
    file = form.get("file")
    return file if isinstance(file, UploadFile) and file.filename else None


def page_router() -> APIRouter:
    """A router for pages, which are excluded from the API schema."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


router = page_router()


@router.get("/static/{name}", name="static_file")
def static_file(caller: AnyOne, name: str) -> Response:
    """Serve a static file. Its address changes with its content, so it can be cached for good."""
    if name not in _FILES:
        raise not_there(f"there is no file '{name}'.")
    body, _ = _static(name)
    return Response(body, media_type=_FILES[name][1], headers={"Cache-Control": "public, max-age=31536000, immutable"})


@cache
def _static(name: str) -> tuple[bytes, str]:
    body = _FILES[name][0].read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:12]


def static(name: str) -> str:
    """The address of a static file, with the hash of its content."""
    return f"/static/{name}?v={_static(name)[1]}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"coded": _with_code, "place": _place}
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


def _with_code(text: str) -> Markup:
    """Escape a message for HTML, in the terms of the pages, and render the parts in backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(on_page(text)))))


def _place(where: str) -> Markup:
    """Where an error is: the label of a form field, or a file and line as code."""
    label = FIELDS.get(where)
    return escape(label) if label else Markup("<code>{}</code>").format(where)


def link(path: str, **query: Any) -> str:
    """An address with query parameters. None, False and empty ones are left out, so that each state has one address."""
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
    """Render a page. `place` is its entry in the navigation. `error` is shown at the top and sets the status."""
    named = title_of(request, slug) if slug else None
    body = (
        _templates()
        .get_template(f"{template}.html.j2")
        .render(
            request_id=request.state.request_id,
            me=caller,
            slug=slug,
            named=named,
            role=caller.role(slug or ALL),
            places=_navigation(caller, slug),
            may={right.value: caller.may(right, slug or ALL) for right in Right},
            **{
                "title": " · ".join(filter(None, (place, named, "pairsmith"))),
                "place": place,
                "problem": problem_view(error, state_of(request).workspace.root) if error else None,
                "refresh_s": None,
                "rows_line": None,
                "done": CONFIRMATIONS.get(request.query_params.get("done", "")),
                **context,
            },
        )
    )
    return HTMLResponse(body, status_of(error) if error else status)


def project_page(request: Request, template: str, caller: Caller, slug: str, **context: Any) -> HTMLResponse:
    """Render a page of a project, with the row counts in the footer if the caller may see rows. The template's name is
    also the name of its entry in the navigation."""
    sum_of_rows = rows_line(request, slug) if caller.may(Right.see_work, slug) else None
    place = template.capitalize()
    return render(request, template, caller, slug=slug, place=place, rows_line=sum_of_rows, **context)


def title_of(request: Request, slug: str) -> str:
    """The title of a project; its slug if the database is unavailable, because that error is shown on a page too."""
    with suppress(SQLAlchemyError):
        return str(state_of(request).accounts.titles().get(slug, slug))
    return slug


def names(request: Request, slugs: Iterable[str]) -> dict[str, str]:
    """Slug -> how a list names the project: its title, followed by a slug that differs, since titles may be equal."""
    titles = state_of(request).accounts.titles()
    return {slug: slug if (title := titles.get(slug, slug)) == slug else f"{title} ({slug})" for slug in slugs}


# The address carries only a key for the confirmation message, never its text: anyone could have written the link.
CONFIRMATIONS = {
    "saved": "Saved. It applies from the next run. A run in progress may stop at its next stage and says why.",
    "records": "Saved. Every output is a JSON object, so the task is now extract; schema.json has the keys.",
    "fitted": "Saved. Language, labels, lengths and schema that were derived from the previous seeds now follow these.",
    "unfit": "Saved. The schema is your own and stays, but none of these outputs satisfies it: change it under Task.",
    "unpriced": "Saved without prices, which were for the previous teacher. If they still apply, enter them again.",
    "rate": "Saved, with the learning rate and batch size set to suit this model.",
    "answered": "Your answer is saved. The next curation takes it into account.",
    "stopping": words.STOPPING,
    "signed-out": "You are signed out.",
    "revoked": "The key has been revoked.",
    "host": "Projects can now send requests to that host.",
    "role": "The role has been changed. That person has to sign in again.",
    "ended": "That session has been signed out.",
    "deleted": "The project is in the trash. Whoever runs the service can restore it.",
}


def _navigation(caller: Caller, slug: str | None) -> list[tuple[str, str, str]]:
    if slug is not None:
        links = [(n, f"/p/{slug}{path}", key) for n, path, key, right in _PROJECT_PAGES if caller.may(right, slug)]
        return links + ([("Setup", f"/p/{slug}/setup", "")] if caller.may(Right.edit, slug) else [])
    if caller.user is None:
        return []
    owner = [("People", "/people", ""), ("Audit", "/audit", "")] if caller.may(Right.administer) else []
    return [("Projects", "/", ""), *owner, ("Keys", "/keys", ""), ("Settings", "/settings", "")]


def error_page(request: Request, error: PairsmithError) -> Response:
    """Render an error as a page. Users who are not signed in are redirected to the sign-in and back."""
    caller: Caller = getattr(request.state, "caller", None) or Caller()
    if status_of(error) == 401 and caller.user is None and request.method == "GET":
        back = _with_query(request, request.url.path)
        return RedirectResponse(link("/sign-in", next="" if back == "/" else back), 303)
    slug = request.path_params.get("project")
    known = slug if slug and caller.may(Right.see_project, slug) and status_of(error) != 404 else None
    status = status_of(error)
    is_broken = known is not None and request.method == "GET" and isinstance(error, SpecError)
    heading = _ERROR_HEADINGS.get(status, "Something went wrong.")
    heading = "The settings of this project cannot be read." if is_broken else heading
    failure, typed = problem_view(error, state_of(request).workspace.root), getattr(request.state, "typed", [])
    return render(
        request,
        "failed",
        caller,
        slug=known,
        status=status,
        heading=heading,
        failure=failure,
        typed=typed,
        is_broken=is_broken,
    )


def _with_query(request: Request, path: str) -> str:
    return path + (f"?{request.url.query}" if request.url.query else "")


def page_of(request: Request, error: PairsmithError) -> Response | None:
    """The error page if a browser requested something outside the API, otherwise None."""
    return error_page(request, error) if _wants_html(request) else None


def _wants_html(request: Request) -> bool:
    theirs = request.url.path.startswith(("/api/", "/v1/"))
    return not theirs and "text/html" in request.headers.get("accept", "")


def _parent_page(request: Request) -> str:
    path = request.url.path
    while path := path.rpartition("/")[0]:
        scope = {**request.scope, "path": path}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            return path
    return "/"


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handle an unknown address: a page for browsers, an API error for programs.

    Form actions are not pages, and neither is an address with a slash at its end. A browser that opens one, e.g. from a
    bookmark, is redirected to the page above it."""
    assert isinstance(error, HTTPException)
    if request.method == "GET" and _wants_html(request):
        parent = _parent_page(request)
        if request.url.path == f"{parent}/":
            return RedirectResponse(_with_query(request, parent), 303)
        if error.status_code == 405:
            return RedirectResponse(parent, 303)
    unknown = not_there("this page does not exist.", fix="The start page lists your projects.")
    return page_of(request, unknown) or await problems.on_http_exception(request, error)


_ERROR_HEADINGS = {
    401: "You are signed out.",
    403: "You do not have permission to do this.",
    404: "Page not found.",
    409: "This is not possible right now.",
    400: "This cannot be used as it is.",
    413: "This is too large.",
    422: "This cannot be used as it is.",
    429: "Too many requests.",
}


_CONTINUES_WHERE = re.compile(r"(?:is|has|holds|cannot|does) ")  # a message whose subject is its `where`


def problem_view(error: PairsmithError, root: Path) -> dict[str, str | None]:
    """The parts of an error for a page; missing ones are None. Paths on the machine are shortened to the file name, or
    to the path within `root`, so that pages do not reveal them."""
    parts = as_json(error)
    if str(parts.get("where") or "").startswith(("/", "sqlite:")):
        parts["where"] = Path(str(parts["where"])).name
    parts = {name: within(part, root) if isinstance(part, str) else part for name, part in parts.items()}
    what, where = str(parts["what"]), parts.get("where")
    if where and _CONTINUES_WHERE.match(what):  # as on the command line, which prints `where` first
        what, parts["where"] = f"{where} {what}", None
    else:
        what = capital(what)
    return {"what": what, **{name: parts.get(name) for name in ("where", "why", "fix")}}


def redirect_to(path: str, at: str = "", **query: Any) -> RedirectResponse:
    """Redirect after a change to a page, or to a place `at` it, so that reloading does not repeat the change."""
    return RedirectResponse(link(path, **query) + (f"#{at}" if at else ""), 303)
