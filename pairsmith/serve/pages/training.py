"""The training page: the live loss curve, resource use, training examples, and earlier runs."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from markupsafe import Markup, escape
from pydantic import ValidationError

from pairsmith.report.sentences import curve, kind_of_loss, training_facts
from pairsmith.serve.access import Viewer
from pairsmith.serve.job import Job
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import (
    JobProgress,
    Snapshot,
    displayed_run,
    job_progress,
    jobs_of,
    live_job,
    problem_of,
    snapshot,
)
from pairsmith.serve.pages.shell import page_router, project_page
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import MISSING, count, duration, rounded
from schemas.records import Artifact
from schemas.store.latest import latest
from schemas.wording import apart, counted, decimals, examples
from train.results import Step, TrainResult, Validation

router = page_router()
_POINTS = 400  # of a live curve


@router.get("/p/{project}/training", name="page_training")
def training(caller: Viewer, project: str, request: Request, adapter: str | None = None) -> Response:
    """The training in progress, else the requested one, else that of the current adapter."""
    job, jobs = live_job(request, project), jobs_of(request, project)
    now = snapshot(request, project).for_job(displayed_run(job, jobs))
    progress = job_progress(job)
    # Checked by command too, because training reports nothing while it loads the base model.
    live = bool(job and (job.command.startswith("train") or (progress and now.stage_of(job, progress) == "train")))
    last = next((j for j in jobs if j.command in ("train", "run")), None)
    adapters = now.store.artifacts("adapter")[::-1] if now.store else []
    present = latest(now.store, "adapter") if now.store else None
    shown = next((a for a in adapters if a.id == adapter), present)
    result = result_of(now.project.folder, shown) if shown and not live else None
    steps, validation = _live_curve(request, job) if live and job else ([], [])
    return project_page(
        request,
        "training",
        caller,
        project,
        heading=words.run(now, job, progress, None, None) if live else _heading(now, result, adapters),
        job=job,
        live=live,
        progress=_of_training(progress),
        figures=_figures(progress) if live else [],
        steps=steps,
        validation=validation,
        kind_of_loss=_kind_of_loss(now, job, result),
        curve_says=_curve_caption(steps, validation),
        result=result,
        facts=training_facts(result) if result else [],
        curve_of_result=curve(result) if result and result.curve else "",
        masks=[_mask(text) for text in (result.masks if result else ())][:2],
        history=[_history_row(a) for a in adapters],
        changed=_changed_settings(adapters),
        present=present.id if present else "",
        last=last,
        failed=problem_of(last),
    )


def result_of(folder: Path, adapter: Artifact) -> TrainResult | None:
    """The training record of an adapter, from its folder. If that is missing, from the store, without the curve."""
    try:
        return TrainResult.model_validate_json((folder / adapter.path / "training.json").read_bytes())
    except (OSError, ValidationError):
        pass
    try:
        return TrainResult.model_validate({**adapter.facts, "curve": (), "masks": ()})
    except ValidationError:
        return None


def _heading(now: Snapshot, result: TrainResult | None, adapters: list[Artifact]) -> str:
    if not adapters:
        return f"No model has been trained yet{now.prerequisite('train')}."
    if result is None:
        return f"{counted(len(adapters), 'adapter', 'adapters')} trained."
    sentence = f"Trained on {examples(result.train_rows, result.settings.objective)} in {duration(result.seconds)}"
    if result.validation and result.kept_loss is not None:
        losses = " to ".join(apart(result.validation[0].loss, result.kept_loss))
        return f"{sentence}; validation loss went from {losses}."
    return f"{sentence}."


def _of_training(progress: JobProgress | None) -> JobProgress | None:
    """The progress of the training; None if the last report is of an earlier stage, whose rows are no steps."""
    return progress if progress and progress.stage.startswith("train") else None


def _kind_of_loss(now: Snapshot, job: Job | None, result: TrainResult | None) -> str:
    """What the losses on the page are; empty while a training runs whose losses are of several kinds."""
    if result:
        return kind_of_loss(result.settings.objective)
    alone = now.project.spec.train.objective == "sft" and not (job and job.command == "train-reward")
    return kind_of_loss("sft") if alone else ""


def _figures(reported: JobProgress | None) -> list[tuple[str, str, str]]:
    if (progress := _of_training(reported)) is None:
        return []
    numbers = progress.numbers
    loss, memory, peak = numbers.get("loss"), numbers.get("memory_gib"), numbers.get("peak_gib")
    left = words.minutes(progress.left_s).removeprefix("about ") or "—"
    speed = f"{count(progress.tokens_per_s)} tok/s" if progress.tokens_per_s else "not known yet"
    return [
        ("step", count(progress.done), f"of {count(progress.total)}" if progress.total else ""),
        (
            "loss",
            MISSING if loss is None else decimals(loss),
            f"epoch {numbers['epoch']:.2f}" if "epoch" in numbers else "",
        ),
        (
            "memory",
            f"{rounded(memory)} GiB" if memory else "—",
            f"{rounded(peak)} GiB peak" if peak else "not reported",
        ),
        ("time left", left, speed),
    ]


def _live_curve(request: Request, job: Job) -> tuple[list[Step], list[Validation]]:
    """The losses reported so far; those of training are thinned out evenly."""
    from pairsmith.serve.events import each

    steps, validation, measured = dict[int, Step](), dict[int, Validation](), None
    for _, line in each(state_of(request).jobs.folder(job.id) / "events.jsonl"):
        numbers = line.get("numbers") or {}
        if not str(line.get("stage", "")).startswith("train") or "done" not in numbers:
            continue
        step, epoch = int(numbers["done"]), float(numbers.get("epoch") or 0)
        if isinstance(loss := numbers.get("loss"), int | float):
            steps[step] = Step(step=step, epoch=epoch, loss=loss, learning_rate=0)
        # Each line repeats the last value of every number, so a validation loss is new only if it differs.
        if isinstance(loss := numbers.get("validation_loss"), int | float) and loss != measured:
            measured = loss
            validation[step] = Validation(step=step, epoch=epoch, loss=loss)
    drawn = list(steps.values())
    return drawn[:: max(1, len(drawn) // _POINTS)], list(validation.values())


def _curve_caption(steps: list[Step], validation: list[Validation]) -> str:
    if not steps:
        return ""
    sentence = f"Training loss {' to '.join(apart(steps[0].loss, steps[-1].loss))} so far"
    return f"{sentence}; validation loss {decimals(validation[-1].loss)}." if validation else f"{sentence}."


def _mask(text: str) -> Markup:
    """A row as the model sees it. The part it learns, which the text has in double brackets, is highlighted."""
    marked = re.sub(r"\[\[(.*?)\]\]", r"<b>\1</b>", str(escape(text)), flags=re.DOTALL)
    return Markup(marked)


def _history_row(adapter: Artifact) -> dict[str, Any]:
    facts = adapter.facts
    losses = [v["loss"] for v in facts.get("validation", ())]
    return {
        "id": adapter.id,
        "at": adapter.at,
        "base": facts.get("base", ""),
        "rows": facts.get("train_rows"),
        "seconds": facts.get("seconds"),
        "peak": facts.get("peak_gib"),
        "loss": min(losses) if losses else None,
    }


def _changed_settings(adapters: list[Artifact]) -> dict[str, str]:
    """For each adapter, the settings that differ from the previous training."""
    changes = {}
    for newer, older in pairwise(adapters):
        now, then = newer.facts.get("settings") or {}, older.facts.get("settings") or {}
        changes[newer.id] = ", ".join(f"{k} {then.get(k)} → {v}" for k, v in now.items() if then.get(k) != v)
    return changes
