"""`pairsmith export`."""

from __future__ import annotations

from pathlib import Path

import click

from pairsmith.session import Session, on_project


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write; `export` in the project if absent.")
@on_project
def command(session: Session, out: Path | None) -> None:
    """Copy the dataset, the tuned adapter and the report into a folder of their own.

    An export that is there already is replaced; anything else in the way is left alone and told.
    """
    from pairsmith.export import export_project
    from pairsmith.screen import facts

    project = session.project()
    with session.store(project) as store:
        draft, written = export_project(project, store, out or project.folder / "export")
    session.answer(
        {"command": "export", **draft.as_json()}, facts([(name, str(path)) for name, path in written.items()])
    )
