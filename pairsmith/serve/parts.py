"""The parts of a job: what each process runs, and whether it needs the GPU.

A `run` goes through the stages in parts. Neighbouring stages that all need the GPU, or all do not, share one process.
So a project that trains does not block light stages of other projects, and the store is free between parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pairsmith.serve.job import COMMANDS, JobOptions
from schemas.project import Project
from schemas.spec import Spec
from schemas.spec_file import load
from schemas.store import Store

_LOCAL_TEACHERS = ("embedded", "vllm")  # teachers that run on this machine
_FLAGS = {"retry_failed": "--retry-failed", "no_review": "--no-review", "batch": "--batch", "more": "--more"}
_VALUES = ("seeds", "precision", "confidence", "gguf", "format")


class Request(TypedDict):
    """The request for a job. It is stored by the queue, so its keys never change."""

    id: str
    project: str
    command: str
    options: dict[str, Any]
    by: str
    continues: str | None


class Part(TypedDict):
    """One process of a job.

    `argv` is its command line; `until` is the stage with which the next part of a `run` begins, None for the last part;
    `continues` is the job that its own job continues.
    """

    argv: list[str]
    overrides: list[str]
    folder: str
    cap_usd: float | None
    heavy: bool
    stage: str
    until: str | None
    continues: NotRequired[str | None]


def next_part(request: Request, folder: Path, before: Part | None) -> Part | None:
    """The part after `before`; None if that was the last one.

    Raises SpecError, and StoreError for a store that cannot be read.
    """
    options = JobOptions.model_validate(request["options"])
    overrides = [f"generate.accepted={options.stop_after_accepted}"] if options.stop_after_accepted else []
    project = load(folder, [*overrides, *(["review.enabled=false"] if options.no_review else [])])
    command, stage, until = request["command"], request["command"], None
    heavy = needs_gpu(project.spec, stage) or bool(options.gguf)
    words = list(COMMANDS[command].words)
    if command == "run":
        first = before["until"] if before else "generate"
        if first is None:
            return None
        stage, until, heavy = _plan_part(project, first)
        words += ["--from", first, *(["--until", until] if until else [])]
    elif before:
        return None
    words += [flag for name, flag in _FLAGS.items() if getattr(options, name)]
    for name in _VALUES:
        given = getattr(options, name)
        values = given if isinstance(given, tuple) else () if given is None else (given,)
        words += [word for value in values for word in (f"--{name}", str(value))]
    words += ["--project", str(folder), *(word for text in overrides for word in ("--set", text))]
    return Part(
        argv=words,
        overrides=list(project.overrides),
        folder=str(folder),
        cap_usd=options.cap_usd,
        heavy=heavy,
        stage=stage,
        until=until,
        continues=request["continues"],
    )


def moved_to(folder: str, part: Part) -> Part:
    """The part for its project in `folder`: the workspace may have been moved since the part was planned."""
    argv = [folder if word == part["folder"] else word for word in part["argv"]]
    return Part(**{**part, "folder": folder, "argv": argv})


def _plan_part(project: Project, first: str) -> tuple[str, str | None, bool]:
    """The stages of the next part of a run, beginning at `first`: its first stage, where the next part begins, and
    whether it needs the GPU.

    The first is the first stage that is not done. The part ends before the first stage that differs in whether it needs
    the GPU. A run with nothing left to do writes the report.
    """
    from pairsmith.plan import STAGES, plan

    url, was_sent = Store.url_for(project), False
    if Store.exists(url):
        with Store.open(url, write=False) as store:
            steps, was_sent = plan(project, store), bool(store.sampled())
    else:
        steps = plan(project, None)

    def uses_gpu(stage: str) -> bool:
        # Before the first rows are sent there are no answers to curate, and what takes long then is installing Argilla.
        return needs_gpu(project.spec, stage) and (stage != "review" or was_sent)

    left = [step for step in steps if STAGES.index(step.stage) >= STAGES.index(first)]
    stage = next((step.stage for step in left if not step.done), None)
    if stage is None:
        return "report", None, False
    later_stages = STAGES[STAGES.index(stage) + 1 :]
    return stage, next((name for name in later_stages if uses_gpu(name) != uses_gpu(stage)), None), uses_gpu(stage)


def needs_gpu(spec: Spec, stage: str) -> bool:
    """Whether a stage or command runs a model on this machine."""
    if stage in ("generate", "preview", "forecast"):
        return spec.needs_teacher and any(
            spec.teacher_for(way).url in _LOCAL_TEACHERS for way in spec.generate.directions
        )
    if stage in ("curate", "review", "certify"):  # the review stage curates again with the answers that came in
        # A pair, or an input written for an output, has one candidate only: `auto` has nothing to compare.
        inputs = not spec.seeds or any(source.kind == "input" for source in spec.seeds)
        compares = spec.needs_teacher and spec.generate.forward.enabled and inputs
        return spec.curate.score.model not in (("none",) if compares else ("none", "auto"))
    return stage in ("train", "train-reward", "evaluate")
