"""A standard term: contamination for leak, in the verdicts of one step and in their totals. Ids do not change.

A user gate may also have a reason called `leak`. The code is therefore renamed only in verdicts of the step that looks
for test seeds, and in the totals of a curation that ran this step (a `run` receipt has the totals of such a curation).
"""

from typing import Any

import sqlalchemy as sa

from schemas.store.migrations.steps import rewrite

revision = "0006"
down_revision = "0005"

_STEP = ("pool/leak@1", "pool/contamination@1")
_CODE = ("leak", "contamination")


def upgrade() -> None:
    by, code, body, command = (sa.column(name, sa.Text()) for name in ("by", "code", "body", "command"))
    rewrite("verdicts", lambda body: _renamed(body, "by"), by == _STEP[0], by=_STEP[1])
    here = (code == _CODE[0]) & body.contains(f'"{_STEP[0]}"')
    rewrite("row_states", lambda body: _renamed(body, "step"), here, code=_CODE[1])
    rewrite("receipts", _receipt, command.in_(("curate", "run")))


def _renamed(body: dict[str, Any], step: str) -> None:
    body[step] = _STEP[1]
    reason = body["reason"]
    if isinstance(reason, str):  # as in schema 0002
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
