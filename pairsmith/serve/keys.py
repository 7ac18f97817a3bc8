"""API keys: `ps_<8 public>_<43 secret>`. A key is shown once; only its hash is stored."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pairsmith.serve.access import ALL, RIGHTS, Caller, KeyLimit, Role
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.database import hash_secret, keys, row, rows, stamp, write
from pairsmith.serve.problems import Refusal, not_there
from schemas.records import now

KEY = re.compile(r"ps_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_PUBLIC_FIELDS = ("id", "user", "name", "role", "project", "created", "expires", "used", "revoked")
_USED_EVERY = timedelta(minutes=1)


class Keys:
    """The API keys of the service's users."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.engine = accounts, accounts.engine

    def make(self, by: Caller, name: str, role: Role, project: str, days: int | None) -> tuple[str, dict[str, Any]]:
        """Create a key and return it with its stored fields. It can do at most what its maker can. Raises Refusal."""
        assert by.user is not None
        if any(not by.may(right, project) for right in RIGHTS[role] if right != "administer" or project == ALL):
            raise Refusal(
                403,
                f"a key cannot have the role {role} where you are {by.role(project) or 'no member'}.",
                code="not_allowed",
                fix="Choose a role with fewer rights.",
            )
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
        public = "".join(secrets.choice(alphabet) for _ in range(8))
        key = f"ps_{public}_{secrets.token_urlsafe(32)}"
        new: dict[str, Any] = {"id": public, "hash": hash_secret(key), "user": by.user, "name": name, "role": role}
        new |= {"project": project, "created": stamp()}
        new["expires"] = stamp(now() + timedelta(days=days)) if days else None
        write(self.engine, sa.insert(keys).values(new))
        return key, {shown: new.get(shown) for shown in _PUBLIC_FIELDS}

    def caller(self, key: str) -> Caller | None:
        """The Caller that a key stands for; None if the key is unknown, expired or revoked."""
        match = KEY.fullmatch(key)
        if match is None:
            return None
        record = row(self.engine, sa.select(keys).where(keys.c.id == match[1]))
        if record is None or not hmac.compare_digest(record["hash"], hash_secret(key)) or record["revoked"]:
            return None
        name = self.accounts.name(record["user"])
        if name is None or (record["expires"] and record["expires"] < stamp()):
            return None
        if record["used"] is None or now() - datetime.fromisoformat(record["used"]) > _USED_EVERY:
            write(self.engine, sa.update(keys).where(keys.c.id == record["id"]).values(used=stamp()))
        limit = KeyLimit(Role(record["role"]), record["project"])
        return Caller(record["user"], name, self.accounts.roles(record["user"]), key=record["id"], key_limit=limit)

    def of(self, user: str | None) -> list[dict[str, Any]]:
        """The keys of a user, or of all users if `user` is None, newest first."""
        query = sa.select(keys).order_by(keys.c.created.desc())
        query = query.where(keys.c.user == user) if user else query
        return [{name: record[name] for name in _PUBLIC_FIELDS} for record in rows(self.engine, query)]

    def revoke(self, key_id: str, user: str | None) -> None:
        """Revoke a key: one of this user's, or anybody's if `user` is None. Raises Refusal if there is none."""
        change = sa.update(keys).where(keys.c.id == key_id)
        change = change.where(keys.c.user == user) if user else change
        if not write(self.engine, change.values(revoked=stamp())):
            raise not_there(f"there is no key '{key_id}'.", fix="GET /api/v1/keys lists the keys.")
