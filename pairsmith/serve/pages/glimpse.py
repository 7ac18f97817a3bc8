"""How the newest rows of a running generation fare with the gates: curation counts them all, but only later."""

from __future__ import annotations

from collections import Counter, OrderedDict
from threading import Lock
from typing import NamedTuple

from curate.gates import GateStep, gates_for, judge
from pairsmith.serve.pages.figures import Snapshot
from pairsmith.serve.rows_view import RowsView
from schemas.project import Project

ROWS = 40
_KEPT = 2_000


class Glimpse(NamedTuple):
    """Of the newest rows: how many were judged, how many pass the built-in gates, and why the others do not, by
    code."""

    judged: int
    passed: int
    reasons: dict[str, int]

    @property
    def says(self) -> str:
        """What the figures are of."""
        newest = f"{self.passed} of the newest {self.judged} rows"
        return f"{newest} pass the built-in gates; curation judges every row, and by more."


def harmless_gates(project: Project) -> list[GateStep]:
    """The gates of a spec that run no pattern, schema or function of its writer: those run in a job's process alone,
    where one that never ends hurts nobody else."""
    own = {"must": (), "must_not": (), "json_schema": None, "user": ()}
    task = project.spec.task
    if task.answer_schema is not None or task.kind == "extract":
        return []
    return gates_for(task, project.spec.curate.gates.model_copy(update=own), project.folder, project.spec.exemplars)


_lock = Lock()
_judged: OrderedDict[tuple[str, str], str] = OrderedDict()  # (pair, spec) -> the code of why it does not pass, or ""


def glimpse(now: Snapshot, views: RowsView) -> Glimpse | None:
    """The newest rows under the gates of the spec; None before there are any. A row is judged once."""
    rows = [row for row in views.page(now.slug, sort="newest", limit=ROWS).rows if row.state != "accepted"]
    ids = [row.pair_id for row in rows if row.pair_id]
    if now.store is None or not rows:
        return None
    key = now.project.spec_hash
    with _lock:
        unknown = [id_ for id_ in ids if (id_, key) not in _judged]
    if unknown:
        steps = harmless_gates(now.project)
        for pair in now.store.pairs(unknown):
            verdicts = judge(pair, steps)
            why = next((verdict.reason.code for verdict in verdicts if verdict.keep is not True), "")
            with _lock:
                _judged[pair.id, key] = why
                while len(_judged) > _KEPT:
                    _judged.popitem(last=False)
    with _lock:
        codes = [_judged.get((row.pair_id, key), "") if row.pair_id else row.code or "failed" for row in rows]
    return Glimpse(len(codes), codes.count(""), dict(Counter(code for code in codes if code)))
