"""Projects: list, create, inspect, rename and delete them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from pairsmith import new_project
from pairsmith.commands.status import status_of
from pairsmith.serve.access import Caller, Editor, ProjectOwner, Right, SignedIn, Viewer
from pairsmith.serve.api.pages import Cursor, Limit, Page, page_of
from pairsmith.serve.api.people import RequestBody, printable
from pairsmith.serve.database import stamp
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from pairsmith.teachers.search import EMBEDDED, FoundTeacher
from schemas.errors import PairsmithError
from schemas.kinds import KindName
from schemas.spec import Spec
from schemas.spec_file import SPEC_NAME, parse, set_keys

router = APIRouter(prefix="/api/v1", tags=["projects"])
SLUG = r"^[a-z0-9][a-z0-9-]{0,62}$"
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]


class Teacher(RequestBody):
    """A server and the name of the variable that holds its key; never the key itself."""

    url: Annotated[str, Field(max_length=500)] = EMBEDDED.url
    model: Annotated[str, Field(max_length=200)] = EMBEDDED.model
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)


class NewProject(RequestBody, json_schema_extra={"examples": [{"name": "notes", "example": "release-notes"}]}):
    """A new project from an `example`, or with the initial files for a `kind` of task.

    `style` and `teacher` are written into its spec.
    """

    name: Annotated[str, Field(pattern=SLUG)]
    example: Annotated[str, Field(max_length=80)] | None = None
    kind: KindName = "rewrite"
    style: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    teacher: Teacher = Teacher()
    title: Title | None = None


class NewTitle(RequestBody):
    title: Title


class ProjectSummary(BaseModel):
    name: str
    title: str
    role: str
    running: str | None = Field(description="The id of the project's job that has not ended; null for reviewers.")


class ProjectState(ProjectSummary):
    """A project with its `status`, as from `pairsmith status --json`; null if the spec cannot be read (see
    `problem`)."""

    status: dict[str, Any] | None
    problem: str | None = None


@router.get("/projects", name="projects")
def projects(caller: SignedIn, request: Request, limit: Limit = 50, cursor: Cursor = None) -> Page[ProjectSummary]:
    """Your projects."""
    slugs = caller.projects(state_of(request).workspace.projects())
    running = {job.project: job.id for job in state_of(request).jobs.active()}
    titles = state_of(request).accounts.titles()
    return page_of(slugs, limit, cursor, lambda slug: _summary(slug, caller, titles, running))


@router.post("/projects", name="create_project", status_code=201)
def create_project(caller: Editor, body: NewProject, request: Request, response: Response) -> ProjectState:
    """Create a project from an example or for a kind of task."""
    if body.example and "kind" in body.model_fields_set:
        what, fix = "an example has a kind of its own.", "Send either example or kind."
        raise Refusal(422, what, where="/body/kind", code="not_valid", fix=fix)
    create_project_files(request, caller, body)
    response.headers["Location"] = f"/api/v1/projects/{body.name}"
    request.state.changed = {"project": body.name}
    return _state(body.name, caller, request)


@router.get("/projects/{project}", name="project")
def project(caller: Viewer, project: str, request: Request) -> ProjectState:
    """The contents of a project, its spending, and the next step."""
    return _state(project, caller, request)


@router.patch("/projects/{project}", name="rename_project")
def rename(caller: Editor, project: str, body: NewTitle, request: Request) -> ProjectState:
    """Change the title of a project; its name stays."""
    state_of(request).accounts.set_title(project, body.title)
    return _state(project, caller, request)


@router.delete("/projects/{project}", name="delete_project", status_code=204)
def delete(caller: ProjectOwner, project: str, request: Request) -> None:
    """Move the project and its jobs' files to the trash, `.serve/trash`. Its members, invitations, keys, title and
    queue are deleted.

    An administrator of the machine can restore the project from there.
    """
    state = state_of(request)
    if state.jobs.unended_job_id(project):
        raise Refusal(409, "the project has a job that has not ended.", code="project_busy", fix="Stop the job first.")
    trash = state.workspace.serve / "trash"
    trash.mkdir(parents=True, exist_ok=True)
    place = trash / f"{project}-{stamp().replace(':', '')}"
    state.workspace.folder(project).rename(place)
    state.accounts.forget(project)
    state.jobs.forget(project, place / ".jobs")
    from_thread.run_sync(state.jobs.hub.forget, project)
    state.views.forget(project)


def create_project_files(request: Request, caller: Caller, body: NewProject) -> None:
    """Write the files of a new project. Raises Refusal, UsageError."""
    state, what = state_of(request), f"there is already a project '{body.name}'."
    with state.workspace.making(body.name, Refusal(409, what, code="exists", fix="Choose another name.")) as folder:
        _write(request, caller, body, folder)
    if body.title:
        state.accounts.set_title(body.name, body.title)


def _write(request: Request, caller: Caller, body: NewProject, folder: Path) -> None:
    files = new_project.files_of(new_project.template_folder(body.example or new_project.FIRST_OF_KIND[body.kind]))
    template = files[SPEC_NAME].decode()
    teacher = FoundTeacher(
        body.teacher.url, body.teacher.model, "Chosen when the project was created.", body.teacher.key_env
    )
    text = new_project.with_teacher(template, teacher)
    named = {} if body.example else {"task.name": body.name}
    text = set_keys(text, named | ({"task.style": body.style} if body.style else {}))
    owner = caller.may(Right.own, body.name)  # the project does not exist yet, so this means an owner of all projects
    unmodified = parse(template, folder)
    state_of(request).policy.check(
        parse(text, folder),
        before=_with_prices(unmodified.spec, parse(text, folder).spec),
        owner=owner,
        administrator=owner,
    )
    new_project.write_project(folder, {**files, SPEC_NAME: text.encode()})
    (folder / "seeds").mkdir(exist_ok=True)


def _with_prices(template: Spec, written: Spec) -> Spec:
    """The template with the prices that pairsmith writes for a local server, which no user has set."""
    prices = {name: getattr(written.teacher, name) for name in type(written.teacher).model_fields if "usd_per" in name}
    return template.model_copy(update={"teacher": template.teacher.model_copy(update=prices)})


def _summary(slug: str, caller: Caller, titles: dict[str, str], running: dict[str, str]) -> ProjectSummary:
    role = caller.role(slug) or "none"
    job_id = running.get(slug) if caller.may(Right.see_work, slug) else None
    return ProjectSummary(name=slug, title=titles.get(slug, slug), role=role, running=job_id)


def _state(slug: str, caller: Caller, request: Request) -> ProjectState:
    state = state_of(request)
    running = {job.project: job.id for job in state.jobs.active()}
    short = _summary(slug, caller, state.accounts.titles(), running).model_dump()
    try:
        readers = state.readers
        status = status_of(readers.project(slug), readers.store(slug))
        for where in ("folder", "running"):  # paths and processes of the server are not revealed
            del status[where]
        return ProjectState(**short, status=status)
    except PairsmithError as error:
        return ProjectState(**short, status=None, problem=str(error))
