"""`pairsmith certify`."""

from __future__ import annotations

from typing import Any

import click

from pairsmith.session import FiniteNumber, Session, max_usd_option, on_project

_SHARE = FiniteNumber(min=0.5, max=1, max_open=True)


@click.command()
@click.option("--precision", type=_SHARE, default=0.9, show_default=True, help="The share of good rows to promise.")
@click.option("--confidence", type=_SHARE, default=0.9, show_default=True, help="How sure the promise is.")
@max_usd_option
@on_project
def command(session: Session, *, precision: float, confidence: float, max_usd: float | None = None) -> None:
    """Name the rows that need no person, and say how good they are at least, from people's answers.

    It may be run after every batch of answers: the promise holds at all looks together. "No certificate" is an answer
    too, with what would change it. Only a judge, if the spec has one, asks anybody.
    """
    from pairsmith.stages.certify import certify, share_in_words

    project = session.project()
    with session.store(project, max_usd=max_usd) as store, session.progress() as progress:
        outcome = certify(
            project, store, precision=precision, confidence=confidence, progress=progress, say=session.say
        )
    data: dict[str, Any] = {"command": "certify", **outcome.as_json()}
    session.answer(data, *(_screen(outcome, share_in_words(outcome.certificate)) if not session.write_json else ()))


def _screen(outcome: Any, share: str) -> list[Any]:
    from pairsmith import screen

    lines = [("certified" if outcome.artifact_id else "", outcome.words)]
    return [screen.stage("certify", outcome, [*lines, *([("good", share)] if share else [])])]
