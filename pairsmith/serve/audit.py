"""The audit: an append-only table of what users did and what they were refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pairsmith.serve.access import Caller
from pairsmith.serve.database import audit, rows, stamp, users, write


class Audit:
    """Writes and reads the audit. The database itself refuses to change or delete its rows."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(self, caller: Caller, line: Mapping[str, Any]) -> None:
        """Append one row.

        `line` has `address`, `action`, `target`, `status`, `request_id`, `project`, and the hashes `before` and `after`
        of what was changed. The last three may be None.
        """
        row = {"at": stamp(), "user": caller.user, "key": caller.key, **line}
        row |= {"address": line["address"][:64], "action": line["action"][:80]}
        row["target"] = line["target"][:300].replace("\0", "\ufffd")  # PostgreSQL cannot store a zero byte
        row["project"] = line["project"] and line["project"][:80]
        write(self.engine, sa.insert(audit).values(row))

    def page(
        self, *, before: int | None, limit: int, project: str | None, user: str | None, action: str | None
    ) -> list[dict[str, Any]]:
        """Rows with a number below `before`, newest first. An action done on a page matches the same action of the
        API."""
        query = sa.select(audit, users.c.name).outerjoin(users, users.c.id == audit.c.user)
        for column, value in ((audit.c.project, project), (audit.c.user, user)):
            query = query if value is None else query.where(column == value)
        if action is not None:
            name = action.strip().replace(" ", "_").removeprefix("page_")
            query = query.where(audit.c.action.in_((name, f"page_{name}")))
        query = query if before is None else query.where(audit.c.number < before)
        return [dict(row) for row in rows(self.engine, query.order_by(audit.c.number.desc()).limit(limit))]
