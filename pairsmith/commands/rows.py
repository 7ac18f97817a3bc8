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
_STYLES = {"accepted": "green", "rejected": "red", "waiting": "yellow", "failed": "red"}


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
    from rich.text import Text

    from pairsmith.style.numbers import row_sum
    from pairsmith.style.reasons import shorten_ids
    from pairsmith.terminal.screen import entry
    from schemas.step_names import display_step
    from schemas.wording import counted

    listed: list[RenderableType] = []
    for row in data["rows"]:
        state, why = row["state"], row["reason"] or ""
        if state == "accepted":
            score = "" if row["score"] is None else f"score {row['score']:.3g}"
            state = ", ".join(filter(None, (state, row["split"], score)))
        if row["step"]:
            why = f"{why} ({display_step(row['step'])})"
        head = Text.assemble(
            (f"{row['pair_id'][:12]}  " if row["pair_id"] else "", "bold"), (state, _STYLES[row["state"]])
        )
        why = "; ".join(filter(None, (why, *(f"flag {sentence}" for sentence in row["flagged"]))))
        texts = (("input", _short(row["input"], 160)), ("output", _short(row["output"] or "", 240)))
        listed.append(entry(head, [*texts, ("why", _short(shorten_ids(why), 400))]))
    curate = f"[bold]{escape(session.command('curate'))}[/]"
    parts: list[RenderableType] = [row_sum(data["counts"]), ""]
    parts += listed or ["No row matches."]
    if data["more"]:
        parts.append("There are more rows; --limit 0 lists them all.")
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
