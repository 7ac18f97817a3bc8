"""The start page with all projects, and the overview page of one project."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import Form, Request, Response

from pairsmith.serve.access import Caller, ProjectOwner, Right, SignedIn, needs
from pairsmith.serve.api.projects import delete
from pairsmith.serve.api.rows import queue_left
from pairsmith.serve.job import Job
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import (
    continue_action,
    displayed_run,
    job_progress,
    jobs_of,
    live_job,
    snapshot,
    stage_lines,
)
from pairsmith.serve.pages.shell import page_router, problem_view, project_page, redirect_to, render, title_of
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import count, share_of
from schemas.errors import PairsmithError, SpecError, UsageError
from schemas.money import dollars, per_row
from schemas.project import Project
from schemas.wording import capital, counted, examples

router = page_router()
_left: dict[tuple[Path, str | None], tuple[Project, object, int]] = {}
_MOST_LEFT = 10_000
_UNKNOWN = dict.fromkeys(("live", "accepted", "spent", "sign"), "")


@router.get("/", name="page_projects")
def projects(caller: SignedIn, request: Request) -> Response:
    """All projects of the caller, with one sentence each."""
    workspace = state_of(request).workspace
    slugs = caller.projects(workspace.projects())
    seen = [caller.may(Right.see_work, slug) for slug in slugs]
    jobs: dict[str, list[Job]] = {}
    for job in sorted(jobs_of(request, None, 200), key=lambda job: job.has_ended):  # the clock may have been set back
        jobs.setdefault(job.project, []).append(job)
    titles = state_of(request).accounts.titles()
    lines = [
        {**_project_row(caller, request, slug, jobs.get(slug, [])), "title": titles.get(slug, slug)} for slug in slugs
    ]
    running = sum(line["live"] == "running" for line in lines)
    queued = sum(line["live"] == "queued" for line in lines)
    waiting = sum(line["waits"] for line in lines)
    return render(
        request,
        "projects",
        caller,
        place="Projects",
        heading=words.projects(len(lines), running, waiting, queued, all_seen=all(seen)),
        projects=lines,
        sees_work=any(seen),
        may_make=caller.may(Right.run) or caller.may(Right.edit),
    )


def _project_row(caller: Caller, request: Request, slug: str, jobs: list[Job]) -> dict[str, Any]:
    job = jobs[0] if jobs else None
    if not caller.may(Right.see_work, slug):
        return _reviewer_row(caller, request, slug)
    try:
        now = snapshot(request, slug).for_job(displayed_run(job, jobs))
    except PairsmithError as error:
        what = problem_view(error, state_of(request).workspace.root)["what"]
        says = f"The settings cannot be read. {what}" if isinstance(error, SpecError) else what
        return {"slug": slug, "says": says, "waits": False, **_UNKNOWN}
    live = job if job and not job.has_ended else None
    step = now.next_stage
    at = job.last_sign_of_life or job.created if job else (now.receipts[-1].started if now.receipts else None)
    return {
        "slug": slug,
        "says": capital(words.project(now, live, job_progress(live))).rstrip(".") + ".",
        "live": "" if live is None else "running" if live.state in ("running", "stopping") else "queued",
        "waits": bool(live is None and now.receipts and step and step.stage == "review"),
        "accepted": f"{count(now.counts.accepted)} of {count(now.counts.rows_in)}" if now.last("curate") else "",
        "spent": words.spent(now) if now.receipts else "",
        "sign": words.ago(at) if at else "",
    }


def _reviewer_row(caller: Caller, request: Request, slug: str) -> dict[str, Any]:
    says, left = "The project cannot be read. Its editors see why.", 0
    with suppress(PairsmithError):
        left = _queue_left(caller, request, slug)
        says = f"{counted(left, 'row waits', 'rows wait') if left else 'No row waits'} for your answer."
    return {"slug": slug, "says": says, "waits": left > 0, **_UNKNOWN}


def _queue_left(caller: Caller, request: Request, slug: str) -> int:
    """Read again only after a change: opening the stores of a hundred projects takes seconds."""
    readers = state_of(request).readers
    project, written = readers.project(slug), readers.change_marker(slug)
    place = project.folder, caller.user
    kept = _left.get(place)
    if kept and written is not None and kept[0] is project and kept[1] == written:
        return kept[2]
    left = queue_left(caller, slug, request)
    if len(_left) >= _MOST_LEFT:
        _left.clear()
    _left[place] = (project, written, left)
    return left


@router.get("/p/{project}", name="page_overview")
def overview(caller: Annotated[Caller, needs(Right.see_project)], project: str, request: Request) -> Response:
    """The overview of a project: its progress, its cost, and the next stage. A reviewer is redirected to the queue."""
    if not caller.may(Right.see_work, project):
        return redirect_to(f"/p/{project}/review")
    job = live_job(request, project)
    planned = displayed_run(job, jobs_of(request, project))
    now = snapshot(request, project).for_job(planned)
    progress = job_progress(job)
    c, spent = now.counts, now.spent
    each = per_row(now.costs, c.accepted)
    sum_, _, unknown = words.spent(now).partition(", ")
    training, judged = now.last("train"), now.last("curate")
    share = share_of(c.accepted, c.rows_in) if judged else "not judged yet"
    asked = counted(spent.requests, "request", "requests") if spent.requests else "no requests yet"
    trained = words.ago(training.started + timedelta(seconds=training.seconds)) if training else "—"
    rows = training.facts.get("train_rows", training.counts.accepted) if training else 0
    trained_on = f"on {examples(rows, training.facts.get('objective', 'sft'))}" if training else "not trained yet"
    figures = [
        (
            "rows accepted",
            count(c.accepted) if judged else "—",
            f"of {count(c.rows_in)}, {share}" if c.rows_in else "not generated yet",
        ),
        ("spent", sum_, unknown or (f"{dollars(each)} per accepted row" if each else asked)),
        ("review answers", count(now.store.review_count() if now.store else 0), "in the store"),
        ("last trained", trained, trained_on),
    ]
    return project_page(
        request,
        "overview",
        caller,
        project,
        title=f"{title_of(request, project)} · pairsmith",
        heading=words.overview(now, job, progress),
        now=now,
        job=job,
        continue_action=continue_action(project, planned),
        figures=figures,
        stages=stage_lines(now, job),
        receipts=now.receipts[::-1][:12],
    )


@router.post("/p/{project}/delete", name="page_delete")
def deleted(
    caller: ProjectOwner, project: str, request: Request, name: Annotated[str, Form(max_length=100)] = ""
) -> Response:
    """Move the project to the trash if its name was typed. Raises UsageError, and Refusal while it has a job."""
    if name.strip() != project:
        raise UsageError(
            f"'{name[:80]}' is not {project}, so nothing was deleted.",
            where="name",
            fix="Go back and enter the name.",
        )
    delete(caller, project, request)
    return redirect_to("/?done=deleted")
