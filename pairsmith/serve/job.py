"""A job: one command for one project, as users and API clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import StoreBusy, UsageError
from schemas.spec.section import Section

State = Literal["queued", "waits_for_gpu", "running", "stopping", "stopped", "waits_for_people", "done", "failed"]
ENDED: frozenset[State] = frozenset({"stopped", "waits_for_people", "done", "failed"})


class NoSuchJob(UsageError):
    """There is no job with that id."""


class ProjectBusy(StoreBusy):
    """The project has a job that has not ended, or with `unrecorded` one whose end the database does not have yet;
    `job_id` is its id."""

    def __init__(self, slug: str, job_id: str, *, unrecorded: bool = False) -> None:
        if unrecorded:
            what = f"the end of a job of the project '{slug}' is not recorded yet: {job_id}."
            why = "The database of the jobs could not be written, usually because the disk is full."
            fix = "Free disk space. The end is recorded within half a minute of that; start the job again then."
        else:
            what = f"the project '{slug}' has a job that has not ended: {job_id}."
            why = "A store has one writer; two would request and pay for the same answers twice."
            fix = "Wait until it ends, or stop it."
        super().__init__(what, why=why, fix=fix)
        self.job_id = job_id


class JobOptions(Section):
    """The options of a job. `COMMANDS` lists which command takes which."""

    retry_failed: bool = False
    no_review: bool = False
    batch: bool = False
    more: bool = False
    cap_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stop_after_accepted: int | None = Field(default=None, ge=1)
    seeds: int | None = Field(default=None, ge=1, le=200)
    precision: float | None = Field(default=None, ge=0.5, lt=1)
    confidence: float | None = Field(default=None, ge=0.5, lt=1)
    gguf: tuple[Literal["f16", "q8_0", "q4_k_m"], ...] = Field(default=(), max_length=3)
    format: tuple[Literal["openai", "together", "axolotl", "llama-factory", "unsloth"], ...] = Field(
        default=(), max_length=5
    )


class Command(NamedTuple):
    """The command-line words of a command, and the options that it takes."""

    words: tuple[str, ...]
    takes: frozenset[str] = frozenset()


_ASKING = frozenset({"cap_usd"})
_GENERATING = _ASKING | {"retry_failed", "batch", "stop_after_accepted"}
COMMANDS: dict[str, Command] = {
    "run": Command(("run",), _GENERATING | {"no_review"}),
    "generate": Command(("generate",), _GENERATING),
    "curate": Command(("curate",), _ASKING),
    "review-push": Command(("review", "push"), frozenset({"more"})),
    "review-pull": Command(("review", "pull")),
    "certify": Command(("certify",), _ASKING | {"precision", "confidence"}),
    "train": Command(("train",)),
    "train-reward": Command(("train-reward",)),
    "evaluate": Command(("evaluate",), _ASKING),
    "export": Command(("export",), frozenset({"gguf", "format"})),
    "preview": Command(("preview",), _ASKING | {"seeds"}),
    "forecast": Command(("forecast",), _ASKING | {"seeds"}),
}


class Job(BaseModel):
    """The current state of a job.

    `position` is its place in its queue, from 1. `problem` has `kind`, `what`, `where`, `why`, `fix` and `exit_code`,
    like the command's `--json` output. `progress` is the command's last report (`stage` and its numbers); `answer` is
    the command's result. `note` describes what the job waits for, or what is kept if it was stopped.
    `last_sign_of_life` is when it last reported, wrote or computed anything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    project: str
    command: str
    options: JobOptions
    by: str
    state: State
    created: datetime
    position: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    stage: str | None = None
    exit_code: int | None = None
    problem: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    note: str | None = None
    continues: str | None = None
    last_sign_of_life: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def check_options(command: str, options: JobOptions) -> None:
    """Raises UsageError for a command that jobs cannot run, and for an option that the command does not take."""
    if command not in COMMANDS:
        raise UsageError(f"jobs cannot run '{command}'.", fix=f"A job runs one of: {', '.join(COMMANDS)}.")
    given = options.model_dump(exclude_defaults=True).keys()
    if wrong := sorted(given - COMMANDS[command].takes):
        takes = ", ".join(sorted(COMMANDS[command].takes)) or "none"
        raise UsageError(f"'{command}' does not take {', '.join(wrong)}.", fix=f"The options of this command: {takes}.")
