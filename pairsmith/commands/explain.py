"""`pairsmith explain ID`."""

from __future__ import annotations

import click

from pairsmith.terminal.session import Session, on_project


@click.command()
@click.argument("id_prefix", metavar="ID")
@on_project
def command(session: Session, id_prefix: str) -> None:
    """Show the lineage of one pair: its seed, prompt, teacher, raw answer, verdicts, split and models.

    ID is the id of a pair or its first characters.
    """
    from pairsmith.rows.lineage import lineage_of, pair_by_prefix, screen

    project = session.project()
    with session.store(project, write=False) as store:
        lineage = lineage_of(project, store, pair_by_prefix(store, id_prefix))
    session.answer(lineage, *screen(lineage))
