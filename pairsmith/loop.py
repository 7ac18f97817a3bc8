"""The whole loop: every stage that is not done yet, then the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pairsmith import plan
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from schemas.records import Receipt, Usage
from schemas.spec_file import Project
from schemas.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

REPORT = "report.html"


def run(session: Session, project: Project, store: Store) -> tuple[dict[str, Any], list[RenderableType]]:
    """Do what `plan` says is not done, write the report, and return the answer and the last screen.

    The receipt of `run` sums up what its stages sent and spent; its counts are those of the pool as curation left it.
    """
    seconds_by_stage: dict[str, float] = {}
    with recording(project, store, "run") as total:
        for step in plan.plan(project, store.receipts()):
            if step.done:
                session.say(f"{step.stage:<9} done before")
                continue
            draft = _stage(step.stage, session, project, store)
            seconds_by_stage[step.stage] = draft.seconds
            _add(total, draft)
        latest = {receipt.command: receipt for receipt in store.receipts() if receipt.ok}
        total.counts, total.reasons = latest["curate"].counts, latest["curate"].reasons
        from pairsmith.report import write_report

        report = write_report(project, store, project.folder / REPORT)
        total.facts |= {
            "stages": list(seconds_by_stage),
            "seconds_by_stage": seconds_by_stage,
            "strict_pass": latest["evaluate"].facts["strict_pass"],
            "report": REPORT,
        }
    answer = {"command": "run", **total.as_json()}
    return answer, [] if session.write_json else _ending(project, total, latest["evaluate"], str(report))


def _stage(name: str, session: Session, project: Project, store: Store) -> Draft:
    """Run one stage and show what came of it."""
    from pairsmith.screen import stage

    shown: list[tuple[str, str]] = []
    if name == "generate":
        from pairsmith.stages.generate import generate

        draft = generate(session, project, store)
    elif name == "curate":
        from pairsmith.stages import curate

        draft = curate.curate(session, project, store)
        shown = curate.summary(draft)
    elif name == "train":
        from pairsmith.stages import train

        draft = train.train(session, project, store)
        shown = train.summary(draft)
    else:
        from pairsmith.stages.evaluate import evaluate

        draft = evaluate(session, project, store)
    session.show(stage(name, draft, shown), "")
    return draft


def _add(total: Draft, draft: Draft) -> None:
    total.calls_sent += draft.calls_sent
    total.calls_reused += draft.calls_reused
    total.usd += draft.usd
    total.usage = Usage(
        **{name: getattr(total.usage, name) + getattr(draft.usage, name) for name in Usage.model_fields}
    )


def _ending(project: Project, total: Draft, evaluated: Receipt, report: str) -> list[RenderableType]:
    from pairsmith.screen import conservation, cost, facts
    from pairsmith.stages.evaluate import ladder

    closing = [("rows", conservation(total.counts)), ("this run", cost(total)), ("report", report)]
    return [*ladder(project, Draft(facts=evaluated.facts)), "", facts(closing)]
