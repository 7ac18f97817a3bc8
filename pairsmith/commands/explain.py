"""`pairsmith explain ID`."""

from __future__ import annotations

import click

from pairsmith.session import Session, on_project
from schemas.errors import UsageError


@click.command()
@click.argument("id_prefix", metavar="ID")
@on_project
def command(session: Session, id_prefix: str) -> None:
    """Show the lineage of one pair: its seed, prompt, teacher, raw answer, verdicts, split and models.

    ID is a pair's id or the beginning of one.
    """
    from pairsmith.lineage import lineage_of, screen

    project = session.project()
    with session.store(project, write=False) as store:
        pairs = store.find_pair(id_prefix.lower())
        if not pairs:
            raise UsageError(
                f"no pair has an id that begins with '{id_prefix}'.",
                fix="Ids stand in the exported rows, in report.html and in `pairsmith status --json`.",
            )
        if len(pairs) > 1:
            first = "\n  ".join(f"{pair.id}  {pair.input[:60]}" for pair in pairs[:10])
            more = f"\n  and {len(pairs) - 10} more" if len(pairs) > 10 else ""
            raise UsageError(
                f"{len(pairs)} pairs begin with '{id_prefix}':\n  {first}{more}\n", fix="Give more digits."
            )
        lineage = lineage_of(project, store, pairs[0])
    session.answer(lineage, *screen(lineage))
