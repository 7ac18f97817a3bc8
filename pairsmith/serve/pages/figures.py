"""The figures that pages show of a project. All of them come from its store and its jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from fastapi import Request

from pairsmith.plan import STAGES, PlannedStage, plan
from pairsmith.receipts.outcome import StageOutcome
from pairsmith.report import sentences
from pairsmith.serve.job import Job
from pairsmith.serve.pages import words
from pairsmith.serve.readers import Readers
from pairsmith.serve.rows_view import RowsView
from pairsmith.serve.state import state_of
from pairsmith.style.charts import BarPart
from pairsmith.style.numbers import row_sum
from schemas.money import Cost, total
from schemas.project import Project
from schemas.records import Counts, Receipt
from schemas.store import Store
from schemas.store.latest import last_good, last_judged
from schemas.store.since import Ends, active_seeds, ends
from schemas.wording import capital


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A project as its store has it now.

    `held` is the store, None if nothing has been written yet, or the Readers that open it on demand: snapshots of many
    projects are cached, but only a few stores are open at a time. `inputs` stands for the files beside the spec, and
    `missing` are the outputs of stages that are no longer there."""

    slug: str
    project: Project
    held: Store | Readers | None
    stages: tuple[PlannedStage, ...]
    receipts: tuple[Receipt, ...]
    costs: tuple[Cost, ...]
    inputs: object = None
    missing: frozenset[str] = frozenset()

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The paths in the project that the last run of each stage wrote."""
        last = (next((r for r in reversed(self.receipts) if r.command == stage), None) for stage in STAGES)
        return tuple(path for receipt in last if receipt for path in StageOutcome.of(receipt).files)

    @property
    def store(self) -> Store | None:
        """The store of the project; None if nothing has been written yet."""
        return self.held.store(self.slug) if isinstance(self.held, Readers) else self.held

    def last(self, command: str) -> Receipt | None:
        """The newest receipt of a successful run of a command."""
        return last_good(self.receipts, command)

    def asked_since(self, preview: Receipt | None) -> bool:
        """Whether a generation has succeeded since this preview or forecast, so that the rest has been requested."""
        both = (r for r in reversed(self.receipts) if r is preview or (r.command == "generate" and r.ok))
        return preview is not None and next(both, preview) is not preview

    @cached_property
    def spent(self) -> Cost:
        return total(self.costs)

    @cached_property
    def count_receipt(self) -> Receipt | None:
        """The receipt with the current row counts: of the last curation, including one that accepted no row, or before
        that of the last generation."""
        return last_judged(self.receipts) or self.last("generate")

    @property
    def counts(self) -> Counts:
        """The current row counts."""
        return self.count_receipt.counts if self.count_receipt else Counts()

    @property
    def next_stage(self) -> PlannedStage | None:
        """The first stage that is not done; None if all are."""
        return next((stage for stage in self.stages if not stage.done), None)

    def stage_of(self, job: Job, progress: JobProgress) -> str:
        """The stage that a progress report belongs to; a command that is no stage, such as `export`, is its own.

        A step within a stage (e.g. `fit`) reports under its own name. Starting Argilla always belongs to review, even
        if an earlier stage has to run again in the meantime."""
        word, known = progress.stage.split()[0], [stage.stage for stage in self.stages]
        named = "review" if word == "argilla" or job.command.startswith("review-") else word
        following = job.command if job.command != "run" else self.next_stage.stage if self.next_stage else named
        return next((name for name in (named, job.command) if name in known), following)

    def prerequisite(self, stage: str) -> str:
        """The stage that has to run before `stage`, as the end of a sentence; empty if there is none."""
        step = self.next_stage
        return f"; {step.stage} comes first" if step and step.stage != stage else ""

    @property
    def cap_usd(self) -> float | None:
        """The spending cap of the project, in US dollars."""
        return self.project.spec.budget.max_usd

    @cached_property
    def without_review(self) -> Snapshot:
        """The same snapshot with the stages of a run that skips review."""
        project = self.project.without_review
        return replace(self, project=project, stages=tuple(plan(project, self.store)))

    def for_job(self, job: Job | None) -> Snapshot:
        """The same snapshot with the stages of `job`, which is in progress or can be continued."""
        return self.without_review if job and job.options.no_review and job.state != "done" else self


_lock = Lock()


class _Place(NamedTuple):
    """How far a store has been written."""

    file: object
    ends: Ends | None = None
    seeds: tuple[int, int] = (0, 0)
    reviews: int = 0

    @property
    def unreviewed(self) -> _Place:
        return self._replace(ends=self.ends and self.ends._replace(reviews=-1), reviews=0)


class _CacheEntry(NamedTuple):
    written: object
    place: _Place
    now: Snapshot


_cache: WeakKeyDictionary[RowsView, dict[str, _CacheEntry]] = WeakKeyDictionary()


def snapshot(request: Request, slug: str) -> Snapshot:
    """The current state of the project. If nothing has changed since the last call, the cached snapshot is returned and
    the store is not opened. Raises NoSuchProject or SpecError."""
    views = state_of(request).views
    project, written = views.readers.project(slug), views.readers.change_marker(slug)
    with _lock:
        kept = _cache.setdefault(views, {}).get(slug)
    inputs = views.readers.input_marker(slug)
    is_same = kept is not None and kept.now.project is project and kept.now.inputs == inputs
    is_same = is_same and kept is not None and kept.now.missing == _missing(kept.now)
    if kept and is_same and written is not None and kept.written == written:
        return kept.now
    store = views.readers.store(slug)
    place = _Place(views.readers.store_file_id(slug))
    if store:  # the counts change where `pairsmith erase` takes what is not the last
        place = _Place(place.file, ends(store), active_seeds(store), store.review_count())
    if kept and is_same and kept.place == place:
        now = kept.now
    else:
        if kept and is_same and kept.place.unreviewed == place.unreviewed:  # an answer costs nothing, and is no run
            receipts, costs = kept.now.receipts, kept.now.costs
        else:
            receipts, costs = (tuple(store.receipts()), tuple(store.costs())) if store else ((), ())
        now = Snapshot(slug, project, views.readers, tuple(plan(project, store)), receipts, costs, inputs)
        now = replace(now, missing=_missing(now))
    with _lock:
        _cache[views][slug] = _CacheEntry(written, place, now)
    return now


def _missing(now: Snapshot) -> frozenset[str]:
    return frozenset(path for path in now.outputs if not (now.project.folder / path).exists())


def jobs_of(request: Request, slug: str | None, limit: int = 20) -> list[Job]:
    """Jobs, newest first."""
    return list(state_of(request).jobs.list(slug, limit))


def live_job(request: Request, slug: str) -> Job | None:
    """The project's unfinished job. There is at most one."""
    return next((job for job in state_of(request).jobs.active() if job.project == slug), None)


