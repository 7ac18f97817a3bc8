"""`pairsmith preview`."""

from __future__ import annotations

from typing import Any

import click

from pairsmith.session import Session, max_usd_option, on_project


@click.command()
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Seeds of each direction."
)
@max_usd_option
@on_project
def command(session: Session, seeds: int, max_usd: float | None) -> None:
    """Put a few seeds through the prompt as it is now, beside what the last run made of them.

    Edit a prompt, the style or the sampling, and look before you pay for all seeds: it says what going on would ask
    again, and cost. The answers are kept, so `generate` does not buy them again.
    """
    from pairsmith.stages.preview import preview

    project = session.project()
    with session.store(project, max_usd=max_usd) as store, session.progress() as progress:
        outcome = preview(project, store, seeds=seeds, progress=progress, say=session.say, stop=session.stopping)
    session.answer({"command": "preview", **outcome.as_json()}, *(() if session.write_json else _screen(outcome)))


def _screen(outcome: Any) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    from pairsmith import screen
    from schemas.money import dollars

    table = Table(box=None, padding=(0, 2, 1, 0), expand=True)
    for title, ratio in (("seed", 2), ("last run", 4), ("now", 4)):
        table.add_column(title, ratio=ratio, overflow="fold")
    for row in outcome.rows:
        for nth in range(max(len(row["old"]), len(row["new"]))):
            old, new = (list(row[name])[nth : nth + 1] or [""] for name in ("old", "new"))
            second = new[0]["failure"] if isinstance(new[0], dict) else new[0]
            table.add_row(*(Text(cell) for cell in ("" if nth else row["seed"], old[0], second)))
    left = "nothing: every answer is there"
    if outcome.left_candidates:
        left = f"{outcome.left_candidates:,} candidates of {outcome.left_seeds:,} seeds"
        usd = outcome.left_usd
        left += f", {dollars(usd['low'])} to {dollars(usd['high'])}" if usd else ", cost unknown"
    ran = any(row["old"] for row in outcome.rows)
    other = "not those of the last run" if ran else "no run has asked about these seeds yet"
    same = "prompt and settings are those of the last run" if outcome.same_prompt else other
    facts = [("prompt", same), ("to ask", left), ("spent", screen.cost(outcome))]
    return [table, screen.facts(facts)]
