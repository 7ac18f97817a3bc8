"""The pipeline: run every stage that is not done yet, as far as reviews allow, then write the report.

`plan` decides what comes next, `Do` does it, and the caller shows it. This module only puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curate.export.dataset import mark_not_reviewed
from curate.steps import UNCERTIFIED
from pairsmith import plan
from pairsmith.certified import last_certification
from pairsmith.checks.health import warn_about_missing_packages
from pairsmith.receipts.outcome import (
    CommandOutcome,
    CurateOutcome,
    EvaluateOutcome,
    GenerateOutcome,
    ReviewOutcome,
    RunOutcome,
)
from pairsmith.receipts.receipt import Recording, recording
from pairsmith.stages.export import REPORT
from pairsmith.stages.generate import UNANSWERED
from schemas.errors import TeacherError, Uncertified, UsageError
from schemas.money import sum_if_known, summed
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Reason, Receipt
from schemas.store import Store
from schemas.store.latest import last_good, last_judged
from schemas.wording import counted

Do = Callable[[str], CommandOutcome]
"""Runs the stage of that name and shows its outcome."""


def run(
    project: Project, store: Store, do: Do, say: Say, *, first: str = plan.STAGES[0], until: str | None = None
) -> RunOutcome:
    """Run what `plan` reports as not done, as far as the human gate allows, then write the report.

    Only stages from `first` on and before `until` are run. Raises UsageError if none are left.

    What comes next is decided again after each stage: a stage that reproduces its earlier result does not undo later
    stages. The receipt of `run` adds up what its stages sent and spent; its counts are those of the pool after
    curation.
    """
    names = plan.STAGES[plan.STAGES.index(first) : plan.STAGES.index(until) if until else None]
    if not names:
        raise UsageError(
            f"there is no stage from {first} on that comes before {until}.",
            fix=f"Stages: {', '.join(plan.STAGES)}. --until names the first stage that should not run.",
        )
    with recording(project, store, "run", RunOutcome()) as record:

        def counted_run(stage: str) -> CommandOutcome:
            try:
                outcome = do(stage)
            except Uncertified:  # no failure if people review the rows next
                if not project.spec.review.enabled or "review" not in names:
                    raise
                say(f"{stage:<9} {plan.UNCERTIFIED}")
                outcome = CurateOutcome.of(store.receipts(stage)[-1])
            record.outcome = _with_stage(record.outcome, stage, outcome)
            return outcome

        left = [step.stage for step in plan.plan(project, store, stdin=True) if step.stage in names and not step.done]
        warn_about_missing_packages(left[1:], say)  # the first one says so itself
        for name in names:
            step = next((step for step in plan.plan(project, store, stdin=True) if step.stage == name), None)
            if name == "train" and not project.spec.review.enabled:
                record.add(not_reviewed=_mark_not_reviewed(project, store))
            if step is None:  # the spec turns review off
                continue
            if step.done:
                say(f"{name:<9} already done" + (f": {step.why}" if step.why else ""))
                continue
            if store.receipts(name):
                say(f"{name:<9} again: {step.why}")
            if waits := _advance(name, project, store, counted_run):
                record.add(**waits)
                break
        _finish_record(project, store, record, until)
    return record.outcome


def _advance(stage: str, project: Project, store: Store, do: Do) -> dict[str, Any]:
    """Run a stage, and if that is a review that brought answers, curation and the review once more.

    Returns why the pipeline has to wait, as facts of its receipt; empty if the next stage can follow.
    """
    if stage == "train" and (missing := _missing_certificate(project, store)):
        return {"waits": missing, "gate": "uncertified"}
    outcome = do(stage)
    if isinstance(outcome, GenerateOutcome):
        _refuse_many_unanswered(outcome, project)
    if isinstance(outcome, ReviewOutcome) and outcome.brought and not outcome.waits:
        do("curate")
        outcome = do("review")
    return _waiting_facts(outcome) if isinstance(outcome, ReviewOutcome) and outcome.waits else {}


def _finish_record(project: Project, store: Store, record: Recording[RunOutcome], until: str | None) -> None:
    """Record the present state of the rows, write the report and, if the pipeline reached its end, record the result of
    the evaluation."""
    last = _last(store, "generate") if until == "curate" else _last_judged(store)
    record.add(until=until, counts=last.counts, reasons=dict(last.reasons))
    if until == "curate":
        return
    if not (record.outcome.waits or until):
        evaluated = EvaluateOutcome.of(_last(store, "evaluate"))
        record.add(**{name: getattr(evaluated, name) for name in ("pass_rate", "systems", "outcomes", "verdict")})
    from pairsmith.report import write_report

    write_report(project, store, project.folder / REPORT)
    record.add(report=REPORT)


def _refuse_many_unanswered(outcome: GenerateOutcome, project: Project) -> None:
    """Raise TeacherError if too many rows got no answer for the later stages to be worthwhile."""
    rows, most = outcome.counts.rows_in, project.spec.generate.unanswered_at_most
    if outcome.unanswered <= most * rows:
        return
    reasons = (Reason.read(failure["what"]) for failure in outcome.failures)
    most_often = next((f" ({reason})" for reason in reasons if reason.code in UNANSWERED), "")
    raise TeacherError(
        f"{outcome.unanswered:,} of {rows:,} rows got no answer{most_often}.",
        where="generate",
        why="A dataset of the other rows might not be what the spec asks for, so nothing has been curated or trained.",
        fix="Run the same command again: it asks only for these rows. Or raise generate.unanswered_at_most "
        f"({most:g} now).",
    )


def _mark_not_reviewed(project: Project, store: Store) -> str:
    """Record in the dataset card that the dataset was not reviewed, and return the dataset's id."""
    curated = CurateOutcome.of(_last(store, "curate"))
    for folder in curated.files:
        mark_not_reviewed(project.folder / folder)
    return curated.artifact_id


