"""The processes of a job, one after the other: what each runs, and whether it needs the GPU.

A `run` goes through the stages in parts: neighbouring stages that need the GPU, or do not, are one process, so a
project that trains keeps nobody else's light stage waiting, and the store is free in between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pairsmith.serve.job import COMMANDS, JobOptions
from schemas.project import Project
from schemas.spec import Spec
from schemas.spec_file import load
from schemas.store import Store

_OURS = ("embedded", "vllm")  # teachers that this machine computes
_FLAGS = {"retry_failed": "--retry-failed", "no_review": "--no-review", "batch": "--batch", "more": "--more"}
_VALUES = ("seeds", "precision", "confidence", "gguf", "format")


class Request(TypedDict):
    """What a job was asked for; kept by the queue, so its keys never change."""

    id: str
    project: str
    command: str
    options: dict[str, Any]
    by: str
    continues: str | None


class Part(TypedDict):
    """One process: its words on the command line, for `run` the stage that the next part begins with, None if it is the
    last one, and the job that its own continues."""

    argv: list[str]
    overrides: list[str]
    folder: str
    cap_usd: float | None
    heavy: bool
    stage: str
    until: str | None
    continues: NotRequired[str | None]


def next_part(request: Request, folder: Path, before: Part | None) -> Part | None:
    """The part after `before`; None if that was the last. Raises SpecError, and StoreError for a store that cannot be
    read."""
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
        stage, until, heavy = _stages(project, first)
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


def _stages(project: Project, first: str) -> tuple[str, str | None, bool]:
    """The first stage from `first` on that is not done, the next one that needs the GPU if that one does not, or the
    other way round, and whether it does; a run with nothing left to do writes the report."""
    from pairsmith.plan import STAGES, plan

    url, was_sent = Store.url_for(project), False
    if Store.exists(url):
        with Store.open(url, write=False) as store:
            steps, was_sent = plan(project, store), bool(store.sampled())
    else:
        steps = plan(project, None)

    def computes(stage: str) -> bool:
        # Before the first rows are sent no answer can come, and what takes long then is installing Argilla.
        return needs_gpu(project.spec, stage) and (stage != "review" or was_sent)

    left = [step for step in steps if STAGES.index(step.stage) >= STAGES.index(first)]
    stage = next((step.stage for step in left if not step.done), None)
    if stage is None:
        return "report", None, False
    behind = STAGES[STAGES.index(stage) + 1 :]
    return stage, next((name for name in behind if computes(name) != computes(stage)), None), computes(stage)


def needs_gpu(spec: Spec, stage: str) -> bool:
    """True if a stage or command computes a model on this machine."""
    if stage in ("generate", "preview", "forecast"):
        return spec.asks_teacher and any(spec.teacher_for(way).url in _OURS for way in spec.generate.directions)
    if stage in ("curate", "review", "certify"):  # answers that came in are curated anew within the review
        # Of a pair, and of an input that is written for an output, there is one: `auto` has nothing to compare.
        inputs = not spec.seeds or any(source.kind == "input" for source in spec.seeds)
        compares = spec.asks_teacher and spec.generate.forward.enabled and inputs
        return spec.curate.score.model not in (("none",) if compares else ("none", "auto"))
    return stage in ("train", "train-reward", "evaluate")
