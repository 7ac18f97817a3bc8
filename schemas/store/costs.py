"""The cost of the ledger, computed from its rows, so that it survives the end of a process."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from schemas.money import Cost
from schemas.records import Usage
from schemas.store import tables

_NAMES = ("stage", "teacher", "prompt")
_REFUSED = ("refused", "declined", "unsettled", "malformed")  # may have no tokens


def queries(calls_from: int = -1, holds_from: int = -1) -> tuple[Any, Any]:
    """The queries for the sums of calls and of open holds, after these positions, by stage, teacher and prompt."""
    c, h = tables.calls.c, tables.holds.c
    sums = (sa.func.sum(col) for col in (c.prompt_tokens, c.completion_tokens, c.cached_tokens, c.usd, c.unpriced))
    requests, counted, refused = (
        sa.func.count(sa.distinct(of))
        for of in (
            c.request_id,
            sa.case((c.prompt_tokens > 0, c.request_id)),  # no prompt has none
            sa.case((sa.and_(c.prompt_tokens == 0, c.status.in_(_REFUSED)), c.request_id)),
        )
    )
    calls = sa.select(*(c[name] for name in _NAMES), requests, requests - counted - refused, *sums)
    holds = sa.select(*(h[name] for name in _NAMES), sa.func.sum(h.open), sa.func.coalesce(sa.func.sum(h.usd), 0.0))
    return (
        calls.where(c.position > calls_from).group_by(*(c[name] for name in _NAMES)),
        holds.where(h.position > holds_from, h.open > 0).group_by(*(h[name] for name in _NAMES)),
    )


def costs_of(calls: list[Any], holds: list[Any]) -> list[Cost]:
    """Combine the results of `queries` into one cost for each stage, teacher and prompt, the most expensive first."""
    lines: dict[tuple[str, ...], Cost] = {}
    for *names, requests, uncounted, prompt, completion, cached, usd, unpriced in calls:
        usage = Usage(prompt_tokens=int(prompt), completion_tokens=int(completion), cached_tokens=int(cached))
        named = dict(zip(_NAMES, names, strict=True))
        numbers = {"requests": int(requests), "uncounted": max(0, int(uncounted)), "unpriced": int(unpriced)}
        lines[tuple(names)] = Cost(**named, **numbers, usage=usage, usd=float(usd))
    for *names, lost, usd in holds:
        line = lines.get(tuple(names)) or Cost(**dict(zip(_NAMES, names, strict=True)))
        lines[tuple(names)] = line.model_copy(update={"lost": int(lost), "reserved": float(usd)})
    return sorted(lines.values(), key=lambda cost: (-cost.usd, cost.stage, cost.teacher, cost.prompt))
