"""`pairsmith run`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from pairsmith.session import Session, max_usd_option, on_project

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pairsmith.outcome import CommandOutcome, RunOutcome
    from schemas.project import Project
    from schemas.store import Store

WAITS = 11  # exit code
_STAGE = click.Choice(("generate", "curate", "review", "train", "evaluate"))


@click.command()
@click.option(
    "--no-review",
    is_flag=True,
    help="Go on without people, as review.enabled = false does; dataset card and report say so.",
)
@click.option("--retry-failed", is_flag=True, help="Ask again for rows whose answers were all unusable.")
@click.option("--from", "first", type=_STAGE, default="generate", help="Leave alone the stages before this one.")
@click.option("--until", type=_STAGE, help="Stop before this stage.")
@click.option("--batch", is_flag=True, help="Ask the teacher through its batch API: within a day, at half the price.")
@max_usd_option
@on_project
def command(
    session: Session, *, no_review: bool, first: str, until: str | None, max_usd: float | None, **generating: bool
) -> int:
    """Do every stage that is not done yet, in order, then write report.html.

    It stops where people have to answer, says where (exit code 11), and goes on when it is run again. Run it again as
    well after an interruption, or after a change of the spec: it does what is left, and asks for nothing twice.
    """
    from pairsmith import pipeline
    from pairsmith.commands.stage import do, screen_of
    from pairsmith.stages.table import stage

    typed = session
    if no_review:
        session = replace(session, overrides=(*session.overrides, "review.enabled=false"))
    project = session.project()
    with session.store(project, max_usd=max_usd) as store:

        def do_and_show(name: str) -> CommandOutcome:
            outcome = do(session, stage(name), project, store, **(generating if name == "generate" else {}))
            if session.write_json is None:
                session.show(*screen_of(typed, stage(name), outcome), "")
            return outcome

        outcome = pipeline.run(project, store, do_and_show, session.say, first=first, until=until)
        shown: list[RenderableType] = []
        if session.write_json is None:
            again = typed.command("run --no-review" if no_review else "run")
            shown = _waiting(project, outcome, typed) if outcome.waits else _ended(project, store, outcome, again)
    session.answer({"command": "run", **outcome.as_json()}, *shown)
    return WAITS if outcome.waits else 0


def _waiting(project: Project, outcome: RunOutcome, typed: Session) -> list[RenderableType]:
    """The reason why the pipeline waits, where people answer, and how to go on."""
    from rich.markup import escape

    from pairsmith.screen import facts, going_on
    from pairsmith.stages.review import where

    stops = outcome.gate in ("rejected", "exhausted", "uncertified")
    head = "The pipeline stops, nothing is trained:" if stops else "The pipeline waits for people:"
    heading = f"[bold yellow]{head}[/] {escape(outcome.waits or '')}."
    if outcome.gate == "uncertified":
        return [
            heading,
            *going_on(
                f"`{typed.command('certify')}`, then `{typed.command('run')}`",
                f"`{typed.command('review push --more')}` asks people for more",
                "or leave curate.select.certified out: then every row that the programs accept is trained on",
            ),
        ]
    run = typed.command("run")
    again = f"mend the prompt, the gates or the style, or set review.accept_at_least, and `{run}` again"
    return [
        heading,
        facts(where(project, outcome.url or "", outcome.queues or (), outcome.pages or ())),
        *going_on(
            again if stops else f"`{run}` when they are answered",
            f"`{typed.command('run --no-review')}` without people; the report will say so",
        ),
    ]


def _ended(project: Project, store: Store, outcome: RunOutcome, again: str) -> list[RenderableType]:
    """The proof, the rows, the cost, and where the report is; of a part, the command that goes on."""
    from pairsmith.outcome import CurateOutcome, EvaluateOutcome
    from pairsmith.screen import cost, facts, going_on, row_count_check
    from pairsmith.stages.evaluate import tables
    from schemas.store.latest import last_good

    closing = [("rows", row_count_check(outcome.counts)), ("this run", cost(outcome))]
    if outcome.report:
        closing.append(("report", str(project.folder / outcome.report)))
    if outcome.until:
        curated = [CurateOutcome.of(receipt) for receipt in store.receipts("curate")]
        rows = curated[-1].rows.get("train", 0) if curated else 0
        if outcome.until in ("train", "evaluate") and not rows:
            none = "there is no row to train on: `pairsmith rows` says what became of each"
            return [facts(closing), *going_on(none)]
        return [facts(closing), *going_on(f"`{again}`: {outcome.until} is next")]
    measured = last_good(store.receipts("evaluate"), "evaluate")
    assert measured is not None, "the run is done"
    return [*tables(project, EvaluateOutcome.of(measured)), "", facts(closing)]
