"""The run page: progress, cost, why rows did not pass, and how to start, stop and continue jobs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
from fastapi import Request, Response
from pydantic import ValidationError

from pairsmith.serve.access import Runner, Viewer
from pairsmith.serve.api.jobs import start_job
from pairsmith.serve.job import COMMANDS, Job, JobOptions, NoSuchJob
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import (
    JobProgress,
    Snapshot,
    continue_action,
    displayed_run,
    job_progress,
    jobs_of,
    live_job,
    problem_of,
    snapshot,
    stage_lines,
)
from pairsmith.serve.pages.shell import (
    CORRECT,
    SubmittedForm,
    page_router,
    parse_positive,
    project_page,
    redirect_to,
    text_fields,
    title_of,
)
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import count, percent
from schemas.errors import InputError, NoWork, SpecError, UsageError, usage_error_from
from schemas.money import describe_cost, dollars
from schemas.store import tables
from schemas.store.since import newest
from schemas.wording import counted

router = page_router()
_NEWEST = 6
_LOG_BYTES = 20_000
_FAILED = {"empty", "truncated", "malformed", "schema", "refused", "failed", "declined", "unanswered"}
# A setting of the checks changes none of these.
_NOT_BY_A_CHECK = {
    "outranked",
    "contamination",
    "review",
    "disagreement",
    "incomplete",
    "no_edit",
    "unscored",
    "crashed",
    "unjudged",
}
_FAILS_AGAIN = {SpecError.exit_code, InputError.exit_code, NoWork.exit_code}  # unless the setup is changed


@router.get("/p/{project}/run", name="page_run")
def run(caller: Viewer, project: str, request: Request, job: str | None = None) -> Response:
    """The job in progress, else the newest one, or the job whose id is given."""
    views, jobs = state_of(request).views, jobs_of(request, project)
    shown = _job(request, project, job) if job else (live_job(request, project) or next(iter(jobs), None))
    planned = displayed_run(shown, jobs)
    now = snapshot(request, project).for_job(planned)
    progress = job_progress(shown)
    live = shown is not None and not shown.has_ended
    spent, cap = _spent_and_cap(now, shown, progress, state_of(request).jobs.uncounted_usd(shown.id) if shown else None)
    rows_in_progress = live and _rows_in_progress(now, shown, progress)
    counts = views.counts(project)
    return project_page(
        request,
        "run",
        caller,
        project,
        title=f"{progress.in_title if progress and live else ''}{title_of(request, project)} · pairsmith",
        heading=words.run(now, shown, progress, spent, cap, rows=None if counts is None else sum(counts.values())),
        now=now,
        job=shown,
        live=live,
        asked_for=job,
        continue_action=continue_action(project, planned),
        figures=_figures(now, progress, spent, cap, rows_in_progress=rows_in_progress) if live else _final_figures(now),
        stages=stage_lines(now, shown),
        reasons=_reasons(now, progress, rows_in_progress=rows_in_progress),
        newest=_newest(now),
        rows_in_progress=rows_in_progress,
        judged=_is_judged(now),
        jobs=[job for job in jobs if shown is None or job.id != shown.id],
        failed=problem_of(shown),
        fails_again=shown is not None and shown.exit_code in _FAILS_AGAIN,
        log=_log_tail(request, shown) if shown and shown.state == "failed" else "",
        refresh_s=10 if live else None,
    )


def _job(request: Request, project: str, job_id: str) -> Job:
    """A job of the project. Raises NoSuchJob, also for a job of another project, which the caller may not know of."""
    with suppress(NoSuchJob):
        job = state_of(request).jobs.get(job_id)
        if job.project == project:
            return job
    raise NoSuchJob(f"there is no job '{job_id[:80]}'.", fix="The run page lists all jobs of the project.")


def _spent_and_cap(
    now: Snapshot, job: Job | None, progress: JobProgress | None, uncounted: float | None
) -> tuple[float | None, float | None]:
    """The dollars that count against the cap (None if unknown), and the cap in US dollars.

    A job's own cap covers what the job and the jobs it continues have spent: everything except `uncounted`, what was
    spent before them. Without one, the project's cap covers everything spent."""
    known = progress is not None and progress.usd is not None  # requests in flight have no cost yet
    spent = now.spent.usd if known else now.spent.total
    if job is None or not job.options.cap_usd:
        return spent, now.cap_usd
    of_the_job = 0.0 if uncounted is None else None if spent is None else max(0.0, spent - uncounted)
    return of_the_job, job.options.cap_usd


