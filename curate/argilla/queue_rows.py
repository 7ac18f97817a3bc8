"""The rows of a queue that already exists: withdrawing those that are no longer needed there, and correcting Argilla's
count of answers."""

from __future__ import annotations

from curate.argilla.client import Argilla, Queue
from schemas.progress import Progress, reporting
from schemas.records import Json
from schemas.streamed import batched

_RECOUNT_BATCH = 100  # rows per request


def reconcile(
    argilla: Argilla, queue: Queue, needed: set[str], sampled: set[str], progress: Progress, *, move: bool
) -> tuple[set[str], int]:
    """Withdraw the `sampled` rows that nobody has started to answer and that are not `needed`, or with `move` all of
    them, because they go to another queue; return the ids of the remaining rows, and the number withdrawn."""
    records = reporting(argilla.records(queue), progress, "rows compared")
    rows = {record["external_id"]: record for record in records}
    if any(rows[id_]["status"] == "completed" for id_ in needed & rows.keys()):
        _recount(argilla, queue, needed)
    wanted = set() if move else needed
    unwanted = {id_: str(record["id"]) for id_, record in rows.items() if id_ in sampled and id_ not in wanted}
    if not unwanted:
        return set(rows), 0
    removed = argilla.withdraw(queue, unwanted.values())
    return {record["external_id"] for record in argilla.records(queue)}, removed


def _recount(argilla: Argilla, queue: Queue, pair_ids: set[str]) -> None:
    """Make Argilla recount the answers of the rows `pair_ids` that are marked completed but lack answers.

    This happens if a user was deleted together with their answers; Argilla would never show such a row again.
    """
    wrong = [
        {"id": str(row["id"])}
        for row in argilla.records(queue, responses=True)
        if row["external_id"] in pair_ids
        and row["status"] == "completed"
        and _count_submitted(row) < queue.min_submitted
    ]
    for items in batched(wrong, _RECOUNT_BATCH):  # an update with only the id changes nothing but the count
        argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": items})


def awaits_answers(argilla: Argilla, queue: Queue, pair_ids: set[str], needed: int) -> bool:
    """Whether one of the rows `pair_ids` of a queue has fewer than `needed` answers."""
    rows = argilla.records(queue, responses=True) if pair_ids else ()
    return any(row["external_id"] in pair_ids and _count_submitted(row) < needed for row in rows)


def _count_submitted(row: Json) -> int:
    return sum(response["status"] == "submitted" for response in row.get("responses") or ())
