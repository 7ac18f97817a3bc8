"""Accounts, roles, invitations, and the one-time link that creates the first owner."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import cache
from typing import Any

import argon2
import sqlalchemy as sa

from pairsmith.serve.access import ALL, Role
from pairsmith.serve.database import (
    hash_secret,
    invitations,
    keys,
    members,
    row,
    rows,
    sessions,
    stamp,
    titles,
    users,
    write,
)
from pairsmith.serve.problems import Refusal, not_there
from schemas.records import now

FIRST_OWNER_MINUTES = 15
INVITATION_DAYS = 7
SHORTEST_PASSWORD = 10
_OWNERS = (
    sa.select(users.c.id)
    .join(members, members.c.user == users.c.id)
    .where(members.c.project == ALL, members.c.role == Role.owner, users.c.disabled.is_(None))
)


class Accounts:
    """Users and their roles, stored in the service's database."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._hasher = argon2.PasswordHasher()

    # Links

    def has_owner(self) -> bool:
        """Whether an enabled account with a password owns the service."""
        return row(self.engine, _OWNERS.where(users.c.password.is_not(None)).limit(1)) is not None

    def first_owner_link(self) -> str:
        """A new token that creates the first owner. Earlier tokens stop working."""
        write(self.engine, sa.delete(invitations).where(invitations.c.by.is_(None)))
        return self._invite(ALL, Role.owner, None, timedelta(minutes=FIRST_OWNER_MINUTES))

    def invite(self, project: str, role: Role, by: str) -> str:
        """A token with which one user can join a project, valid for a week."""
        return self._invite(project, role, by, timedelta(days=INVITATION_DAYS))

    def _invite(self, project: str, role: Role, by: str | None, lifetime: timedelta) -> str:
        token = secrets.token_urlsafe(32)
        new = {
            "hash": hash_secret(token),
            "project": project,
            "role": role,
            "by": by,
            "expires": stamp(now() + lifetime),
        }
        write(self.engine, sa.insert(invitations).values(new))
        return token

    def invitation(self, token: str) -> dict[str, Any]:
        """The project and role that a link grants. Raises Refusal if it is unknown, used or expired."""
        query = sa.select(invitations).where(invitations.c.hash == hash_secret(token), invitations.c.used.is_(None))
        link = row(self.engine, query.where(invitations.c.expires > stamp()))
        if link is None:
            raise _link_not_usable()
        return {"project": link["project"], "role": Role(link["role"])}

    def redeem(self, token: str, name: str, password: str) -> str:
        """Create an account from an invitation and return the user's id. Raises Refusal."""
        grant = self.invitation(token)
        _check_name(name)
        new = {"id": secrets.token_hex(8), "name": name, "password": self._hash_password(password), "created": stamp()}
        with self.engine.begin() as connection:
            if connection.execute(_mark_used(token)).rowcount != 1:
                raise _link_not_usable()
            # Unique regardless of case: users and the audit identify each other by name.
            if name.casefold() in {taken.casefold() for taken in connection.scalars(sa.select(users.c.name))}:
                raise Refusal(409, f"the name '{name}' is already taken.", code="name_taken", fix="Choose another.")
            connection.execute(sa.insert(users).values(new))
            connection.execute(sa.insert(members).values(user=new["id"], **grant))
        return str(new["id"])

    def join(self, token: str, user: str) -> None:
        """Add an invitation's role to an existing account."""
        grant = self.invitation(token)
        if write(self.engine, _mark_used(token)) != 1:
            raise _link_not_usable()
        self.set_role(user, grant["project"], grant["role"])

    # Sign-in

    def check_password(self, name: str, password: str) -> str:
        """The user's id. Raises Refusal, with the same answer and the same delay for an unknown name."""
        record = row(self.engine, sa.select(users).where(users.c.name == name))
        usable = record is not None and record["disabled"] is None and record["password"] is not None
        try:
            self._hasher.verify(str(record["password"]) if record and usable else _dummy_hash(), password)
        except argon2.exceptions.VerificationError:
            usable = False
        if not usable or record is None:
            raise Refusal(
                401, "the name or the password is wrong.", code="wrong_password", fix="Try again, or ask an owner."
            )
        if self._hasher.check_needs_rehash(record["password"]):
            self.set_password(record["id"], password)
        return str(record["id"])

    def set_password(self, user: str, password: str) -> None:
        """Set a user's password. Raises Refusal if it is too short or too long."""
        write(self.engine, sa.update(users).where(users.c.id == user).values(password=self._hash_password(password)))

    def _hash_password(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= 1000:
            raise Refusal(
                422,
                f"the password has {len(password)} characters.",
                code="password_length",
                fix=f"Use at least {SHORTEST_PASSWORD}; four words work well.",
            )
        return self._hasher.hash(password)

    # Users

    def user(self, user: str) -> dict[str, Any]:
        """An account with its roles. Raises Refusal if there is none."""
        account = next((account for account in self.users() if account["id"] == user), None)
        if account is None:
            raise not_there(f"there is no user '{user}'.")
        return account

    def users(self) -> list[dict[str, Any]]:
        """All accounts, sorted by name, with their roles by project."""
        memberships, shown = rows(self.engine, sa.select(members)), []
        for account in rows(self.engine, sa.select(users).order_by(users.c.name)):
            roles = {
                member["project"]: Role(member["role"]) for member in memberships if member["user"] == account["id"]
            }
            shown.append({name: account[name] for name in ("id", "name", "created", "disabled")} | {"roles": roles})
        return shown

    def roles(self, user: str) -> dict[str, Role]:
        """The user's roles, keyed by project or `*`; empty for a disabled account."""
        query = sa.select(members.c.project, members.c.role).join(users, users.c.id == members.c.user)
        memberships = rows(self.engine, query.where(members.c.user == user, users.c.disabled.is_(None)))
        return {member["project"]: Role(member["role"]) for member in memberships}

    def name(self, user: str) -> str | None:
        """The name of an account; None if it is disabled or does not exist."""
        account = row(self.engine, sa.select(users.c.name).where(users.c.id == user, users.c.disabled.is_(None)))
        return str(account["name"]) if account else None

    def set_role(self, user: str, project: str, role: Role | None) -> None:
        """Grant, change or (None) remove a role.

        All sessions of the user end, so that none continues with the old rights. Raises Refusal if the service would be
        left without an owner.
        """
        here = sa.and_(members.c.user == user, members.c.project == project)
        with self.engine.begin() as connection:
            connection.execute(sa.delete(members).where(here))
            if role is not None:
                connection.execute(sa.insert(members).values(user=user, project=project, role=role))
            self._require_owner(connection)
            connection.execute(sa.delete(sessions).where(sessions.c.user == user))

    def disable(self, user: str) -> None:
        """Disable an account and end its sessions and keys. Its name stays in the audit."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(users).where(users.c.id == user).values(disabled=stamp()))
            self._require_owner(connection)
            connection.execute(sa.delete(sessions).where(sessions.c.user == user))
            connection.execute(sa.update(keys).where(keys.c.user == user).values(revoked=stamp()))

    def titles(self) -> dict[str, str]:
        """The titles of all projects that have one."""
        return {title["project"]: title["title"] for title in rows(self.engine, sa.select(titles))}

    def set_title(self, project: str, title: str) -> None:
        """Change a project's title; its name stays."""
        new = sa.insert(titles).values(project=project, title=title)
        write(self.engine, sa.delete(titles).where(titles.c.project == project), new)

    def forget(self, project: str) -> None:
        """Remove all memberships, invitations and the title of a deleted project, and revoke its keys.

        A later project of the same name then starts without members.
        """
        deletions = [sa.delete(table).where(table.c.project == project) for table in (members, invitations, titles)]
        here = sa.and_(keys.c.project == project, keys.c.revoked.is_(None))
        write(self.engine, *deletions, sa.update(keys).where(here).values(revoked=stamp()))

    def _require_owner(self, connection: sa.Connection) -> None:
        """Raises Refusal if no enabled account owns the service."""
        if connection.execute(_OWNERS.limit(1)).first() is None:
            raise Refusal(
                409, "the service would have no owner.", code="last_owner", fix="Make another user an owner first."
            )


def _mark_used(token: str) -> sa.Update:
    """The statement that marks a link as used. It changes a row for the first caller only."""
    unused = sa.update(invitations).where(invitations.c.hash == hash_secret(token), invitations.c.used.is_(None))
    return unused.values(used=stamp())


def _link_not_usable() -> Refusal:
    what = "this link has been used or has expired."
    return Refusal(404, what, code="link_not_usable", fix="Ask an owner for a new one.")


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or len(name) > 80 or not name.isprintable():
        raise Refusal(422, "a name has 1 to 80 printable characters and no space at either end.", code="name_form")


@cache
def _dummy_hash() -> str:
    return argon2.PasswordHasher().hash(secrets.token_urlsafe(16))
