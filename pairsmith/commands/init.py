"""`pairsmith init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.new_project import EXAMPLES, template_folder, write_project
from pairsmith.session import Session, on_project
from pairsmith.teacher_search import EMBEDDED, find_teacher
from schemas.errors import UsageError

if TYPE_CHECKING:
    from curate.split import Shortage


@click.command()
@click.argument("folder_named", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--example", metavar="NAME", help=f"Begin with an example: {', '.join(EXAMPLES)}.")
@click.option("--embedded", is_flag=True, help="Take the embedded teacher without looking for another.")
@on_project
def command(session: Session, folder_named: Path | None, example: str | None, embedded: bool) -> None:
    """Make a project in DIR: a commented pairsmith.toml and seeds.

    It looks for a teacher: an API key in the environment, then vLLM or Ollama on this machine, else the embedded model.
    """
    if session.overrides:
        raise UsageError("init takes no --set.", fix="Change the spec file that it writes.")
    folder = folder_named or session.folder
    template = template_folder(example)
    teacher = EMBEDDED if embedded else find_teacher()
    written = write_project(folder, template, teacher)
    short = _shortages(folder)
    go = "pairsmith run" if folder.resolve() == Path.cwd() else f"pairsmith run --project {folder}"
    names = [path.relative_to(folder).as_posix() for path in written]
    data = {
        "folder": str(folder),
        "files": names,
        "teacher": {"url": teacher.url, "model": teacher.model, "why": teacher.why, "tried": teacher.tried},
        "shortages": [shortage.what for shortage in short],
        "next": go,
    }
    first = "" if example else "Put your own texts into seeds.jsonl and your style into pairsmith.toml, then:\n"
    session.answer(
        data,
        f"Made a project in {folder.resolve()}: {', '.join(names)}\n",
        f"Teacher   {teacher.model} ({teacher.url})\n          {teacher.why}",
        *(f"          ({line})" for line in teacher.tried),
        *(f"\nAs it is: {shortage.what}.\n          {shortage.fix}" for shortage in short),
        f"\n{first}  {go}",
    )


def _shortages(folder: Path) -> list[Shortage]:
    """The uses that the seeds just written are too few for."""
    from curate.split import shortages, with_splits
    from schemas.spec_file import load
    from synth.seeds import read_seeds

    project = load(folder)
    seeds = read_seeds(project.spec.seeds, project.folder).seeds
    return shortages(with_splits(seeds, project.spec.split), project.spec)
