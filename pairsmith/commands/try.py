"""`pairsmith try`: the base and the tuned model side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pairsmith.session import Session, on_project
from schemas.errors import NoWork, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.local_model import SystemAnswer

UNJUDGED = "no check fails; whether it is right was not judged"


@click.command()
@click.argument("text", required=False)
@click.option("--sampled", is_flag=True, help="Draw as evaluate.sampling says; else the likeliest token is taken.")
@on_project
def command(session: Session, text: str | None, sampled: bool) -> None:
    """Ask the base, the base with examples, and the tuned model TEXT, as the evaluation asks them.

    Without TEXT it asks for one input after another, each a line of standard input; an empty line ends it. Nothing is
    kept, and no teacher is asked.
    """
    from pairsmith.stages.evaluate import latest_adapter
    from schemas.blocking import run
    from schemas.records import Seed
    from train.evaluation import plan_evaluation
    from train.local_model import REFUSED, side_by_side

    if text is not None and not text.strip():
        raise UsageError("TEXT is empty.", fix="Name an input, or leave TEXT out and give one a line.")
    project = session.project()
    with session.store(project, write=False) as store:
        trained = latest_adapter(project, store)
    first = Seed(kind="input", text=text or "-", source="try")
    plan = plan_evaluation(project, [first], trained, None)
    tried: list[dict[str, Any]] = []

    async def ask_all() -> None:
        async with side_by_side(plan, session.say) as ask:
            for number, line in enumerate(_lines() if text is None else [text], 1):
                seed = Seed(kind="input", text=line, source=f"try:{number}")
                answers = await ask(seed, "sampled" if sampled else "greedy")
                session.show(*_screen(answers))
                tried.append({"input": line, "answers": [answer._asdict() for answer in answers]})

    run(ask_all())
    if not tried:
        raise NoWork("no input was given, so nothing was asked.", fix="Name one as TEXT, or give one a line.")
    if all(answer["failed"] == (REFUSED,) for one in tried for answer in one["answers"]):
        raise NoWork("no system could take what was asked: see above.", fix="Ask something shorter.")
    session.answer({"command": "try", "adapter": trained.adapter_id, "inputs": tried})


def _lines() -> Iterator[str]:
    """Lines of standard input up to an empty one; on a terminal each is asked for."""
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _screen(answers: list[SystemAnswer]) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from train.local_model import REFUSED

    table = Table(box=None, padding=(0, 2, 1, 0))
    for heading in ("system", "answer", "checks"):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        judged = {True: "pass", None: UNJUDGED, False: ", ".join(answer.failed) or "fail"}[answer.passes]
        table.add_row(
            answer.system, Text(answer.text), judged if answer.whole or judged == REFUSED else f"cut; {judged}"
        )
    return [table]
