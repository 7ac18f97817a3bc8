"""The audit: an append-only table of what people did and what they were refused."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pairsmith.serve.access import Caller
from pairsmith.serve.database import audit, rows, stamp, users, write


class Audit:
    """Writes and reads the audit. The database itself refuses to change or delete a line of it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(
        self,
        caller: Caller,
        *,
        address: str,
        action: str,
        target: str,
        status: int,
        request_id: str,
        project: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """One line. `before` and `after` are hashes of what was changed."""
        row = {"at": stamp(), "user": caller.user, "key": caller.key, "address": address[:64], "action": action[:80]}
        target = target[:300].replace("\0", "\ufffd")  # PostgreSQL keeps no zero byte
        row |= {"project": project and project[:80], "target": target, "request_id": request_id}
        row |= {"before": before, "after": after}
        write(self.engine, sa.insert(audit).values(status=status, **row))

    def page(
        self, *, before: int | None, limit: int, project: str | None, user: str | None, action: str | None
    ) -> list[dict[str, Any]]:
        """Lines from the newest on, those with a number under `before`. An action is the same on a page and over the
        API."""
        query = sa.select(audit, users.c.name).outerjoin(users, users.c.id == audit.c.user)
        for column, value in ((audit.c.project, project), (audit.c.user, user)):
            query = query if value is None else query.where(column == value)
        if action is not None:
            name = action.strip().replace(" ", "_").removeprefix("page_")
            query = query.where(audit.c.action.in_((name, f"page_{name}")))
        query = query if before is None else query.where(audit.c.number < before)
        return [dict(row) for row in rows(self.engine, query.order_by(audit.c.number.desc()).limit(limit))]
