"""`/v1/fine_tuning/jobs`: OpenAI's format for our jobs. The request is stored; the state is that of the job."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pairsmith.new_project import for_embedded, keys_for_base
from pairsmith.serve import events as job_events
from pairsmith.serve.access import Caller, JobRunner, JobViewer, Right, needs, project_not_found
from pairsmith.serve.api.jobs import location_of, start_job
from pairsmith.serve.api.people import printable
from pairsmith.serve.api.projects import SLUG
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.database import row, rows, tuning_jobs, write
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.openai.chat import tuned_of_job
from pairsmith.serve.openai.files import ListPage, answers_of, file_of, page_after, upload_path
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import slug_of
from pairsmith.user_file.guessed_spec import answer_tokens
from schemas.spec import TrainSettings
from schemas.spec_file import SPEC_NAME, parse, set_keys

router = APIRouter(prefix="/v1/fine_tuning", tags=["openai"])
Auto = Literal["auto"]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=100)]
_PROJECT = "project:"
_DEFAULT_LEARNING_RATE = TrainSettings().learning_rate
_STATUS = {
    "queued": "queued", "waits_for_gpu": "queued", "running": "running", "stopping": "running",
    "waits_for_people": "paused", "stopped": "cancelled", "done": "succeeded", "failed": "failed",
}  # fmt: skip
_SPEC = """[task]
kind = "reply"
name = "{name}"
style = "As in the examples."

[[seeds]]
path = "seeds/{file}"
kind = "conversation"

[review]
enabled = false

[curate.score]
model = "none"

[evaluate]
sampling = {{ temperature = 0.7, top_p = 0.95, max_tokens = {most} }}  # room for the longest of the answers
"""


class Hyperparameters(BaseModel):
    """`learning_rate_multiplier` multiplies pairsmith's default rate; `auto` keeps the value in the spec."""

    model_config = ConfigDict(extra="forbid")

    n_epochs: int | Auto = Field(default="auto")
    batch_size: int | Auto = Field(default="auto")
    learning_rate_multiplier: Annotated[float, Field(gt=0, le=1000)] | Auto = Field(default="auto")


_AUTO = Hyperparameters()


class Supervised(BaseModel):
    hyperparameters: Hyperparameters = Hyperparameters()


class Method(BaseModel):
    type: Annotated[str, Field(max_length=40)] = "supervised"
    supervised: Supervised = Supervised()


class TuningRequest(
    BaseModel, json_schema_extra={"examples": [{"model": "embedded", "training_file": "project:notes"}]}
):
    """A fine-tuning request.

    `training_file` is an uploaded file, or `project:NAME` for the accepted dataset of a project. `project`, or else
    `suffix`, names the project that is created for a file, and so the model. Unsupported parameters are rejected, not
    ignored.
    """

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=200)]
    training_file: Annotated[str, Field(min_length=1, max_length=120)]
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    suffix: Annotated[str, Field(max_length=64), AfterValidator(printable)] | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = None
    project: Annotated[str, Field(pattern=SLUG)] | None = None
    validation_file: Annotated[str, Field(max_length=120)] | None = None
    integrations: list[dict[str, Any]] | None = None

    @property
    def settings(self) -> Hyperparameters:
        """The hyperparameters, from either of the two places where they can be sent."""
        return (self.method.supervised.hyperparameters if self.method else None) or self.hyperparameters or _AUTO


class TuningError(BaseModel):
    code: str
    message: str
    param: str | None


class TuningJob(BaseModel):
    """An OpenAI fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    error: TuningError | None
    fine_tuned_model: str | None
    hyperparameters: Hyperparameters
    model: str
    organization_id: str = "pairsmith"
    result_files: list[str] = []
    seed: int
    status: str
    trained_tokens: int | None
    training_file: str
    validation_file: str | None = None
    estimated_finish: int | None
    metadata: dict[str, str] | None
    integrations: list[str] = []


class TuningEvent(BaseModel):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class Checkpoints(ListPage[dict[str, Any]]):
    """Always empty: training keeps only its best state, which is the model."""

    data: list[dict[str, Any]] = Field(default_factory=list)
    first_id: str | None = None
    last_id: str | None = None


@router.post("/jobs", name="openai_tune")
def create(
    caller: Annotated[Caller, needs(Right.run, somewhere=True)],
    body: TuningRequest,
    request: Request,
    response: Response,
) -> TuningJob:
    """Train on a project's accepted dataset, or create a project from a file and run it without review."""
    if body.method is not None and body.method.type != "supervised":
        unsupported = f"the method '{body.method.type}' is not supported."
        raise Refusal(400, unsupported, where="method.type", code="unsupported_method", fix="Use supervised.")
    if body.validation_file or body.integrations:
        part = "validation_file" if body.validation_file else "integrations"
        fix = "Leave it out: part of the training file is held out for validation." if body.validation_file else None
        raise Refusal(400, f"'{part}' is not supported.", where=part, code="unsupported", fix=fix or "Leave it out.")
    slug, command = _prepare(request, caller, body)
    job = start_job(request, caller, slug, command, JobOptions())
    response.headers["Location"] = location_of(job)
    request.state.changed = {"project": slug, "after": job.id}
    write(state_of(request).engine, sa.insert(tuning_jobs).values(id=job.id, asked=body.model_dump_json()))
    return _tuning_job(request, job, body)


