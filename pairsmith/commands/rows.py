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
_SHOWN_CHARACTERS = {"input": 160, "output": 240}
_STYLES = {"accepted": "green", "rejected": "red", "waiting": "yellow", "failed": "red"}


@click.command()
@click.option(
    "--state", type=click.Choice(["accepted", "rejected", "waiting", "failed"]), help="Only rows in this state."
)
@click.option(
    "--reason", "code", metavar="CODE", help="Only rows with this reason or flag; `status` names the most frequent."
)
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
    shortened = ""  # the first row of which only the beginning is shown
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
        whole = {name: " ".join((row[name] or "").split()) for name in _SHOWN_CHARACTERS}
        texts = [(name, cut(text, _SHOWN_CHARACTERS[name])) for name, text in whole.items()]
        if not shortened and texts != list(whole.items()):
            shortened = (row["pair_id"] or "")[:12]  # a row without an answer has no lineage
        listed.append(entry(head, [*texts, ("why", cut(" ".join(shorten_ids(why).split()), 400))]))
    curate = f"[bold]{escape(session.command('curate'))}[/]"
    parts: list[RenderableType] = [row_sum(data["counts"]), ""]
    parts += listed or ["No row matches."]
    if data["more"]:
        parts.append("There are more rows; --limit 0 lists them all.")
    if shortened:
        explain = escape(session.command(f"explain {shortened}"))
        parts += ["", f"Long texts are cut; [bold]{explain}[/] shows a whole row."]
    if data["erased"]:
        parts += [
            "",
            f"{counted(data['erased'], 'row', 'rows')} erased since; {curate} counts the rest.",
        ]
    if data["answered_since"]:
        parts += ["", f"Reviews have changed since; run {curate} to count them."]
    return parts
