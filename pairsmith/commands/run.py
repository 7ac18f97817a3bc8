"""`pairsmith run`."""

from __future__ import annotations

from dataclasses import replace

import click

from pairsmith.session import Session, on_project

WAITS = 11  # exit code


@click.command()
@click.option(
    "--no-review",
    is_flag=True,
    help="Go on without people, as review.enabled = false does; dataset card and report say so.",
)
@on_project
def command(session: Session, no_review: bool) -> int:
    """Do every stage that is not done yet, in order, then write report.html.

    It stops where people have to answer, says where (exit code 11), and goes on when it is run again. Run it again as
    well after an interruption, or after a change of the spec: it does what is left, and asks for nothing twice.
    """
    from pairsmith.loop import run

    if no_review:
        session = replace(session, overrides=(*session.overrides, "review.enabled=false"))
    project = session.project()
    with session.store(project) as store:
        ended = run(session, project, store)
    session.answer(ended.answer, *ended.screen)
    return WAITS if ended.waits else 0
