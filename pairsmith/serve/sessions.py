"""Browser sessions: a random token in a cookie; the table stores only its hash."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from pairsmith.serve.access import Caller
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.database import hash_secret, row, rows, sessions, stamp, write
from schemas.records import now

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=90)
_SEEN_EVERY = timedelta(minutes=1)


def cookie_name(secure: bool) -> str:
    """`__Host-` binds a cookie to this host over TLS. Browsers refuse it over http, which only this machine uses."""
    return "__Host-pairsmith" if secure else "pairsmith"


class Sessions:
    """The sessions of signed-in browsers."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts, self.engine = accounts, accounts.engine

    def begin(self, user: str, *, address: str, agent: str) -> str:
        """Create a session with a new token, so that a token planted beforehand (session fixation) is worthless."""
        token = secrets.token_urlsafe(32)
        new = {"hash": hash_secret(token), "user": user, "csrf": secrets.token_urlsafe(24), "created": stamp()}
        new |= {"seen": stamp(), "address": address[:64], "agent": agent[:200]}
        write(self.engine, sa.insert(sessions).values(new))
        return token

    def caller(self, token: str) -> Caller | None:
        """The Caller that a cookie stands for; None if the session has ended, was idle too long or is too old."""
        record = row(self.engine, sa.select(sessions).where(sessions.c.hash == hash_secret(token)))
        if record is None:
            return None
        seen, created = datetime.fromisoformat(record["seen"]), datetime.fromisoformat(record["created"])
        name = self.accounts.name(record["user"])
        if name is None or now() - seen > IDLE or now() - created > ABSOLUTE:
            self.end(record["hash"])
            return None
        if now() - seen > _SEEN_EVERY:
            write(self.engine, sa.update(sessions).where(sessions.c.hash == record["hash"]).values(seen=stamp()))
        roles = self.accounts.roles(record["user"])
        return Caller(record["user"], name, roles, csrf=record["csrf"], by_cookie=True, session=record["hash"])

    def end(self, session: str) -> None:
        """End the session with this token hash."""
        write(self.engine, sa.delete(sessions).where(sessions.c.hash == session))

    def end_all(self, user: str) -> None:
        """Sign a user out everywhere."""
        write(self.engine, sa.delete(sessions).where(sessions.c.user == user))

    def of(self, user: str, present: str | None) -> list[dict[str, Any]]:
        """A user's sessions, newest first. The id shown is the hash of the token's hash, so it gives no access."""
        query = sa.select(sessions).where(sessions.c.user == user).order_by(sessions.c.seen.desc())
        fields = ("created", "seen", "address", "agent")
        return [
            {"id": shown_id(record["hash"]), "present": record["hash"] == present}
            | {name: record[name] for name in fields}
            for record in rows(self.engine, query)
        ]

    def end_one(self, user: str, session_id: str) -> bool:
        """End a session by its shown id; False if the user has no such session."""
        query = sa.select(sessions.c.hash).where(sessions.c.user == user)
        matching = [record["hash"] for record in rows(self.engine, query) if shown_id(record["hash"]) == session_id]
        for session in matching:
            self.end(session)
        return bool(matching)


def shown_id(session: str) -> str:
    """The id under which users see a session."""
    return hash_secret(session)[:16]


def set_cookie(response: Response, token: str, *, secure: bool) -> None:
    """Set the session cookie in the browser."""
    name, age = cookie_name(secure), int(ABSOLUTE.total_seconds())
    response.set_cookie(name, token, max_age=age, path="/", secure=secure, httponly=True, samesite="lax")


def clear_cookie(response: Response, *, secure: bool) -> None:
    """Delete the session cookie in the browser."""
    response.delete_cookie(cookie_name(secure), path="/", secure=secure, httponly=True, samesite="lax")
