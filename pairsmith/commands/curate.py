"""`pairsmith curate`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project


@click.command()
@on_project
def command(session: Session) -> None:
    """Gates, duplicates, scores and selection: what is accepted goes into `dataset/`.

    Steps only annotate, so running it again after a change of thresholds judges nothing twice.
    """
    from pairsmith import screen
    from pairsmith.stages.curate import curate, summary

    project = session.project()
    with session.store(project) as store:
        draft = curate(session, project, store)
    session.answer({"command": "curate", **draft.as_json()}, screen.stage("curate", draft, summary(draft)))