@router.get("/jobs", name="openai_tunings")
def list_jobs(
    caller: Annotated[Caller, needs(Right.see_work, somewhere=True)],
    request: Request,
    limit: Limit = 20,
    after: After = None,
) -> ListPage[TuningJob]:
    """The fine-tuning jobs of your projects, newest first."""
    requests = {row["id"]: row["asked"] for row in rows(state_of(request).engine, sa.select(tuning_jobs))}
    every = state_of(request).jobs.list(limit=1000)
    mine = [job for job in every if job.id in requests and caller.may(Right.see_work, job.project)]
    page, more = page_after(mine, after, limit)
    data = [_tuning_job(request, job, TuningRequest.model_validate_json(requests[job.id])) for job in page]
    return ListPage(data=data, has_more=more)


@router.get("/jobs/{job}", name="openai_tuning")
def retrieve(caller: JobViewer, job: str, request: Request) -> TuningJob:
    """The current state of a job."""
    return _tuning_job(request, state_of(request).jobs.get(job), _request_of(request, job))


@router.post("/jobs/{job}/cancel", name="openai_cancel")
def cancel(caller: JobRunner, job: str, request: Request) -> TuningJob:
    """Stop a job."""
    tuning_request = _request_of(request, job)
    return _tuning_job(request, state_of(request).jobs.cancel(job), tuning_request)


@router.post("/jobs/{job}/pause", name="openai_pause")
@router.post("/jobs/{job}/resume", name="openai_resume")
def pause(caller: JobRunner, job: str, request: Request) -> TuningJob:
    """Not supported: stop the job, and continue it with a new one."""
    _request_of(request, job)
    raise Refusal(
        501, "jobs cannot be paused.", code="not_implemented", fix="Cancel it, and POST /api/v1/jobs/ID/continue."
    )


@router.get("/jobs/{job}/events", name="openai_events")
def list_events(
    caller: JobViewer, job: str, request: Request, limit: Limit = 20, after: After = None
) -> ListPage[TuningEvent]:
    """The events of a job, newest first; losses are events of the type `metrics`."""
    _request_of(request, job)
    tuning = state_of(request).jobs.get(job)
    page, more = page_after(_events(request, tuning)[::-1], after, limit)
    return ListPage(data=page, has_more=more)


@router.get("/jobs/{job}/checkpoints", name="openai_checkpoints")
def checkpoints(caller: JobViewer, job: str, request: Request, limit: Limit = 10, after: After = None) -> Checkpoints:
    """No checkpoints are kept."""
    _request_of(request, job)
    return Checkpoints()


def _prepare(request: Request, caller: Caller, body: TuningRequest) -> tuple[str, str]:
    """Set the spec of the project to train in, and return its name and the command. Raises Refusal, SpecError."""
    keys = _spec_keys(body)
    if body.training_file.startswith(_PROJECT):
        slug = body.training_file.removeprefix(_PROJECT)
        if body.suffix:
            refusal = "the model of a project is named after the project."
            raise Refusal(400, refusal, where="suffix", code="unsupported", fix="Leave suffix out.")
        if slug not in state_of(request).workspace.projects():
            raise project_not_found(slug)
        caller.require(Right.run, slug)
        train = state_of(request).workspace.project(slug).spec.train
        if (base := keys.get("train.base", train.base)) != train.base:
            keys = keys_for_base(base, train) | keys
        save_keys(request, caller, slug, keys)
        return slug, "train"
    caller.require(Right.edit)
    uploaded = file_of(request, caller, body.training_file)
    slug = body.project or slug_of(body.suffix or "") or f"tune-{uploaded['id'][-12:]}"
    content = upload_path(request, uploaded["id"]).read_bytes()
    template = _SPEC.format(name=slug, file=f"{uploaded['id']}.jsonl", most=answer_tokens(answers_of(content)))
    template = for_embedded(template) if body.model in ("embedded", "auto") else template
    what, fix = f"there is already a project '{slug}'.", f"Train it as {_PROJECT}{slug}."
    with state_of(request).workspace.making(slug, Refusal(409, what, code="exists", fix=fix)) as folder:
        text = set_keys(template, keys)
        state_of(request).policy.check(
            parse(text, folder),
            before=parse(template, folder).spec,
            owner=caller.may(Right.own),
            administrator=caller.may(Right.administer),
        )
        (folder / "seeds").mkdir()
        (folder / "seeds" / f"{uploaded['id']}.jsonl").write_bytes(content)
        (folder / SPEC_NAME).write_text(text, encoding="utf-8")
    return slug, "run"


