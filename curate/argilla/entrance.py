"""The way into Argilla for somebody who is signed in elsewhere: an account, and a code that is good once."""

from __future__ import annotations

from curate.argilla.client import Argilla
from curate.argilla.people import Person, invite, people
from schemas.errors import ReviewError


def member(argilla: Argilla, name: str) -> Person:
    """The account of this name in the workspace, made and let in where it is missing. Nobody learns its password.

    Raises ReviewError, also for an account that may do more than answer: the way in is for those who answer.
    """
    person = _called(argilla, name)
    if person is None or not person.here:
        invited = invite(argilla, [name])
        if invited.problem:
            raise invited.problem
        person = _called(argilla, name)
    if person is None or person.role != "annotator":
        raise ReviewError(
            f"'{name}' is no account that only answers.", where=argilla.url, fix="Sign in there yourself."
        )
    return person


def _called(argilla: Argilla, name: str) -> Person | None:
    return next((person for person in people(argilla) if person.name == name), None)


def code(argilla: Argilla, person: Person, *, origin: str, page: str = "/") -> str:
    """What signs a browser in as this person and leads it to a page: once, within a minute, and only from a form that a
    page of `origin` sends, as the field `code`, to `action`. Our own server alone knows codes."""
    asked = {"user_id": person.id, "origin": origin, "page": page}
    return str(argilla.call("POST", "pairsmith/codes", json=asked)["code"])


def action(url: str) -> str:
    """Where the form that brings a code is sent."""
    return f"{url.rstrip('/')}/api/v1/pairsmith/enter"
