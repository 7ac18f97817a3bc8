"""The report: one HTML file that opens offline and says what the pipeline did, what it proved, and what it did not."""

from __future__ import annotations

from pathlib import Path

from pairsmith.report.gather import gather
from pairsmith.report.page import render
from schemas.errors import PairsmithError
from schemas.project import Project
from schemas.store import Store


def write_report(project: Project, store: Store, out: Path) -> Path:
    """Write the report of what the store holds now as the file `out`, and return its path.

    Stages that have not run say so. Raises PairsmithError if the file cannot be written.
    """
    page = render(gather(project, store))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PairsmithError(
            f"the report cannot be written: {error.strerror or error}.",
            where=str(out),
            fix="Free space, or correct the permissions of the folder, and run it again.",
        ) from None
    return out
