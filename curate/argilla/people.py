"""Who may answer: accounts of a project's workspace, passwords that are shown once and kept nowhere, and the way in
for somebody who is signed in elsewhere: a code that is good once."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from curate.argilla.client import Argilla, utc
from schemas.errors import ReviewError


class Person(NamedTuple):
    """A user of an Argilla. `here`: whether the person may open this project's queues (an owner always may)."""

    id: str
    name: str
    role: str
    since: datetime
    here: bool


class Invited(NamedTuple):
    """Where people sign in, the password of each new account, and who had an account and was let in with it. `problem`:
    why it ended before everybody was let in (None: it did not); what was made until then stands and is shown."""

    url: str
    passwords: dict[str, str]
    let_in: tuple[str, ...]
    problem: ReviewError | None = None


def people(argilla: Argilla) -> list[Person]:
    """Everybody with an account, by name."""
    workspace = argilla.workspace_id(make=False)
    members = argilla.call("GET", f"workspaces/{workspace}/users")["items"] if workspace else []
    here = {user["id"] for user in members}
    users = argilla.call("GET", "users")["items"] if argilla.call("GET", "me")["role"] == "owner" else members
    everybody = [
        Person(
            id=str(user["id"]),
            name=user["username"],
            role=user["role"],
            since=utc(user["inserted_at"]),
            here=user["id"] in here or user["role"] == "owner",
        )
        for user in users
    ]
    return sorted(everybody, key=lambda person: person.name)


def invite(argilla: Argilla, names: Sequence[str]) -> Invited:
    """Let people answer this project's rows and no others. Who has an account keeps it, and its password.

    Raises ReviewError for a name that is none, or that looks like another's, before anybody was made.
    """
    known = {person.name: person for person in people(argilla)}
    _refuse_bad_names(argilla, names, known)
    workspace = argilla.workspace_id(make=True)
    passwords: dict[str, str] = {}
    let_in: list[str] = []
    try:
        for name in dict.fromkeys(names):
            person = known.get(name)
            if person is None:
                asked = {"username": name, "first_name": name, "password": _password(), "role": "annotator"}
                user = argilla.call("POST", "users", json=asked)["id"]
                passwords[name] = asked["password"]  # before anything else can fail: nobody could tell it later
            else:
                user = person.id
                let_in.append(name)
            if person is None or not person.here:
                argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": user})
    except ReviewError as error:
        return Invited(argilla.url, passwords, tuple(let_in), error)
    return Invited(argilla.url, passwords, tuple(let_in))


def _refuse_bad_names(argilla: Argilla, names: Sequence[str], known: Collection[str]) -> None:
    """An account for each spelling would make two people of one, whose answers would agree with themselves."""
    folded = {_fold_name(name): name for name in known}
    for name in names:
        if not name.strip():
            raise ReviewError(
                "an empty name is no name.", where=argilla.url, fix="Name the people: review invite ann bob"
            )
        if name != name.strip() or not name.isprintable():
            raise ReviewError(
                f"the name {name!r} has spaces around it, or signs that nobody sees.",
                where=argilla.url,
                fix="Write it without them.",
            )
        other = folded.setdefault(_fold_name(name), name)
        if other != name and name not in known:
            raise ReviewError(
                f"{name} and {other} are one name, spelled differently.",
                where=argilla.url,
                why="One person with two accounts would count as two.",
                fix=f"Write {other} if it is the same person, else another name.",
            )


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def new_password(argilla: Argilla, name: str) -> str:
    """Give a user another password: the account and what it has answered stay the same person's."""
    person = _find_person(argilla, name)
    if person is None:
        raise ReviewError(
            f"there is no user {name}.",
            where=argilla.url,
            fix="`pairsmith review people` lists them; `invite` makes one.",
        )
    password = _password()
    argilla.call("PATCH", f"users/{person.id}", json={"password": password})
    return password


def _password() -> str:
    return secrets.token_urlsafe(12)


def member(argilla: Argilla, name: str) -> Person:
    """The account of this name in the workspace, made and let in where it is missing. Nobody learns its password.

    Raises ReviewError, also for an account that may do more than answer: the way in is for those who answer.
    """
    person = _find_person(argilla, name)
    if person is None or not person.here:
        invited = invite(argilla, [name])
        if invited.problem:
            raise invited.problem
        person = _find_person(argilla, name)
    if person is None or person.role != "annotator":
        raise ReviewError(
            f"'{name}' is no account that only answers.", where=argilla.url, fix="Sign in there yourself."
        )
    return person


def _find_person(argilla: Argilla, name: str) -> Person | None:
    return next((person for person in people(argilla) if person.name == name), None)


def code(argilla: Argilla, person: Person, *, origin: str, page: str = "/") -> str:
    """What signs a browser in as this person and leads it to a page: once, within a minute, and only from a form that a
    page of `origin` sends, as the field `code`, to `action`. Our own server alone knows codes."""
    asked = {"user_id": person.id, "origin": origin, "page": page}
    return str(argilla.call("POST", "pairsmith/codes", json=asked)["code"])


def action(url: str) -> str:
    """Where the form that brings a code is sent."""
    return f"{url.rstrip('/')}/api/v1/pairsmith/enter"