def _spec_keys(body: TuningRequest) -> dict[str, Any]:
    settings = body.settings
    keys: dict[str, Any] = {"train.base": body.model.removeprefix("ft:") if body.model != "auto" else None}
    if settings.n_epochs != "auto":
        keys["train.epochs"] = settings.n_epochs
    if settings.batch_size != "auto":
        keys["train.batch"] = settings.batch_size
    if settings.learning_rate_multiplier != "auto":
        keys["train.learning_rate"] = settings.learning_rate_multiplier * _DEFAULT_LEARNING_RATE
    if body.seed is not None:
        keys["train.seed"] = body.seed
    return {key: value for key, value in keys.items() if value is not None}


def _request_of(request: Request, job: str) -> TuningRequest:
    stored = row(state_of(request).engine, sa.select(tuning_jobs).where(tuning_jobs.c.id == job))
    if stored is None:
        raise not_there(f"'{job}' is not a fine-tuning job.", fix="GET /api/v1/jobs lists all jobs.")
    return TuningRequest.model_validate_json(stored["asked"])


def _tuning_job(request: Request, job: Job, tuning_request: TuningRequest) -> TuningJob:
    tuned = tuned_of_job(request, job) if job.state in ("done", "failed") else None
    failed = job.state == "failed" and tuned is None  # with a tuned model, training succeeded and a later stage failed
    problem = job.problem or {}
    error = TuningError(
        code=str(problem.get("kind", "failed")),
        message=str(problem.get("message") or problem.get("what", "")),
        param=None,
    )
    left_s = ((job.progress or {}).get("pace") or {}).get("left_s")
    last_sign = job.last_sign_of_life or job.created
    return TuningJob(
        id=job.id,
        created_at=int(job.created.timestamp()),
        finished_at=int(job.ended.timestamp()) if job.ended else None,
        error=error if failed else None,
        fine_tuned_model=tuned.name if tuned else None,
        hyperparameters=tuning_request.settings,
        model=tuning_request.model,
        seed=tuning_request.seed or 0,
        status="succeeded" if tuned else _STATUS[job.state],
        trained_tokens=tuned.result.trained_tokens if tuned else None,
        training_file=tuning_request.training_file,
        estimated_finish=int(last_sign.timestamp() + left_s) if left_s and not job.has_ended else None,
        metadata=tuning_request.metadata,
    )


def _events(request: Request, job: Job) -> list[TuningEvent]:
    """The events of a job, oldest first: its request, every report of its process, and how it ended."""

    def event(number: int, at: float, message: str, data: dict[str, Any], level: Any = "info") -> TuningEvent:
        kind: Literal["message", "metrics"] = "metrics" if "loss" in data else "message"
        name = f"ftevent-{job.id}-{number}"
        return TuningEvent(id=name, created_at=int(at), level=level, message=message, type=kind, data=data)

    lines = [event(0, job.created.timestamp(), f"{job.command} of {job.project} was requested by {job.by}", {})]
    path = state_of(request).jobs.folder(job.id) / "events.jsonl"
    for number, state in job_events.each(path):
        numbers = dict(state.get("numbers", {}))
        done = f" {numbers['done']} of {numbers['total']}" if "done" in numbers and "total" in numbers else ""
        data = json.loads(json.dumps({"stage": state["stage"], **numbers}, default=str))
        lines.append(event(number, state["at"], f"{state['stage']}{done}", data))
    if job.ended:
        level = ("warn" if tuned_of_job(request, job) else "error") if job.state == "failed" else "info"
        problem = (job.problem or {}).get("message") or (job.problem or {}).get("what") or job.note
        lines.append(event(10**9, job.ended.timestamp(), str(problem or f"the job is {job.state}"), {}, level))
    return lines
