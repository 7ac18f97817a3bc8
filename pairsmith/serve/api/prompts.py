"""Prompts of a project. Their versions are immutable files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field

import prompts as library
from pairsmith.serve.access import Editor, Runner, Viewer
from pairsmith.serve.api.jobs import location_of, start_job
from pairsmith.serve.api.people import RequestBody
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.limits import PREVIEWS
from pairsmith.serve.problems import not_there
from pairsmith.serve.state import state_of
from prompts.prompt import Prompt
from schemas.errors import PromptError
from schemas.temporary_folders import temporary_folder

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["prompts"])
Name = Annotated[str, InPath(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Version = Annotated[str, InPath(pattern=r"^v[1-9][0-9]{0,5}$")]


class PromptSummary(BaseModel):
    """A version of a prompt. `used`: the spec currently uses it."""

    name: str
    version: str
    used: bool


class PromptDetail(BaseModel):
    ref: str
    name: str
    version: str
    about: str
    text: str
    variables: dict[str, str]


class PromptList(BaseModel):
    items: list[PromptSummary]


class NewVersion(RequestBody):
    text: Annotated[str, Field(min_length=1, max_length=200_000)]


class PreviewRequest(RequestBody, json_schema_extra={"examples": [{"seeds": 5, "cap_usd": 0.5}]}):
    seeds: int = Field(default=5, ge=1, le=20)
    cap_usd: float | None = Field(default=None, gt=0, le=1e6)


@router.get("/prompts", name="prompts")
def prompts(caller: Viewer, project: str, request: Request) -> PromptList:
    """All available prompt versions: the project's own, and those that come with pairsmith."""
    opened = state_of(request).readers.project(project)
    directions = opened.spec.generate.directions.values()
    used = {library.load(way.prompt, opened.folder).ref.partition("@")[0] for way in directions}
    names = library.available(opened.folder)
    return PromptList(
        items=[PromptSummary(name=n.split("/")[0], version=n.split("/")[1], used=n in used) for n in names]
    )


@router.get("/prompts/{name}/{version}", name="prompt")
def prompt(caller: Viewer, project: str, name: Name, version: Version, request: Request) -> PromptDetail:
    """One version of a prompt."""
    folder = state_of(request).workspace.folder(project)
    try:
        return PromptDetail.model_validate(library.load(f"{name}/{version}", folder), from_attributes=True)
    except PromptError as error:
        raise not_there(error.what, error.fix) from None


@router.post("/prompts/{name}", name="add_prompt", status_code=201)
def add_prompt(
    caller: Editor, project: str, name: Name, body: NewVersion, request: Request, response: Response
) -> PromptDetail:
    """Save a new version. It is not used until the spec names it, or the newest version."""
    saved = save_version(state_of(request).workspace.folder(project), name, body.text)
    response.headers["Location"] = f"/api/v1/projects/{project}/prompts/{name}/{saved.version}"
    return PromptDetail.model_validate(saved, from_attributes=True)


@router.post("/prompts/{name}/preview", name="preview_prompt", status_code=202)
def preview_prompt(
    caller: Runner, project: str, name: Name, body: PreviewRequest, request: Request, response: Response
) -> Job:
    """Generate for a few seeds with the prompts in the spec, for comparison with the last run.

    The job's `answer` has both, and what a run would request again and cost.
    """
    state_of(request).limits.take(f"preview {caller.user}", PREVIEWS, "previews")
    names = library.available(state_of(request).workspace.folder(project))
    if not any(ref.startswith(f"{name}/") for ref in names):
        raise not_there(f"there is no prompt '{name}'.", fix="GET .../prompts lists the prompts.")
    options = JobOptions(seeds=body.seeds, cap_usd=body.cap_usd)
    new = start_job(request, caller, project, "preview", options)
    response.headers["Location"] = location_of(new)
    return new


def save_version(folder: Path, name: str, text: str) -> Prompt:
    """Check a prompt and save it as the next version, for the API and the pages. Raises PromptError."""
    with temporary_folder() as scratch:
        draft = scratch / "v1.jinja"
        draft.write_text(text, encoding="utf-8")
        try:
            Prompt.read(draft, name)
        except PromptError as error:
            where = (error.where or "").replace(str(draft), name)
            raise PromptError(error.what, where=where or None, why=error.why, fix=error.fix) from None
    home = folder / "prompts" / name
    home.mkdir(parents=True, exist_ok=True)
    number = next_number(folder, name)
    while True:
        try:
            with (home / f"v{number}.jinja").open("x", encoding="utf-8") as file:
                file.write(text)
            break
        except FileExistsError:  # another version was saved in the meantime
            number += 1
    return library.load(f"{name}/v{number}", folder)


def next_number(folder: Path, name: str) -> int:
    """The number of the next version of a prompt."""
    existing = [int(ref.partition("/v")[2]) for ref in library.available(folder) if ref.partition("/")[0] == name]
    return max(existing, default=0) + 1
