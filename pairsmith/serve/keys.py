"""API keys: `ps_<8 public>_<43 secret>`, shown once; only the hash is kept."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pairsmith.serve.access import ALL, RIGHTS, Caller, KeyLimit, Role
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.database import hash_of, keys, stamp
from pairsmith.serve.problems import Refusal, not_there
from schemas.records import now

KEY = re.compile(r"ps_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_SHOWN = ("id", "user", "name", "role", "project", "created", "expires", "used", "revoked")
_USED_EVERY = timedelta(minutes=1)


class Keys:
    """Keys for programs."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.engine = accounts, accounts.engine

    def make(self, by: Caller, name: str, role: Role, project: str, days: int | None) -> tuple[str, dict[str, Any]]:
        """A new key and what is kept of it. It can do at most what its maker can. Raises Refusal."""
        assert by.user is not None
        if any(not by.may(right, project) for right in RIGHTS[role] if right != "administer" or project == ALL):
            raise Refusal(
                403,
                f"a key cannot be {role} where you are {by.role(project) or 'no member'}.",
                code="not_allowed",
                fix="Take a lesser role.",
            )
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
        public = "".join(secrets.choice(alphabet) for _ in range(8))
        key = f"ps_{public}_{secrets.token_urlsafe(32)}"
        row: dict[str, Any] = {"id": public, "hash": hash_of(key), "user": by.user, "name": name, "role": role}
        row |= {"project": project, "created": stamp()}
        row["expires"] = stamp(now() + timedelta(days=days)) if days else None
        with self.engine.begin() as connection:
            connection.execute(sa.insert(keys).values(row))
        return key, {shown: row.get(shown) for shown in _SHOWN}

    def caller(self, key: str) -> Caller | None:
        """Who a key stands for; None if there is no such key, it has run out or was revoked."""
        form = KEY.fullmatch(key)
        if form is None:
            return None
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(keys).where(keys.c.id == form[1])).mappings().first()
        if row is None or not hmac.compare_digest(row["hash"], hash_of(key)) or row["revoked"]:
            return None
        if row["expires"] and row["expires"] < stamp():
            return None
        name = self.accounts.name(row["user"])
        if name is None:
            return None
        if row["used"] is None or now() - datetime.fromisoformat(row["used"]) > _USED_EVERY:
            with self.engine.begin() as connection:
                connection.execute(sa.update(keys).where(keys.c.id == row["id"]).values(used=stamp()))
        limit = KeyLimit(Role(row["role"]), row["project"])
        return Caller(row["user"], name, self.accounts.roles(row["user"]), key=row["id"], key_limit=limit)

    def of(self, user: str | None) -> list[dict[str, Any]]:
        """The keys of a user, or of everybody, newest first."""
        query = sa.select(keys).order_by(keys.c.created.desc())
        query = query.where(keys.c.user == user) if user else query
        with self.engine.connect() as connection:
            return [{name: row[name] for name in _SHOWN} for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str, user: str | None) -> None:
        """End a key, of this user alone unless None. Raises Refusal."""
        change = sa.update(keys).where(keys.c.id == key_id)
        change = change.where(keys.c.user == user) if user else change
        with self.engine.begin() as connection:
            if not connection.execute(change.values(revoked=stamp())).rowcount:
                raise not_there(f"there is no key '{key_id}'.", fix="GET /api/v1/keys lists them.")