def _figures(
    now: Snapshot, progress: JobProgress | None, spent: float | None, cap: float | None, *, rows_in_progress: bool
) -> list[tuple[str, str, str]]:
    done = (progress.done or 0) if progress else 0
    passed = progress.passed if progress else None
    cap_says = f"cap {dollars(cap)}" if cap else "no cap"
    # Imports and answers from a preview are not part of this pace.
    answers = done - progress.numbers.get("kept", 0) if progress else 0
    if spent and progress and progress.usd is not None and progress.total and answers > 0:
        cap_says += f"; {dollars(spent + progress.usd / answers * max(0, progress.total - done))} in total at this pace"
    if not rows_in_progress:
        first = _accepted(now)
    else:
        share = f"{percent(passed / done)} of the rows so far" if passed is not None and done else "not known yet"
        first = ("passed so far", "—" if passed is None else count(passed), share)
    if spent:
        costs = dollars(spent)
    else:  # zero or unknown: "nothing" for a job with its own cap, else the cost of the project in words
        is_nothing = not now.spent.requests or (spent == 0 and now.spent.total != 0)
        costs = "nothing" if is_nothing else describe_cost(now.spent)
    sum_, *rest = costs.split(", ")
    # The pace of a finished step does not apply to the next one.
    moves = bool(progress and progress.per_min and progress.share != 1)
    unit = {"train": "steps", "evaluate": "answers"}.get(progress.stage, "rows") if progress else ""
    pace = f"{count(progress.per_min)} {unit}/min" if progress and progress.per_min and moves else "—"
    speed = [f"{count(progress.in_flight)} in flight"] if progress and progress.in_flight else []
    speed += [f"{count(progress.tokens_per_s)} tok/s"] if progress and progress.tokens_per_s else []
    left = words.minutes(progress.left_s).removeprefix("about ") if progress and progress.left_s else ""
    return [
        first,
        ("spent", sum_, "; ".join([*rest, cap_says])),
        ("pace", pace, ", ".join(speed) or ("in the current step" if moves else "none yet")),
        ("time left", left or "—", "at the current pace" if left else "not known yet"),
    ]


def _is_judged(now: Snapshot) -> bool:
    """Whether the rows have been judged. A curation that was stopped has counted its rows but judged none."""
    c = now.counts
    return (
        now.count_receipt is not None and now.count_receipt.command != "generate" and c.rows_in > c.waiting + c.failed
    )


def _accepted(now: Snapshot) -> tuple[str, str, str]:
    if not _is_judged(now):
        return ("accepted", "—", "not judged yet" if now.count_receipt else "")
    return ("accepted", count(now.counts.accepted), f"of {counted(now.counts.rows_in, 'row', 'rows')}")


def _final_figures(now: Snapshot) -> list[tuple[str, str, str]]:
    c = now.counts
    sum_, _, unknown = words.spent(now).partition(", ")
    return [
        _accepted(now),
        ("rejected", count(c.rejected) if _is_judged(now) else "—", "each with a reason"),
        ("failed", count(c.failed) if now.count_receipt else "—", "no usable answer"),
        ("spent", sum_, unknown or f"{count(now.spent.requests)} requests"),
    ]


def _rows_in_progress(now: Snapshot, job: Job | None, progress: JobProgress | None) -> bool:
    """Whether rows are being generated or judged right now, which makes the last receipt's counts outdated."""
    return bool(job and progress and now.stage_of(job, progress) in ("generate", "curate"))


def _reasons(now: Snapshot, progress: JobProgress | None, *, rows_in_progress: bool) -> list[dict[str, Any]]:
    """Why rows did not pass, most frequent reason first.

    While rows are generated, the counts come from the progress report; while they are judged, there are none; otherwise
    they come from the receipt with the current counts."""
    if rows_in_progress:
        reasons, rows = (progress.numbers.get("reasons") or {}, progress.done or 0) if progress else ({}, 0)
    else:
        reasons, rows = (now.count_receipt.reasons, now.count_receipt.counts.rows_in) if now.count_receipt else ({}, 0)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:12]
    return [
        {
            "code": code,
            "says": words.reason(code),
            "count": number,
            "whole": max(rows, number),
            "tone": "failed" if code in _FAILED else "rejected",
            "by_check": code not in _FAILED | _NOT_BY_A_CHECK,
        }
        for code, number in ordered
    ]


