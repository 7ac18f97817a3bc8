"""The field's word: contamination for leak, in what one step said and in the sums of it. Ids do not change.

A gate of a user's own may have a reason called `leak` too: it is renamed only where the step that looks for test seeds
said it, and in the sums of a curation that had this step (`run` sums up such a curation).
"""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STEP = ("pool/leak@1", "pool/contamination@1")
_CODE = ("leak", "contamination")
_CHUNK = 2_000


def upgrade() -> None:
    verdicts = sa.table("verdicts", sa.column("by"), sa.column("position"), sa.column("body"))
    _rewrite(verdicts, verdicts.c.by == _STEP[0], lambda body: _renamed(body, "by"), by=_STEP[1])
    states = sa.table("row_states", sa.column("code"), sa.column("position"), sa.column("body"))
    here = (states.c.code == _CODE[0]) & states.c.body.contains(f'"{_STEP[0]}"')
    _rewrite(states, here, lambda body: _renamed(body, "step"), code=_CODE[1])
    receipts = sa.table("receipts", sa.column("command"), sa.column("position"), sa.column("body"))
    _rewrite(receipts, receipts.c.command.in_(("curate", "run")), _receipt)


def _renamed(body: dict[str, Any], step: str) -> None:
    body[step] = _STEP[1]
    reason = body["reason"]
    if isinstance(reason, str):  # as schema 0002 spelt it
        body["reason"] = _CODE[1] + reason.removeprefix(_CODE[0]) if reason.startswith(_CODE[0]) else reason
    elif reason["code"] == _CODE[0]:
        reason["code"] = _CODE[1]


def _receipt(body: dict[str, Any]) -> None:
    steps = body.get("facts", {}).get("steps")
    if body["command"] == "curate":
        if not steps or _STEP[0] not in steps:
            return
        body["facts"]["steps"] = {_STEP[1] if name == _STEP[0] else name: tally for name, tally in steps.items()}
    reasons: dict[str, int] = {}
    for code, count in body["reasons"].items():
        name = _CODE[1] if code == _CODE[0] else code
        reasons[name] = reasons.get(name, 0) + count
    body["reasons"] = reasons


def _rewrite(
    table: sa.TableClause, where: sa.ColumnElement[bool], change: Callable[[dict[str, Any]], None], **columns: str
) -> None:
    """Change the JSON of the rows that `where` names, and their `columns`, a chunk at a time."""
    connection, c = op.get_bind(), table.c
    values = {"body": sa.bindparam("changed"), **columns}
    update = sa.update(table).where(c.position == sa.bindparam("row")).values(values)
    query, last = sa.select(c.position, c.body).where(where).order_by(c.position).limit(_CHUNK), -1
    while rows := connection.execute(query.where(c.position > last)).all():
        changed = []
        for position, text in rows:
            body = json.loads(text)
            change(body)
            changed.append({"row": position, "changed": json.dumps(body, ensure_ascii=False, separators=(",", ":"))})
        connection.execute(update, changed)
        last = rows[-1].position
