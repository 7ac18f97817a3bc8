"""`pairsmith forecast`."""

from __future__ import annotations

from typing import Any

import click

from pairsmith.session import Session, max_usd_option, on_project


@click.command()
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    metavar="N",
    help="Seeds of each direction in the pilot; more make the intervals narrower.",
)
@max_usd_option
@on_project
def command(session: Session, seeds: int, max_usd: float | None) -> None:
    """Ask about a few seeds, and tell what all of them will take: tokens, money, minutes and accepted rows.

    The pilot's answers are kept, so `generate` does not buy them again. Intervals are 90 % prediction intervals.
    """
    from pairsmith.stages.forecast import forecast

    project = session.project()
    with session.store(project, max_usd=max_usd) as store, session.progress() as progress:
        outcome = forecast(project, store, seeds=seeds, progress=progress, say=session.say, stop=session.stopping)
    session.answer({"command": "forecast", **outcome.as_json()}, *(() if session.write_json else _screen(outcome)))


def _screen(outcome: Any) -> list[Any]:
    from rich.table import Table

    from pairsmith import screen
    from schemas.money import dollars
    from schemas.progress_line import clock

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "seeds", "tokens", "cost", "as a batch", "time", "accepted rows"):
        table.add_column(title, justify="left" if not title else "right")

    def between(ends: dict[str, float] | None, shown: Any, unknown: str = "unknown") -> str:
        if ends is None:
            return unknown
        low, high = shown(ends["low"]), shown(ends["high"])
        return low if low == high else f"{low} to {high}"

    def row(name: str, seeds: str, line: dict[str, Any], rows: str) -> None:
        whole, minutes = (lambda number: f"{number:,.0f}"), (lambda number: clock(60 * number))
        money = [between(line[key], dollars) for key in ("usd", "batch_usd")]
        counts = between(line["rows"], whole, rows)
        table.add_row(name, seeds, between(line["tokens"], whole), *money, between(line["minutes"], minutes), counts)

    few = "too few seeds to say"
    for line in outcome.lines:
        name = f"{line['stage']} {line['direction']}".strip()
        row(name, f"{line['seeds']:,}", line, few if line["stage"] == "generate" else "")
    row("[bold]in all[/]", "", outcome.whole, few)
    pilot = f"{outcome.pilot_seeds:,} {'seed' if outcome.pilot_seeds == 1 else 'seeds'}, kept for the run"
    spent = [("pilot", f"{pilot}; {screen.cost(outcome)}")]
    note = (
        "90 % intervals for the whole run, pilot included. Rows: after gates, best of n and duplicates, before people. "
        "Time: at teacher.concurrency, if the server answers as fast as it did."
    )
    return [table, "", screen.facts(spent), "", note]
