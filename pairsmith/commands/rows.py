"""`pairsmith rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pairsmith.terminal.number_options import WholeNumber
from pairsmith.terminal.session import Session, on_project
from schemas.wording import cut

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20  # rows listed by default


@click.command()
@click.option(
    "--state", type=click.Choice(["accepted", "rejected", "waiting", "failed"]), help="Only rows in this state."
)
@click.option("--reason", "code", metavar="CODE", help="Only rows with this reason or flag; `status` lists the codes.")
@click.option("--flagged", is_flag=True, help="Only rows that a step flagged as worth a look.")
@click.option(
    "--limit",
    type=WholeNumber(min=0),
    default=SHOWN,
    show_default=True,
    metavar="N",
    help="List at most N rows; 0 lists all.",
)
@on_project
def command(session: Session, state: str | None, code: str | None, flagged: bool, limit: int) -> None:
    """List rows as the last curation left them, each with the deciding step and its reason.

    Every answer that was requested is a row, including those that failed.
    """
    from pairsmith.rows.curated import read_rows

    project = session.project()
    with session.store(project, write=False) as store:
        data = read_rows(store, state=state, code=code, limit=limit, flagged=flagged)
        session.answer(data, *(_screen(session, data) if session.write_json is None else ()))


def _screen(session: Session, data: dict[str, Any]) -> list[RenderableType]:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from pairsmith.style.numbers import row_sum
    from pairsmith.style.reasons import shorten_ids
    from schemas.step_names import display_step
    from schemas.wording import counted

    table = Table(box=None, padding=(0, 2, 1, 0), expand=True)
    table.add_column("id", width=12, no_wrap=True, overflow="crop")
    table.add_column("state", width=8, no_wrap=True)
    for title, ratio in (("input", 3), ("output", 5), ("why", 4)):
        table.add_column(title, ratio=ratio, overflow="fold")
    for row in data["rows"]:
        why = row["reason"] or row["split"] or ""
        if row["state"] == "accepted" and row["score"] is not None:
            why = f"{why}, score {row['score']:.3g}"
        if row["step"]:
            why = f"{row['reason']} ({display_step(row['step'])})"
        why = "; ".join(filter(None, (why, *(f"flag {sentence}" for sentence in row["flagged"]))))
        texts = (_short(row["input"], 120), _short(row["output"] or "", 160), _short(shorten_ids(why), 400))
        table.add_row(*map(Text, (row["pair_id"] or "", row["state"], *texts)))
    curate = f"[bold]{escape(session.command('curate'))}[/]"
    parts: list[RenderableType] = [row_sum(data["counts"]), ""]
    parts.append(table if table.row_count else "No row matches.")
    if data["more"]:
        parts += ["", "There are more rows; --limit 0 lists them all."]
    if data["erased"]:
        parts += [
            "",
            f"{counted(data['erased'], 'row', 'rows')} erased since; {curate} counts the rest.",
        ]
    if data["answered_since"]:
        parts += ["", f"Reviews have changed since; run {curate} to count them."]
    return parts


def _short(text: str, most: int) -> str:
    return cut(" ".join(text.split()), most)
