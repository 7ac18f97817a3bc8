"""`pairsmith evaluate`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project


@click.command()
@on_project
def command(session: Session) -> None:
    """Measure base, few-shot, teacher and tuned model on the locked test split.

    Every answer goes through the ledger: an evaluation that was stopped goes on, one that is done sends nothing.
    """
    from pairsmith import screen
    from pairsmith.stages.evaluate import evaluate, tables

    project = session.project()
    with session.store(project) as store:
        draft = evaluate(session, project, store)
    shown = [] if session.write_json else [screen.stage("evaluate", draft), *tables(project, draft)]
    session.answer({"command": "evaluate", **draft.as_json()}, *shown)
