"""Standard terms: input and output for simple and enhanced, fingerprint for scope. Ids do not change."""

from typing import Any

from alembic import op

from schemas.store.migrations.steps import rewrite

revision = "0004"
down_revision = "0003"

_KINDS = {"simple": "input", "enhanced": "output"}


def upgrade() -> None:
    for table in ("candidates", "verdicts"):
        op.alter_column(table, "scope", new_column_name="fingerprint")
    rewrite("seeds", _seed)
    rewrite("pairs", lambda body: _rename(body, simple="input", enhanced="output"))
    rewrite("candidates", lambda body: _rename(body, scope="fingerprint"))
    rewrite("verdicts", lambda body: _rename(body, scope="fingerprint"))


def _seed(body: dict[str, Any]) -> None:
    body["kind"] = _KINDS.get(body["kind"], body["kind"])


def _rename(body: dict[str, Any], **names: str) -> None:
    for old, new in names.items():
        if old in body:
            body[new] = body.pop(old)
