"""The commands of the stages, built from the table of stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pairsmith.receipts.outcome import CommandOutcome
from pairsmith.stages.table import Audience, Numeric, Option, Stage, stage
from pairsmith.terminal.number_options import FiniteNumber, WholeNumber, max_usd_option
from pairsmith.terminal.session import Session, on_project
from pairsmith.terminal.watching import NOBODY
from schemas.project import Project
from schemas.store import Store


def command_of(name: str) -> click.Command:
    """Build `pairsmith NAME`: run the stage and show its outcome."""
    row = stage(name)

    @on_project
    def command(session: Session, *, max_usd: float | None = None, **options: Any) -> int:
        return run_stage(session, row, max_usd, **options)

    for option in row.options:
        command = _option(option)(command)
    if row.asks:
        command = max_usd_option(command)
    return click.command(name, help=row.help)(command)


def run_stage(session: Session, row: Stage[Any], max_usd: float | None, **options: Any) -> int:
    """Run the stage, show its outcome, and return its exit code."""
    project = session.project()
    with session.store(project, max_usd=max_usd) as store:
        outcome = do(session, row, project, store, **options)
    shown = [] if session.write_json else [*screen_of(session, row, outcome), *row.shown(project, outcome)]
    session.answer({"command": row.name, **outcome.as_json()}, *shown)
    return row.code(outcome)


def do(session: Session, row: Stage[Any], project: Project, store: Store, **options: Any) -> CommandOutcome:
    """Run a stage with the progress, messages and Ctrl-C handling of the session."""
    with session.progress() as progress:
        audience = Audience(progress, session.say, session.stopping, is_watched=session.watcher is not NOBODY)
        outcome: CommandOutcome = row.do(project, store, audience, **options)
    return outcome


def screen_of(session: Session, row: Stage[Any], outcome: CommandOutcome) -> list[Any]:
    """What the terminal shows of a stage's outcome."""
    if row.summary is None:
        return []
    from pairsmith.terminal import screen

    return [screen.stage(row.name, outcome, session.lines(row.summary(outcome)))]


def _option(option: Option) -> Any:
    if option.takes is bool:
        return click.option(option.flag, is_flag=True, help=option.help)
    if isinstance(option.takes, Numeric):
        start, least, end = option.takes
        is_integer = isinstance(start, int)
        kind = WholeNumber(int(least)) if is_integer else FiniteNumber(least, end, max_open=True)
        name = "N" if is_integer else None
        return click.option(option.flag, type=kind, default=start, show_default=True, metavar=name, help=option.help)
    if isinstance(option.takes, tuple):
        return click.option(option.flag, type=click.Choice(option.takes), multiple=True, help=option.help)
    return click.option(option.flag, type=click.Path(path_type=Path), metavar="DIR", help=option.help)