def displayed_run(shown: Job | None, jobs: Sequence[Job]) -> Job | None:
    """The run whose stages a page shows: the shown job if it is a run, else the newest run. It may skip review."""
    return shown if shown and shown.command == "run" else next((job for job in jobs if job.command == "run"), None)


def continue_action(slug: str, run: Job | None) -> str:
    """The form action that continues the project: a run that has not done all of its stages is continued with its
    options, including its cap; otherwise a new run starts."""
    return f"/p/{slug}/run" + (f"/{run.id}/continue" if run and run.state != "done" else "")


def problem_of(job: Job | None) -> dict[str, Any] | None:
    """Why a job failed, as pages show it. Parts that its process did not report are None."""
    if job is None or job.state != "failed" or not job.problem:
        return None
    what = str(job.problem.get("what") or "the job failed; see the log for the reason.")
    return {"what": capital(what), **{name: job.problem.get(name) for name in ("where", "why", "fix")}}


def rows_line(request: Request, slug: str) -> str | None:
    """The row counts by state, as a sum, for the footer of every project page. None if there are no rows, and as long
    as very many are being listed."""
    views = state_of(request).views
    counts = views.counts(slug)
    return row_sum(counts) if counts else None


class JobProgress(NamedTuple):
    """The last progress report of a job's process. Values that were not reported are None."""

    stage: str
    done: int | None
    total: int | None
    passed: int | None
    rejected: int | None
    failed: int | None
    in_flight: int | None
    usd: float | None
    left_s: float | None
    per_min: float | None
    tokens_per_s: float | None
    message: str | None
    numbers: Mapping[str, Any]

    @property
    def share(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total and self.done is not None else None

    @property
    def in_title(self) -> str:
        """The share as the beginning of a page's title. Empty for a step that is done: the next one is loading, and the
        job is not at 100 %."""
        if not self.total or self.done is None or self.done >= self.total:
            return ""
        return f"{100 * self.done // self.total} % · "


_PACE_S = 1.0  # a step that finished faster has no meaningful pace


def job_progress(job: Job | None) -> JobProgress | None:
    """The last progress report of a job's process; None before the first one, and if the job is not running."""
    if job is None or job.state not in ("running", "stopping") or not job.progress:
        return None
    progress = job.progress
    numbers = progress.get("numbers", progress)
    pace = progress.get("pace") or {}
    per_s = pace.get("done_per_s") if pace.get("seconds", _PACE_S) >= _PACE_S else None
    return JobProgress(
        stage=str(progress.get("stage") or job.stage or job.command),
        per_min=60 * per_s if per_s else None,
        left_s=None if job.state == "stopping" else pace.get("left_s") or numbers.get("eta_s") or numbers.get("most_s"),
        tokens_per_s=pace.get("tokens_per_s"),
        numbers=numbers,
        passed=_number(numbers.get("passed", numbers.get("accepted"))),
        **{name: _number(numbers.get(name)) for name in ("done", "total", "rejected", "failed", "in_flight")},
        usd=numbers.get("usd"),
        message=numbers.get("message") or numbers.get("step"),
    )


def _number(value: Any) -> int | None:
    return round(value) if isinstance(value, int | float) else None


class StageLine(NamedTuple):
    """A stage as a line with a progress bar."""

    stage: str
    done: bool
    running: bool
    parts: list[BarPart]
    total: int
    spoken: str
    says: str


def stage_lines(now: Snapshot, job: Job | None) -> list[StageLine]:
    """Every stage, with what it did to rows or what it waits for."""
    lines = []
    progress = job_progress(job)
    moves = now.stage_of(job, progress) if job and progress else ""
    if progress and progress.share == 1.0 and progress.stage.split()[0] not in {stage.stage for stage in now.stages}:
        progress = progress._replace(done=None, total=None, message="loading")  # a step is done, the next is to come
    for stage in now.stages:
        receipt = now.last(stage.stage)
        running = stage.stage == moves
        if running and progress:
            lines.append(StageLine(stage.stage, False, True, *_progress_bar(progress), words.progress_text(progress)))
        else:
            says = words.stage(now, stage, receipt)
            counts = receipt.counts if receipt and stage.stage in ("generate", "curate") else None
            parts = sentences.parts(counts, sentences.STAGES[stage.stage]) if counts else []
            rows_in = counts.rows_in if counts else 1
            if not counts and stage.done:
                parts = [BarPart("accepted", 1)]
            lines.append(StageLine(stage.stage, stage.done, False, parts, rows_in, f"{stage.stage}: {says}", says))
    return lines


def _progress_bar(progress: JobProgress) -> tuple[list[BarPart], int, str]:
    if not progress.total or progress.done is None:
        return [], 1, progress.stage
    numbers = {"accepted": progress.passed, "rejected": progress.rejected, "failed": progress.failed}
    known = [BarPart(tone, number or 0) for tone, number in numbers.items()]
    rest = BarPart("pale", max(0, progress.done - sum(part.value for part in known)))
    return [*known, rest], progress.total, f"{progress.stage}: {progress.done} of {progress.total}"