def _waiting_facts(review: ReviewOutcome) -> dict[str, Any]:
    """Why the pipeline waits, and the objections if the reviewers reject the set."""
    status = review.review or {}
    return {
        "waits": review.waits,
        "url": review.url,
        "queues": review.queues,
        "pages": review.pages,
        "gate": status.get("gate"),
        "objections": tuple(status["objections"]) if status.get("gate") == "rejected" else None,
    }


def _missing_certificate(project: Project, store: Store) -> str:
    """Why rows cannot be trained on until there is a certificate; empty if the spec requires none, or if one holds."""
    if not (project.spec.curate.select.certified and project.spec.review.enabled):
        return ""
    state = last_certification(project, store)
    if state and state["holds"]:
        return ""
    rows = _last_judged(store).reasons.get(UNCERTIFIED, 0)
    waiting = f"{counted(rows, 'row waits', 'rows wait')} for a certificate"
    if state is None:
        return f"{waiting}; run `pairsmith certify`"
    return f"{waiting}: " + (f"the last one no longer holds ({state['why']})" if state["id"] else state["words"])


def _last_judged(store: Store) -> Receipt:
    receipt = last_judged(store.receipts("curate"))
    assert receipt is not None, "curation is done at this point"
    return receipt


def _last(store: Store, stage: str) -> Receipt:
    receipt = last_good(store.receipts(stage), stage)
    assert receipt is not None, f"{stage} is done at this point"
    return receipt


def _with_stage(total: RunOutcome, stage: str, outcome: CommandOutcome) -> RunOutcome:
    seconds = {**total.seconds_by_stage, stage: total.seconds_by_stage.get(stage, 0.0) + outcome.seconds}
    return replace(
        total,
        stages=tuple(seconds),
        seconds_by_stage=seconds,
        calls_sent=total.calls_sent + outcome.calls_sent,
        calls_reused=total.calls_reused + outcome.calls_reused,
        usd=sum_if_known((total.usd, outcome.usd)),
        costs=(*(total.costs or ()), *(outcome.costs or ())),
        usage=summed((total.usage, outcome.usage)),
    )
