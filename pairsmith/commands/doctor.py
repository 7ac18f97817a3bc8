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
    from rich.text import Text

    from pairsmith.checks.health import findings
    from pairsmith.terminal.screen import Columns

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
            lines = [(marks[finding.state], Text(finding.about, style="bold"), Text(finding.what))]
            lines += [(Text(), Text(), Text(finding.fix, style="dim"))] if finding.fix else []
            session.show(Columns(lines, 4, 9))
    failed = [finding.about for finding in checks if finding.state == "fail"]
    is_missing = any(finding.about == "project" for finding in checks)
    can = "This machine can run a project; there is none here yet." if is_missing else "This project can run."
    summary = f"\n{', '.join(failed)} must be fixed before this can run." if failed else f"\n{can}"
    session.answer({"ok": not failed, "findings": [finding._asdict() for finding in checks]}, summary)
    return 1 if failed else 0
