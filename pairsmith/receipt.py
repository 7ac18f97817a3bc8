"""Receipts: what a command did, in the store and in the project's `receipts/`, whether it went well or not."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pairsmith
from schemas.errors import NoWork, PairsmithError, RowCountMismatch, StoreError
from schemas.records import Counts, Receipt, Usage, now
from schemas.spec_file import Project
from schemas.store import Store

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "aiohttp", "sqlalchemy", "rensa")


@dataclass
class Draft:
    """What a command fills in while it works."""

    counts: Counts = field(default_factory=Counts)
    reasons: dict[str, int] = field(default_factory=dict)
    calls_sent: int = 0
    calls_reused: int = 0
    usage: Usage = field(default_factory=Usage)
    usd: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The draft for a program."""
        return {
            **self.counts.model_dump(),
            "reasons": self.reasons,
            "calls_sent": self.calls_sent,
            "calls_reused": self.calls_reused,
            "usage": self.usage.model_dump(),
            "usd": self.usd,
            "seconds": self.seconds,
            "facts": self.facts,
        }


@contextmanager
def recording(project: Project, store: Store, command: str) -> Iterator[Draft]:
    """Give a draft to fill in; at the end check it and write the receipt.

    Raises RowCountMismatch if the rows do not add up and NoWork if there was no row or every row failed: then the
    receipt says `ok = false`, as it does when the command itself raises.
    """
    draft, started, clock_s = Draft(), now(), time.monotonic()
    error: BaseException | None = None
    try:
        yield draft
        _check(command, draft.counts, draft.reasons)
    except BaseException as raised:
        error = raised
        raise
    finally:
        draft.seconds = round(time.monotonic() - clock_s, 3)
        facts = draft.facts if error is None else {**draft.facts, "error": _told(error)}
        receipt = Receipt(
            command=command,
            ok=error is None,
            counts=draft.counts,
            reasons=draft.reasons,
            calls_sent=draft.calls_sent,
            calls_reused=draft.calls_reused,
            usage=draft.usage,
            usd=draft.usd,
            seconds=draft.seconds,
            started=started,
            spec_hash=project.spec_hash,
            versions=versions(),
            facts=facts,
        )
        # A full disk is already the error being raised; a second one from its receipt would hide it.
        hidden = (StoreError, OSError) if isinstance(error, PairsmithError) else ()
        with suppress(*hidden):
            store.write(receipt)
            _write_file(project.folder / "receipts", receipt)


def _told(error: BaseException) -> str:
    return "stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__


def _check(command: str, counts: Counts, reasons: dict[str, int]) -> None:
    if not counts.conserved:
        raise RowCountMismatch(
            f"{command} took {counts.rows_in} rows in, but {counts.accepted} accepted + {counts.rejected} rejected +"
            f" {counts.waiting} waiting + {counts.failed} failed = "
            f"{counts.accepted + counts.rejected + counts.waiting + counts.failed}.",
            why="A row has vanished or was counted twice; no figure of this run can be trusted.",
            fix="This is a defect of pairsmith; please report it with the receipt.",
        )
    if counts.rows_in == 0:
        raise NoWork(f"{command} had no row to work on.", fix="`pairsmith status` shows what is in the store.")
    if counts.failed == counts.rows_in:
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))
        raise NoWork(
            f"{command}: all {counts.rows_in} rows failed" + (f" ({told})." if told else "."),
            fix="`pairsmith doctor` checks the teacher; --retry-failed asks again.",
        )


def _write_file(folder: Path, receipt: Receipt) -> None:
    folder.mkdir(exist_ok=True)
    number = max((int(p.name[:4]) for p in folder.glob("[0-9][0-9][0-9][0-9]-*.json")), default=0) + 1
    path = folder / f"{number:04d}-{receipt.command}.json"
    path.write_text(receipt.model_dump_json(indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of what can change a result; a package that is not installed is left out."""
    found = {"pairsmith": pairsmith.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
