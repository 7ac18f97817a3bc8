"""`pairsmith train`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project


@click.command()
@on_project
def command(session: Session) -> None:
    """Tune the small model on the accepted pairs; the adapter goes into `adapters/`.

    The same dataset and settings again find the adapter that is there.
    """
    from pairsmith import screen
    from pairsmith.stages.train import summary, train

    project = session.project()
    with session.store(project) as store:
        draft = train(session, project, store)
    session.answer({"command": "train", **draft.as_json()}, screen.stage("train", draft, summary(draft)))
