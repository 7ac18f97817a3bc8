"""The pipeline: every stage that is not done yet, as far as people let it, then the report.

`plan` decides what is next, `Do` does it, and who called shows it; here they are only put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curate.export import say_not_reviewed
from curate.steps import UNCERTIFIED
from pairsmith import plan
from pairsmith.certified import last_look
from pairsmith.outcome import CommandOutcome, CurateOutcome, EvaluateOutcome, GenerateOutcome, ReviewOutcome, RunOutcome
from pairsmith.receipt import Recording, recording
from pairsmith.stages.export import REPORT
from pairsmith.stages.generate import UNANSWERED
from schemas.errors import TeacherError, Uncertified, UsageError
from schemas.money import summed
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Reason, Receipt
from schemas.store import Store
from schemas.store.latest import last_good, last_judged
from schemas.wording import counted

Do = Callable[[str], CommandOutcome]
"""Does the stage of that name and shows what came of it."""


def run(
    project: Project, store: Store, do: Do, say: Say, *, first: str = plan.STAGES[0], until: str | None = None
) -> RunOutcome:
    """Do what `plan` says is not done, as far as the human gate lets it, and write the report.

    Of the stages only those from `first` on, and none from `until` on. Raises UsageError if that leaves none.

    What is next is decided anew after each stage: one that made what was there before undoes nothing behind it. The
    receipt of `run` sums up what its stages sent and spent; its counts are those of the pool as curation left it.
    """
    names = plan.STAGES[plan.STAGES.index(first) : plan.STAGES.index(until) if until else None]
    if not names:
        raise UsageError(
            f"no stage is from {first} on and before {until}, where the run would stop.",
            fix=f"Stages: {', '.join(plan.STAGES)}. Name the first one that should not run.",
        )
    with recording(project, store, "run", RunOutcome()) as record:

        def done(stage: str) -> CommandOutcome:
            try:
                outcome = do(stage)
            except Uncertified:
                if not project.spec.review.enabled or "review" not in names:
                    raise
                say(f"{stage:<9} {plan.UNCERTIFIED}")
                outcome = CurateOutcome.of(store.receipts(stage)[-1])
            record.outcome = _with_stage(record.outcome, stage, outcome)
            return outcome

        for name in names:
            step = next((step for step in plan.plan(project, store, stdin=True) if step.stage == name), None)
            if name == "train" and not project.spec.review.enabled:
                record.add(not_reviewed=_past_the_gate(project, store))
            if step is None:
                continue
            if step.done:
                say(f"{name:<9} done before" + (f": {step.why}" if step.why else ""))
                continue
            if store.receipts(name):
                say(f"{name:<9} again: {step.why}")
            if name == "train" and (missing := _no_certificate(project, store)):
                record.add(waits=missing, gate="uncertified")
                break
            outcome = done(name)
            if isinstance(outcome, GenerateOutcome):
                _enough_answered(outcome, project)
            if isinstance(outcome, ReviewOutcome):
                if outcome.brought and not outcome.waits:
                    done("curate")
                    outcome = done("review")
                assert isinstance(outcome, ReviewOutcome)
                if outcome.waits:
                    record.add(**_at_the_gate(outcome))
                    break
        _sum_up(project, store, record, until)
    return record.outcome


def _sum_up(project: Project, store: Store, record: Recording[RunOutcome], until: str | None) -> None:
    """What the rows are now, the report, and where nothing kept the pipeline from its end, the proof."""
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


def _enough_answered(outcome: GenerateOutcome, project: Project) -> None:
    """Raise TeacherError where too many rows got no answer for the stages behind to be worth their while."""
    rows, most = outcome.counts.rows_in, project.spec.generate.unanswered_at_most
    if outcome.unanswered <= most * rows:
        return
    reasons = (Reason.read(failure["what"]) for failure in outcome.failures)
    most_often = next((f" ({reason})" for reason in reasons if reason.code in UNANSWERED), "")
    raise TeacherError(
        f"{outcome.unanswered:,} of {rows:,} rows got no answer{most_often}.",
        where="generate",
        why="A dataset of the others might be another than the spec asks for, so nothing is curated or trained yet.",
        fix="Run the same command again: it asks for these rows alone. Or raise generate.unanswered_at_most "
        f"({most:g} now).",
    )


def _past_the_gate(project: Project, store: Store) -> str:
    """The id of the dataset that goes on without people; its card says so."""
    curated = CurateOutcome.of(_last(store, "curate"))
    for folder in curated.files:
        say_not_reviewed(project.folder / folder)
    return curated.artifact_id


def _at_the_gate(review: ReviewOutcome) -> dict[str, Any]:
    """The reason why the pipeline waits, and why people reject the set where they do."""
    status = review.review or {}
    return {
        "waits": review.waits,
        "url": review.url,
        "queues": review.queues,
        "pages": review.pages,
        "gate": status.get("gate"),
        "objections": tuple(status["objections"]) if status.get("gate") == "rejected" else None,
    }


def _no_certificate(project: Project, store: Store) -> str:
    """What keeps rows from training for want of a certificate; empty where the spec asks for none, or one holds."""
    if not (project.spec.curate.select.certified and project.spec.review.enabled):
        return ""
    state = last_look(project, store)
    if state and state["holds"]:
        return ""
    rows = _last_judged(store).reasons.get(UNCERTIFIED, 0)
    waiting = f"{counted(rows, 'row waits', 'rows wait')} for a certificate"
    if state is None:
        return f"{waiting}, and nobody has looked yet: `pairsmith certify` does"
    return f"{waiting}: " + (f"the last one no longer holds ({state['why']})" if state["id"] else state["words"])


def _last_judged(store: Store) -> Receipt:
    receipt = last_judged(store.receipts("curate"))
    assert receipt is not None, "the pipeline is behind curation"
    return receipt


def _last(store: Store, stage: str) -> Receipt:
    receipt = last_good(store.receipts(stage), stage)
    assert receipt is not None, f"the pipeline is behind {stage}"
    return receipt


def _with_stage(total: RunOutcome, stage: str, outcome: CommandOutcome) -> RunOutcome:
    seconds = {**total.seconds_by_stage, stage: total.seconds_by_stage.get(stage, 0.0) + outcome.seconds}
    return replace(
        total,
        stages=tuple(seconds),
        seconds_by_stage=seconds,
        calls_sent=total.calls_sent + outcome.calls_sent,
        calls_reused=total.calls_reused + outcome.calls_reused,
        usd=None if total.usd is None or outcome.usd is None else total.usd + outcome.usd,
        costs=(*(total.costs or ()), *(outcome.costs or ())),
        usage=summed((total.usage, outcome.usage)),
    )
