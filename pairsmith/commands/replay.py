"""`pairsmith replay ID`."""

from __future__ import annotations

import click

from pairsmith.terminal.session import Session, on_project

DIFFERS = 13  # exit code


@click.command()
@click.argument("id_prefix", metavar="ID")
@on_project
def command(session: Session, id_prefix: str) -> int:
    """Rebuild one pair from its records, offline, and compare every byte.

    The request is rendered again from seed, prompt and spec, and the stored answer is judged and cleaned again. No
    teacher is asked. ID is the id of a pair or its first characters. The exit code is 13 if anything differs.
    """
    from pairsmith.rows.lineage import pair_by_prefix
    from pairsmith.rows.replay import replay
    from pairsmith.terminal.screen import facts
    from schemas.blocking import run

    project = session.project()
    with session.store(project, write=False) as store:
        replayed = run(replay(project, store, pair_by_prefix(store, id_prefix)))
    identical = not replayed.differs
    rows = [("pair", replayed.pair_id), ("replay", "identical: request, answer and pair" if identical else "differs")]
    rows += [("" if nth else "why", line) for nth, line in enumerate(replayed.differs)]
    session.answer({"command": "replay", "identical": identical, **replayed._asdict()}, facts(rows))
    return 0 if identical else DIFFERS
