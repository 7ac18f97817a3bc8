"""Reviewers' accounts in a project's workspace, passwords that are displayed once and not stored, and one-time sign-in
codes for users who are signed in to pairsmith's service."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from curate.argilla.client import Argilla, utc
from schemas.errors import ReviewError


class Person(NamedTuple):
    """An Argilla user. `here`: whether the user may open this project's queues (an owner always may)."""

    id: str
    name: str
    role: str
    since: datetime
    here: bool


class Invited(NamedTuple):
    """The result of an invitation.

    `url`: where to sign in. `passwords`: of the new accounts. `let_in`: users who already had an account and got
    access. `problem`: why the invitation stopped before everybody had access (None if it did not); everything done
    until then remains and is shown.
    """

    url: str
    passwords: dict[str, str]
    let_in: tuple[str, ...]
    problem: ReviewError | None = None


def people(argilla: Argilla) -> list[Person]:
    """Return all users with an account, sorted by name; for an admin, those of the workspace."""
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
    """Give users access to this project's rows and no others. Existing accounts keep their passwords.

    Raises ReviewError for an invalid name, or one that differs from another only in its spelling, before any account is
    created.
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
                payload = {"username": name, "first_name": name, "password": _password(), "role": "annotator"}
                user = argilla.call("POST", "users", json=payload)["id"]
                passwords[name] = payload["password"]  # before anything else can fail: it cannot be recovered later
            else:
                user = person.id
                let_in.append(name)
            if person is None or not person.here:
                argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": user})
    except ReviewError as error:
        return Invited(argilla.url, passwords, tuple(let_in), error)
    return Invited(argilla.url, passwords, tuple(let_in))


def _refuse_bad_names(argilla: Argilla, names: Sequence[str], known: Collection[str]) -> None:
    """Raise ReviewError for an invalid name, or another spelling of an existing one: two accounts of one person would
    look like two annotators who agree."""
    folded = {_fold_name(name): name for name in known}
    for name in names:
        if not name.strip():
            raise ReviewError(
                "a name is empty.", where=argilla.url, fix="Give the users' names: `pairsmith review invite ann bob`"
            )
        if name != name.strip() or not name.isprintable():
            raise ReviewError(
                f"the name {name!r} has leading or trailing spaces, or invisible characters.",
                where=argilla.url,
                fix="Write it without them.",
            )
        other = folded.setdefault(_fold_name(name), name)
        if other != name and name not in known:
            raise ReviewError(
                f"{name} and {other} are different spellings of one name.",
                where=argilla.url,
                why="One person with two accounts would count as two.",
                fix=f"Use {other} if it is the same person, otherwise another name.",
            )


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def new_password(argilla: Argilla, name: str) -> str:
    """Set a new password and return it. The account and its answers stay. Raises ReviewError if there is no such
    user."""
    person = _find_person(argilla, name)
    if person is None:
        raise ReviewError(
            f"there is no user {name}.",
            where=argilla.url,
            fix="`pairsmith review people` lists the users; `pairsmith review invite NAME` creates one.",
        )
    password = _password()
    argilla.call("PATCH", f"users/{person.id}", json={"password": password})
    return password


def _password() -> str:
    return secrets.token_urlsafe(12)


def member(argilla: Argilla, name: str) -> Person:
    """Return the account of this name with access to the workspace; it is created if missing, with a password that
    nobody sees.

    Raises ReviewError, also if the account is not a plain annotator: sign-in by code is for annotators only.
    """
    person = _find_person(argilla, name)
    if person is None or not person.here:
        invited = invite(argilla, [name])
        if invited.problem:
            raise invited.problem
        person = _find_person(argilla, name)
    if person is None or person.role != "annotator":
        raise ReviewError(
            f"'{name}' is not an annotator's account.", where=argilla.url, fix="Sign in to Argilla directly."
        )
    return person


def _find_person(argilla: Argilla, name: str) -> Person | None:
    return next((person for person in people(argilla) if person.name == name), None)


def code(argilla: Argilla, person: Person, *, origin: str, page: str = "/") -> str:
    """Return a code that signs a browser in as this person and redirects it to `page`.

    It works once, within a minute, and only if a form on a page of `origin` posts it as the field `code` to `action`.
    Only pairsmith's own server supports codes.
    """
    payload = {"user_id": person.id, "origin": origin, "page": page}
    return str(argilla.call("POST", "pairsmith/codes", json=payload)["code"])


def action(url: str) -> str:
    """Return the URL to which the form with a code is posted."""
    return f"{url.rstrip('/')}/api/v1/pairsmith/enter"
