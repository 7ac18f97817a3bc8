"""`pairsmith generate`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project


@click.command()
@click.option("--retry-failed", is_flag=True, help="Ask again for rows whose answers were all unusable.")
@on_project
def command(session: Session, retry_failed: bool) -> None:
    """Ask the teacher for every pair that is not in the store yet.

    Nothing that was paid for is asked twice, whatever ended the last run.
    """
    from pairsmith import screen
    from pairsmith.stages.generate import generate

    project = session.project()
    with session.store(project) as store:
        draft = generate(session, project, store, retry_failed=retry_failed)
    session.answer({"command": "generate", **draft.as_json()}, screen.stage("generate", draft))
