"""The report: one HTML file that opens offline and says what the pipeline did, what it proved, and what it did not,
and beside it the evidence that it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairsmith.stages.export import EVIDENCE
from schemas.errors import PairsmithError
from schemas.files import replaced
from schemas.project import Project
from schemas.store import Store
from schemas.store.latest import present

if TYPE_CHECKING:
    from pairsmith.report.evidence_file import CheckedEvidence


def write_report(project: Project, store: Store, out: Path) -> Path:
    """Write the report of what the store holds now as the file `out`, and `evidence.json` beside it; return its path.

    Stages that have not run say so. Raises PairsmithError if a file cannot be written.
    """
    from pairsmith.report.evidence_file import write_evidence
    from pairsmith.report.gather import gather
    from pairsmith.report.page import render

    evidence = gather(project, store)
    _write(out, render(evidence))
    write_evidence(project, evidence, present(store).values(), out.with_name(EVIDENCE))
    return out


def render_evidence(path: Path, out: Path, folders: Sequence[Path] = ()) -> CheckedEvidence:
    """Write the report of an evidence file as `out`; see `read_evidence`."""
    from pairsmith.report.evidence_file import read_evidence
    from pairsmith.report.page import render

    checked = read_evidence(path, folders)
    _write(out, render(checked.evidence))
    return checked


def _write(out: Path, page: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(out) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PairsmithError(
            f"the report cannot be written: {error.strerror or error}.",
            where=str(out),
            fix="Free space, or correct the permissions of the folder, and run it again.",
        ) from None
