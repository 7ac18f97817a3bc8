"""`pairsmith report`."""

from __future__ import annotations

from pathlib import Path

import click

from pairsmith.terminal.session import Session, on_project

_NAMED = 5  # missing files that are listed by name


@click.command()
@click.option(
    "--from",
    "evidence",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Render an evidence file again. Fails if a hash in it does not match.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page to write; by default report.html in the project.",
)
@on_project
def command(session: Session, evidence: Path | None, out: Path | None) -> None:
    """Write report.html and evidence.json from the store, or render the report of an evidence file.

    The evidence file holds every number and every answer of the report, and the SHA-256 of the spec, the dataset, the
    adapter and the evaluation. With --from, the files that are present are compared with it first; no store is needed.
    """
    from rich.markup import escape

    from pairsmith.report import render_evidence, write_report
    from pairsmith.stages.export import EVIDENCE, REPORT

    page = out or session.folder / REPORT
    if evidence is None:
        project = session.project()
        with session.store(project, write=False) as store, session.progress() as progress:
            progress("report", {"message": "reading the rows and the ledger"})
            write_report(project, store, page)
        written = page.with_name(EVIDENCE)
        names = {"report": str(page), "evidence": str(written)}
        session.answer({"command": "report", **names}, escape(f"report    {page}\nevidence  {written}"))
        return
    checked = render_evidence(evidence, page, (session.folder,))
    ellipsis = ["..."] if len(checked.missing) > _NAMED else []
    absent = ", ".join([*checked.missing[:_NAMED], *ellipsis])
    missing = f"; {len(checked.missing)} missing here, so not compared: {absent}" if absent else ""
    session.answer(
        {"command": "report", "report": str(page), "same": checked.same, "not_at_hand": checked.missing},
        escape(f"report    {page}\nevidence  unchanged; {len(checked.same)} files match it{missing}"),
    )
