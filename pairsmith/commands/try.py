"""`pairsmith try`: the base and the tuned model side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pairsmith.terminal.session import Session, on_project
from schemas.errors import NoWork, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from train.local_model import SystemAnswer

UNJUDGED = "no check fails; correctness was not judged"


@click.command()
@click.argument("text", required=False)
@click.option("--sampled", is_flag=True, help="Sample with evaluate.sampling; by default decoding is greedy.")
@on_project
def command(session: Session, text: str | None, sampled: bool) -> None:
    """Ask the base, the base with examples, and the tuned model TEXT, in the same way as the evaluation.

    Without TEXT, inputs are read from standard input, one per line, until an empty line. Nothing is stored, and no
    teacher is asked.
    """
    from pairsmith.stages.evaluate import latest_adapter
    from schemas.blocking import run
    from schemas.records import Seed
    from train.evaluation.evaluation import plan_evaluation
    from train.local_model import REFUSED, side_by_side

    if text is not None and not text.strip():
        raise UsageError("TEXT is empty.", fix="Pass an input as TEXT, or leave TEXT out and enter one input per line.")
    project = session.project()
    with session.store(project, write=False) as store:
        trained = latest_adapter(project, store)
        first = Seed(kind="input", text=text or "-", source="try")
        plan = plan_evaluation(project, [first], trained, None, imported=store.active_seeds())
    for shortened in (one for system in plan.systems for one in system.shortened):
        session.say(f"warning: {shortened.in_words}.")
    results: list[dict[str, Any]] = []

    async def ask_all() -> None:
        async with side_by_side(plan, session.say) as ask:
            for number, line in enumerate(_lines() if text is None else [text], 1):
                seed = Seed(kind="input", text=line, source=f"try:{number}")
                answers = await ask(seed, "sampled" if sampled else "greedy")
                session.show(*_screen(answers))
                results.append({"input": line, "answers": [answer._asdict() for answer in answers]})

    run(ask_all())
    if not results:
        raise NoWork("no input was given, so nothing was asked.", fix="Pass one as TEXT, or enter one input per line.")
    if all(answer["failed"] == (REFUSED,) for one in results for answer in one["answers"]):
        raise NoWork("no system could process the input: see above.", fix="Use a shorter input.")
    session.answer({"command": "try", "adapter": trained.adapter_id, "inputs": results})


def _lines() -> Iterator[str]:
    """Lines of standard input up to an empty one, with a prompt on a terminal."""
    while True:
        if sys.stdin.isatty():
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _screen(answers: list[SystemAnswer]) -> list[RenderableType]:
    from pairsmith.terminal.screen import entry
    from train.local_model import REFUSED

    parts: list[RenderableType] = []
    for answer in answers:
        judged = {True: "pass", None: UNJUDGED, False: ", ".join(answer.failed) or "fail"}[answer.passes]
        judged = judged if answer.whole or judged == REFUSED else f"cut; {judged}"
        parts.append(entry(f"[bold]{answer.system}[/]", (("answer", answer.text or "(empty)"), ("checks", judged))))
    return parts
