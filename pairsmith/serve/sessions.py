"""Browser sessions: a random token in a cookie, and only its hash in the table."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from pairsmith.serve.access import Caller
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.database import hash_of, sessions, stamp
from schemas.records import now

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=90)
_SEEN_EVERY = timedelta(minutes=1)


def cookie_name(secure: bool) -> str:
    """`__Host-` binds a cookie to this host over TLS; on http, which is for this machine alone, browsers refuse it."""
    return "__Host-pairsmith" if secure else "pairsmith"


class Sessions:
    """Who is signed in with which browser."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.engine = accounts, accounts.engine

    def begin(self, user: str, *, address: str, agent: str, instead_of: str | None = None) -> str:
        """A new token, so that one that somebody planted before is worth nothing; `instead_of` ends."""
        token = secrets.token_urlsafe(32)
        row = {"hash": hash_of(token), "user": user, "csrf": secrets.token_urlsafe(24), "created": stamp()}
        row |= {"seen": stamp(), "address": address[:64], "agent": agent[:200]}
        with self.engine.begin() as connection:
            if instead_of:
                connection.execute(sa.delete(sessions).where(sessions.c.hash == hash_of(instead_of)))
            connection.execute(sa.insert(sessions).values(row))
        return token

    def caller(self, token: str) -> Caller | None:
        """Who a cookie stands for; None if the session ended, is idle for too long or too old."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(sessions).where(sessions.c.hash == hash_of(token))).mappings().first()
        if row is None:
            return None
        seen, created = datetime.fromisoformat(row["seen"]), datetime.fromisoformat(row["created"])
        name = self.accounts.name(row["user"])
        if name is None or now() - seen > IDLE or now() - created > ABSOLUTE:
            self.end(row["hash"])
            return None
        if now() - seen > _SEEN_EVERY:
            with self.engine.begin() as connection:
                connection.execute(sa.update(sessions).where(sessions.c.hash == row["hash"]).values(seen=stamp()))
        roles = self.accounts.roles(row["user"])
        return Caller(row["user"], name, roles, csrf=row["csrf"], by_cookie=True, session=row["hash"])

    def end(self, session: str) -> None:
        """End one session by the hash of its token."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.hash == session))

    def end_all(self, user: str) -> None:
        """Sign a user out everywhere."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.user == user))

    def of(self, user: str, present: str | None) -> list[dict[str, Any]]:
        """A user's sessions, newest first. The id shown is the hash of the hash: it opens nothing."""
        query = sa.select(sessions).where(sessions.c.user == user).order_by(sessions.c.seen.desc())
        with self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        fields = ("created", "seen", "address", "agent")
        return [
            {"id": shown_id(row["hash"]), "present": row["hash"] == present} | {name: row[name] for name in fields}
            for row in rows
        ]

    def end_one(self, user: str, session_id: str) -> bool:
        """End a session by the id that is shown; False if the user has none with it."""
        query = sa.select(sessions.c.hash).where(sessions.c.user == user)
        with self.engine.connect() as connection:
            hashes = connection.scalars(query).all()
        matching = [held for held in hashes if shown_id(held) == session_id]
        for held in matching:
            self.end(held)
        return bool(matching)


def shown_id(session: str) -> str:
    """The id of a session that people see."""
    return hash_of(session)[:16]


def set_cookie(response: Response, token: str, *, secure: bool) -> None:
    """Put a session's token into the browser."""
    response.set_cookie(
        cookie_name(secure), token, max_age=int(ABSOLUTE.total_seconds()), path="/", secure=secure, httponly=True,
        samesite="lax",
    )  # fmt: skip


def clear_cookie(response: Response, *, secure: bool) -> None:
    """Take it out again."""
    response.delete_cookie(cookie_name(secure), path="/", secure=secure, httponly=True, samesite="lax")
