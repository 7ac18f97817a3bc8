"""Receipts record what a command did, successful or not, in the store and in the project's `receipts/` folder."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic

import pairsmith
from pairsmith.receipts.outcome import CommandOutcome, OutcomeT
from schemas import tracing
from schemas.errors import Interrupted, NoWork, PairsmithError, RowCountMismatch, StoreError
from schemas.money import Cost, total
from schemas.project import Project
from schemas.records import Receipt, now
from schemas.store import Store
from schemas.store.since import costs_since, ends

PACKAGES = (
    *("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "aiohttp", "sqlalchemy"),
    "genai-prices",
)


class Recording(Generic[OutcomeT]):
    """Holds the outcome of a command as far as it is known, so that a receipt can be written however the command
    ends."""

    def __init__(self, outcome: OutcomeT) -> None:
        self.outcome = outcome

    def add(self, **known: Any) -> None:
        """Update the outcome with what is now known."""
        self.outcome = replace(self.outcome, **known)


@contextmanager
def recording(project: Project, store: Store, command: str, outcome: OutcomeT) -> Iterator[Recording[OutcomeT]]:
    """Start with `outcome`; at the end, check what it has become and write the receipt.

    Raises RowCountMismatch if the rows do not add up, and NoWork if there were no rows or every row failed. In these
    cases the receipt has `ok = false`, as it has if the command itself raises.
    """
    record, started, clock_s, before = Recording(outcome), now(), time.monotonic(), ends(store)
    error: BaseException | None = None
    try:
        with tracing.span(f"pairsmith.{command}", {"pairsmith.project": project.spec.task.name}) as set_attributes:
            try:
                yield record
                _check(command, record.outcome)
            finally:
                set_attributes(_figures(record.outcome))
    except BaseException as raised:
        error = raised
        with suppress(StoreError):  # already being raised, or less important than what is
            record.outcome = _with_ledger(record.outcome, costs_since(store, before))
        raise
    finally:
        record.outcome = done = replace(record.outcome, seconds=round(time.monotonic() - clock_s, 3))
        receipt = Receipt(
            command=command,
            ok=error is None,
            counts=done.counts,
            reasons=dict(done.reasons),
            calls_sent=done.calls_sent,
            calls_reused=done.calls_reused,
            usage=done.usage,
            usd=done.usd,
            seconds=done.seconds,
            started=started,
            spec_hash=project.spec_hash,
            versions=versions(),
            facts=done.facts if error is None else {**done.facts_so_far(), **_why_it_ended(error)},
        )
        # If the disk is full, that error is already being raised; a second one from writing the receipt would hide it.
        hidden = (StoreError, OSError) if isinstance(error, PairsmithError) else ()
        with suppress(*hidden):
            store.write(receipt)
            _write_file(project.folder / "receipts", receipt)


def _with_ledger(outcome: OutcomeT, costs: Sequence[Cost]) -> OutcomeT:
    """The outcome of a command that was ended before it had counted its requests: with those in the ledger."""
    whole = total(costs)
    if whole.requests + whole.lost <= outcome.calls_sent:
        return outcome
    return replace(
        outcome,
        calls_sent=whole.requests + whole.lost,
        usage=whole.usage,
        usd=whole.total,
        costs=tuple(cost.as_json() for cost in costs),
    )


def _figures(outcome: CommandOutcome) -> tracing.Facts:
    """What a tracing span records of a command: numbers only."""
    rows = {f"pairsmith.rows.{name}": number for name, number in outcome.counts.model_dump().items()}
    calls = {"pairsmith.calls.sent": outcome.calls_sent, "pairsmith.calls.reused": outcome.calls_reused}
    return {**rows, **calls, "pairsmith.usd": outcome.usd}


def _why_it_ended(error: BaseException) -> dict[str, Any]:
    """The error, and whether a user stopped the command."""
    if isinstance(error, KeyboardInterrupt):
        return {"error": "stopped by Ctrl-C", "stopped": True}
    return {"error": str(error) or type(error).__name__, "stopped": isinstance(error, Interrupted)}


def _check(command: str, outcome: CommandOutcome) -> None:
    counts = outcome.counts
    if not counts.adds_up:
        raise RowCountMismatch(
            f"{command} took in {counts.rows_in} rows, but {counts.accepted} accepted + {counts.rejected} rejected +"
            f" {counts.waiting} waiting + {counts.failed} failed = "
            f"{counts.accepted + counts.rejected + counts.waiting + counts.failed}.",
            why="A row was lost or counted twice; no figure of this run can be trusted.",
            fix="This is a defect of pairsmith; please report it with the receipt.",
        )
    if counts.rows_in == 0 and not outcome.works_on_rows:
        return
    if counts.rows_in == 0:
        raise NoWork(f"{command} had no rows to work on.", fix="`pairsmith status` shows what is in the store.")
    if counts.failed == counts.rows_in:
        most_first = sorted(outcome.reasons.items(), key=lambda item: -item[1])
        given = ", ".join(f"{reason} {count}" for reason, count in most_first)
        most_often = next((str(failure["what"]) for failure in getattr(outcome, "failures", ())), "")
        raise NoWork(
            f"{command}: all {counts.rows_in} rows failed" + (f" ({given})." if given else "."),
            why=f"Most often: {most_often}." if most_often else None,
            fix="`pairsmith rows --state failed` lists them, `pairsmith doctor` checks the teacher. `pairsmith "
            "generate` asks again for rows without an answer, and with --retry-failed for all of them.",
        )


def _write_file(folder: Path, receipt: Receipt) -> None:
    folder.mkdir(exist_ok=True)
    number = max((int(p.name[:4]) for p in folder.glob("[0-9][0-9][0-9][0-9]-*.json")), default=0) + 1
    path = folder / f"{number:04d}-{receipt.command}.json"
    path.write_text(receipt.model_dump_json(indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions of everything that can change a result; packages that are not installed are left out."""
    installed = {"pairsmith": pairsmith.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
