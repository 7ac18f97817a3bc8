"""`pairsmith run`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pairsmith.terminal.number_options import max_usd_option
from pairsmith.terminal.session import Session, on_project

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pairsmith.receipts.outcome import CommandOutcome, RunOutcome
    from schemas.project import Project
    from schemas.store import Store

WAITS = 11  # exit code
_STAGE = click.Choice(("generate", "curate", "review", "train", "evaluate"))


@click.command()
@click.option(
    "--no-review",
    is_flag=True,
    help="Skip human review, like review.enabled = false; the dataset card and the report say so.",
)
@click.option("--retry-failed", is_flag=True, help="Ask again for rows that got no usable answer.")
@click.option("--from", "first", type=_STAGE, default="generate", help="Skip the stages before this one.")
@click.option("--until", type=_STAGE, help="Stop before this stage.")
@click.option("--batch", is_flag=True, help="Use the teacher's batch API: answers within a day, at half the price.")
@max_usd_option
@on_project
def command(
    session: Session, *, no_review: bool, first: str, until: str | None, max_usd: float | None, **generating: bool
) -> int:
    """Run every stage that is not done yet, in order, then write report.html.

    It stops when reviewers have to answer, shows where (exit code 11), and continues when you run it again. Also run it
    again after an interruption or a change to the spec: it does only what is left and never asks for the same answer
    twice.
    """
    from pairsmith import pipeline
    from pairsmith.checks.preflight import check_cap
    from pairsmith.commands.stage import do, screen_of
    from pairsmith.stages.table import stage

    skipping = ("review.enabled=false",) if no_review else ()
    project = replace(session, overrides=(*session.overrides, *skipping)).project()
    with session.store(project, max_usd=max_usd) as store:

        def do_and_show(name: str) -> CommandOutcome:
            if name == "generate" and until != "generate" and max_usd is not None:
                check_cap(project.spec, "--max-usd")
            outcome = do(session, stage(name), project, store, **(generating if name == "generate" else {}))
            if session.write_json is None:
                session.show(*screen_of(session, stage(name), outcome), "")
            return outcome

        outcome = pipeline.run(project, store, do_and_show, session.say, first=first, until=until)
        shown: list[RenderableType] = []
        if session.write_json is None:
            again = session.command("run --no-review" if no_review else "run")
            shown = (
                _waiting(project, outcome, session)
                if outcome.waits
                else _ended(project, store, outcome, session, again)
            )
    session.answer({"command": "run", **outcome.as_json()}, *shown)
    return WAITS if outcome.waits else 0


def _waiting(project: Project, outcome: RunOutcome, session: Session) -> list[RenderableType]:
    """Why the pipeline waits, where reviewers answer, and how to continue."""
    from rich.markup import escape

    from pairsmith.stages.review import where
    from pairsmith.terminal.screen import facts, next_steps

    is_stopped = outcome.gate in ("rejected", "exhausted", "uncertified")
    head = "The pipeline stops and nothing is trained:" if is_stopped else "The pipeline is waiting for reviewers:"
    heading = f"[bold yellow]{head}[/] {escape(session.with_project_options(outcome.waits or ''))}."
    if outcome.gate == "uncertified":
        return [
            heading,
            *next_steps(
                f"`{session.command('certify')}`, then `{session.command('run')}`",
                f"`{session.command('review push --more')}` asks reviewers for more",
                "or remove curate.select.certified: then every row that passes the automatic checks is trained on",
            ),
        ]
    run = session.command("run")
    again = f"fix the prompt, the gates or the style, or set review.accept_at_least, then `{run}` again"
    return [
        heading,
        facts(session.lines(where(project, outcome.url or "", outcome.queues or (), outcome.pages or ()))),
        *next_steps(
            again if is_stopped else f"`{run}` when they have been reviewed",
            f"`{session.command('run --no-review')}` continues without review; the report will say so",
        ),
    ]


def _ended(project: Project, store: Store, outcome: RunOutcome, session: Session, again: str) -> list[RenderableType]:
    """The evaluation tables, row counts, cost and the path of the report; for a partial run, the command that continues
    it."""
    from pairsmith.receipts.outcome import CurateOutcome, EvaluateOutcome
    from pairsmith.stages.evaluate import tables
    from pairsmith.style.numbers import row_sum
    from pairsmith.terminal.screen import cost, facts, next_steps
    from schemas.store.latest import last_good

    closing = [("rows", row_sum(outcome.counts.model_dump())), ("this run", cost(outcome))]
    if outcome.report:
        closing.append(("report", str(project.folder / outcome.report)))
    if outcome.until:
        curated = [CurateOutcome.of(receipt) for receipt in store.receipts("curate")]
        rows = curated[-1].rows.get("train", 0) if curated else 0
        if outcome.until in ("train", "evaluate") and not rows:
            none = f"there are no rows to train on: `{session.command('rows')}` shows the state of each"
            return [facts(closing), *next_steps(none)]
        return [facts(closing), *next_steps(f"`{again}`: {outcome.until} is next")]
    measured = last_good(store.receipts("evaluate"), "evaluate")
    assert measured is not None, "the run is done"
    return [*tables(project, EvaluateOutcome.of(measured)), "", facts(closing)]
