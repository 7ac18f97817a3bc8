"""`pairsmith run`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project


@click.command()
@on_project
def command(session: Session) -> None:
    """Do every stage that is not done yet, in order, then write report.html.

    Run it again after an interruption, or after a change of the spec: it does what is left, and asks for nothing twice.
    """
    from pairsmith.loop import run

    project = session.project()
    with session.store(project) as store:
        answer, ending = run(session, project, store)
    session.answer(answer, *ending)