def _newest(now: Snapshot) -> list[dict[str, Any]]:
    """The newest slots in the store, whether or not a receipt covers them yet."""
    if now.store is None:
        return []
    slots = [orjson.loads(body) for body in newest(now.store, tables.candidates, _NEWEST)]
    pairs = {id_: orjson.loads(body) for id_, body in now.store.bodies(tables.pairs, _ids(slots, "pair_id"))}
    seeds = {id_: orjson.loads(body) for id_, body in now.store.bodies(tables.seeds, _ids(slots, "seed_id"))}
    shown = []
    for slot in slots:
        pair, seed = pairs.get(slot.get("pair_id") or ""), seeds.get(slot["seed_id"], {})
        text = pair["input"] if pair else seed.get("text") or "a conversation"
        failure = slot.get("failure")
        why = words.reason(failure["code"], failure.get("detail")) if isinstance(failure, dict) else failure
        shown.append({"id": slot.get("pair_id"), "input": text, "output": pair["output"] if pair else None, "why": why})
    return shown


def _ids(slots: list[dict[str, Any]], name: str) -> list[str]:
    return [slot[name] for slot in slots if slot.get(name)]


def _log_tail(request: Request, job: Job) -> str:
    text = state_of(request).jobs.log(job.id, 0)[-_LOG_BYTES:]
    return "\n".join(text.decode(errors="replace").splitlines()[-30:])


@router.post("/p/{project}/run", name="page_start")
def start(caller: Runner, project: str, request: Request, form: SubmittedForm) -> Response:
    """Start a command for the project. Refused if another job is in progress; the error names it."""
    typed = text_fields(form)
    command = typed.get("command") or "run"
    if command not in COMMANDS:
        raise UsageError(f"there is no command '{command}'.", fix=f"Choose one of {', '.join(COMMANDS)}.")
    takes = COMMANDS[command].takes
    given = {
        "cap_usd": parse_positive(typed.get("cap_usd", ""), float, "cap_usd", unit="$"),
        "stop_after_accepted": parse_positive(typed.get("stop_after_accepted", ""), int, "stop_after_accepted"),
        **{name: bool(typed.get(name)) for name in ("retry_failed", "no_review")},
        **{name: share(typed.get(name, ""), name) for name in ("precision", "confidence")},
        **{name: typed.getlist(name) for name in ("gguf", "format")},
    }
    try:
        options = JobOptions(**{name: value for name, value in given.items() if value and name in takes})
    except ValidationError as wrong:
        raise usage_error_from(wrong.errors(), fix=CORRECT) from None
    job = start_job(request, caller, project, command, options)
    return redirect_to(f"/p/{project}/run", job=job.id)


@router.post("/p/{project}/run/{job}/{action}", name="page_change_job")
def change(caller: Runner, project: str, job: str, action: str, request: Request) -> Response:
    """Stop a job, or continue one that has ended."""
    _job(request, project, job)
    jobs = state_of(request).jobs
    if action == "stop":
        jobs.cancel(job)
        return redirect_to(f"/p/{project}/run", done="stopping", job=job)
    if action == "continue":
        return redirect_to(f"/p/{project}/run", job=jobs.continue_job(job, caller.name).id)
    raise UsageError(f"'{action}' is not an action for a job.", fix="Use stop or continue.")


@router.get("/p/{project}/run/{job}/log", name="page_log")
def log(caller: Viewer, project: str, job: str, request: Request) -> Response:
    """The output of the command, as text."""
    _job(request, project, job)
    return Response(state_of(request).jobs.log(job, 0), media_type="text/plain; charset=utf-8")


def share(text: str, name: str) -> float | None:
    """Parse a percentage of at least 50 and less than 100 into a share; None if empty. Raises UsageError."""
    percent = parse_positive(text, float, name, unit="%")
    if percent is not None and not 50 <= percent < 100:
        raise UsageError(
            f"{percent:g} percent cannot be guaranteed.", where=name, fix="Enter at least 50 and less than 100."
        )
    return percent and percent / 100
