"""`pairsmith doctor`."""

from __future__ import annotations

import click

from pairsmith.terminal.session import Session, on_project


@click.command()
@click.option("--ask", is_flag=True, help="Also send each teacher one real request of at most 64 tokens.")
@on_project
def command(session: Session, ask: bool) -> int:
    """Check this machine and this project, and explain how to fix what does not work.

    Without --ask this costs nothing: a teacher is only asked for its list of models. The exit code is 1 if the project
    cannot run.
    """
    from rich.table import Table
    from rich.text import Text

    from pairsmith.checks.health import findings

    marks = {
        "ok": Text(" ok ", style="green"),
        "warn": Text("warn", style="yellow"),
        "fail": Text("fail", style="bold red"),
    }
    checks = []
    with session.progress() as progress:
        say = session.say_waiting
        for check in findings(session.folder, session.overrides, ask=ask, say=say, progress=progress):
            finding = check._replace(fix=session.with_project_options(check.fix))
            checks.append(finding)
            row = Table.grid(padding=(0, 2))
            row.add_column(width=4)
            row.add_column(width=9, style="bold")
            row.add_column(overflow="fold")
            row.add_row(marks[finding.state], finding.about, Text(finding.what))
            if finding.fix:
                row.add_row("", "", Text(finding.fix, style="dim"))
            session.show(row)
    failed = [finding.about for finding in checks if finding.state == "fail"]
    is_missing = any(finding.about == "project" for finding in checks)
    can = "This machine can run a project; there is none here yet." if is_missing else "This project can run."
    summary = f"\n{', '.join(failed)} must be fixed before this can run." if failed else f"\n{can}"
    session.answer({"ok": not failed, "findings": [finding._asdict() for finding in checks]}, summary)
    return 1 if failed else 0
