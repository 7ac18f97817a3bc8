"""The whole loop: every stage that is not done yet, then the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pairsmith import plan
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from schemas.records import Receipt, Usage
from schemas.spec_file import Project
from schemas.store import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

REPORT = "report.html"


class Ended(NamedTuple):
    """The answer of `run` and its last screen. `waits`: it stopped at the human gate."""

    answer: dict[str, Any]
    screen: list[RenderableType]
    waits: bool


def run(session: Session, project: Project, store: Store) -> Ended:
    """Do what `plan` says is not done, as far as the human gate lets it, and write the report.

    The receipt of `run` sums up what its stages sent and spent; its counts are those of the pool as curation left it.
    """
    seconds_by_stage: dict[str, float] = {}
    gate = Draft()

    def do(stage: str) -> Draft:
        draft = _stage(stage, session, project, store)
        seconds_by_stage[stage] = seconds_by_stage.get(stage, 0.0) + draft.seconds
        _add(total, draft)
        return draft

    with recording(project, store, "run") as total:
        for step in plan.plan(project, store.receipts(), store.review_count()):
            if step.done:
                session.say(f"{step.stage:<9} done before")
                continue
            draft = do(step.stage)
            if step.stage == "review" and draft.facts["brought"] and not draft.facts["waits"]:
                do("curate")
                draft = do("review")
            if draft.facts.get("waits"):
                gate = draft
                break
        latest = {receipt.command: receipt for receipt in store.receipts() if receipt.ok}
        total.counts, total.reasons = latest["curate"].counts, latest["curate"].reasons
        from pairsmith.report import write_report

        report = write_report(project, store, project.folder / REPORT)
        total.facts |= {
            "stages": list(seconds_by_stage),
            "seconds_by_stage": seconds_by_stage,
            "report": REPORT,
        }
        waits = gate.facts.get("waits")
        if waits:
            total.facts |= {"waits": waits, "url": gate.facts["url"], "queues": gate.facts["queues"]}
            standing = gate.facts["review"]
            total.facts |= {"gate": standing["gate"]}
            if standing["gate"] == "rejected":
                total.facts["objections"] = standing["objections"]
        else:
            evaluated = latest["evaluate"].facts
            # A receipt of the version before has other words, and no outcomes.
            total.facts["pass_rate"] = evaluated.get("pass_rate", evaluated.get("strict_pass"))
            total.facts["outcomes"] = evaluated.get("outcomes", {})
    answer = {"command": "run", **total.as_json()}
    if session.write_json:
        return Ended(answer, [], bool(waits))
    screen = _at_the_gate(project, gate) if waits else _ending(project, total, latest["evaluate"], str(report))
    return Ended(answer, screen, bool(waits))


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
    elif name == "review":
        from pairsmith.stages import review

        draft = review.review(session, project, store)
        shown = review.summary(draft)
    elif name == "train":
        from pairsmith.stages import train

        draft = train.train(session, project, store)
        shown = train.summary(draft)
    else:
        from pairsmith.stages.evaluate import evaluate

        draft = evaluate(session, project, store)
    session.show(stage(name, draft, shown), "")
    return draft


def _at_the_gate(project: Project, gate: Draft) -> list[RenderableType]:
    """What keeps the loop from going on, where people answer, and how to go on."""
    from rich.markup import escape

    from pairsmith.screen import facts
    from pairsmith.stages.review import where

    without = ("", "`pairsmith run --no-review` without people; dataset card and report will say so")
    if gate.facts["review"]["gate"] in ("rejected", "exhausted"):
        again = "mend the prompt, the gates or the style, or set review.accept_at_least, and `pairsmith run` again"
        return [
            f"[bold yellow]The loop stops, nothing is trained:[/] {escape(gate.facts['waits'])}.",
            facts([*where(project, gate), ("go on", again), without]),
        ]
    return [
        f"[bold yellow]The loop waits for people:[/] {escape(gate.facts['waits'])}.",
        facts([*where(project, gate), ("go on", "`pairsmith run` when they are answered"), without]),
    ]


def _add(total: Draft, draft: Draft) -> None:
    total.calls_sent += draft.calls_sent
    total.calls_reused += draft.calls_reused
    total.usd += draft.usd
    total.usage = Usage(
        **{name: getattr(total.usage, name) + getattr(draft.usage, name) for name in Usage.model_fields}
    )


def _ending(project: Project, total: Draft, evaluated: Receipt, report: str) -> list[RenderableType]:
    from pairsmith.screen import conservation, cost, facts
    from pairsmith.stages.evaluate import tables

    closing = [("rows", conservation(total.counts)), ("this run", cost(total)), ("report", report)]
    return [*tables(project, Draft(facts=evaluated.facts)), "", facts(closing)]
