"""The spec of a project: read, validate and write it with comments preserved; an ETag prevents lost updates."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from pairsmith.serve.access import Caller, Editor, Right, Viewer
from pairsmith.serve.api.people import RequestBody
from pairsmith.serve.policy import CLASSES
from pairsmith.serve.problems import RESPONSES, Refusal
from pairsmith.serve.state import state_of
from schemas.errors import SpecError
from schemas.files import replaced
from schemas.project import Project
from schemas.spec import Spec
from schemas.spec_file import SPEC_NAME, parse, set_keys
from schemas.time_limit import LIMIT_S, CheckTimedOut, limited

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["spec"])
_LONGEST = 500_000
_write_lock = threading.Lock()
_ETAG_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**RESPONSES[400], "description": what} for status, what in ((412, "Changed since"), (428, "No ETag"))
}
_TOML: dict[int | str, dict[str, Any]] = {200: {"content": {"application/toml": {"schema": {"type": "string"}}}}}


class SpecDocument(BaseModel):
    """The file, its values including all defaults, and notices about keys with old names."""

    text: str
    etag: str
    values: dict[str, Any]
    notices: list[str]


class SpecChange(RequestBody, json_schema_extra={"examples": [{"set": {"train.epochs": 2}}]}):
    """Either the whole file or keys to set in it, for example `"train.epochs": 2`; null removes a key."""

    text: Annotated[str, Field(max_length=_LONGEST)] | None = None
    set: Annotated[dict[Annotated[str, Field(max_length=200)], Any], Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _check_exactly_one(self) -> SpecChange:
        if (self.text is None) == (self.set is None):
            raise ValueError("send either text or set")
        return self


class SpecSchema(BaseModel):
    """The JSON schema of a spec, and the class of each key in the service (`free`, `fenced`, `path`, `host`, ...)."""

    json_schema: dict[str, Any]
    classes: dict[str, str]


@router.get("/spec", name="spec", responses=_TOML)
def spec(
    caller: Viewer, project: str, request: Request, response: Response, accept: Annotated[str, Header()] = ""
) -> Any:
    """The spec as JSON, or the file itself with `Accept: application/toml`."""
    path = _path(request, project)
    text = _text_of(path)
    if "toml" in accept:
        return Response(text, media_type="application/toml", headers={"ETag": f'"{etag_of(text)}"'})
    response.headers["ETag"] = f'"{etag_of(text)}"'
    return _document(parse(text, path.parent), text)


@router.put("/spec", name="put_spec", responses=_ETAG_ERRORS)
def put_spec(
    caller: Editor,
    project: str,
    body: SpecChange,
    request: Request,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
    check: Annotated[bool, Query(description="Only validate; nothing is written.")] = False,
) -> SpecDocument:
    """Write the spec if it still has the ETag in `If-Match`. A running job continues with the spec that it has read."""
    before = spec_text(request, project)
    text = body.text if body.text is not None else set_keys(before, body.set or {})
    changed = save_spec(request, caller, project, text, if_match=if_match, check=check)
    response.headers["ETag"] = f'"{etag_of(text if not check else before)}"'
    return _document(changed, text)


@router.get("/spec/form", name="spec_form")
def spec_form(caller: Viewer, project: str) -> SpecSchema:
    """The schema for a form to edit the spec."""
    return SpecSchema(json_schema=Spec.model_json_schema(), classes={key: str(kind) for key, kind in CLASSES.items()})


def save_spec(
    request: Request, caller: Caller, slug: str, text: str, *, if_match: str | None, check: bool = False
) -> Project:
    """Validate a spec, check it against the policy, and write it, for the API and the pages. Raises Refusal,
    SpecError."""
    path = _path(request, slug)
    before = _text_of(path)
    if if_match is None and not check:
        raise Refusal(
            428, "If-Match is missing.", code="if_match_missing", fix="Send the ETag of the spec that you read."
        )
    known = {tag.strip().removeprefix("W/").strip('"') for tag in (if_match or "").split(",")}
    if if_match is not None and not known & {etag_of(before), "*"}:
        raise _spec_changed()
    changed = _parse_in_time(text, path.parent)
    owner, administrator = caller.may(Right.own, slug), caller.may(Right.administer)
    saved = _spec_before(before, path.parent)
    state_of(request).policy.check(changed, before=saved, owner=owner, administrator=administrator)
    if not check:
        with _write_lock:  # the check above takes time, and others may have written meanwhile
            if _text_of(path) != before:
                raise _spec_changed()
            with replaced(path) as partial:
                partial.write_text(text, encoding="utf-8")
        request.state.changed = {"before": etag_of(before), "after": etag_of(text)}
    return changed


def _parse_in_time(text: str, folder: Path) -> Project:
    """Parse a spec from a user. Raises SpecError, also if compiling its regular expressions takes too long."""
    try:
        return limited("the spec", text, "", lambda: parse(text, folder))
    except CheckTimedOut:
        raise SpecError(
            f"the spec takes more than {LIMIT_S:g} s to read.",
            where=SPEC_NAME,
            why="Thousands of keys, or of large character classes in regular expressions, would slow down every page.",
            fix="Use fewer or simpler ones.",
        ) from None


def save_keys(request: Request, caller: Caller, slug: str, keys: Mapping[str, Any]) -> None:
    """Set keys of the spec (None removes one), validated as a whole and against the policy.

    Raises SpecError and Refusal.
    """
    text = spec_text(request, slug)
    save_spec(request, caller, slug, set_keys(text, keys), if_match=etag_of(text))


def spec_text(request: Request, slug: str) -> str:
    """The current text of the spec file."""
    return _text_of(_path(request, slug))


def _text_of(path: Path) -> str:
    """The text of a spec file, also of one in another encoding, which can then be replaced as any other."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _spec_changed() -> Refusal:
    return Refusal(
        412,
        "the spec has changed since you read it.",
        code="changed_since",
        why="Your change would overwrite somebody else's.",
        fix="Read it again and repeat your change.",
    )


def etag_of(text: str) -> str:
    """The ETag of a spec: its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


def _spec_before(text: str, folder: Path) -> Spec:
    """The saved spec; if it is invalid, one in which no owner has set anything."""
    try:
        return parse(text, folder).spec
    except SpecError:
        return parse('[task]\nname = "none"\nstyle = "none"\n', folder).spec


def _document(project: Project, text: str) -> SpecDocument:
    values = project.spec.model_dump(mode="json")
    notices = [notice.removeprefix(f"{project.folder / SPEC_NAME}: ") for notice in project.notices]
    return SpecDocument(text=text, etag=etag_of(text), values=values, notices=notices)


def _path(request: Request, slug: str) -> Path:
    return state_of(request).workspace.folder(slug) / SPEC_NAME
