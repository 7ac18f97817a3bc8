"""`pairsmith erase`."""

from __future__ import annotations

import sys
from typing import Any

import click

from pairsmith.terminal.session import Session, on_project
from schemas.errors import UsageError


@click.command()
@click.option(
    "--source", metavar="SOURCE", help="A seed file as named in the store, one row of it (FILE:14), or a folder."
)
@click.option("--person", metavar="NAME", help="A reviewer, by name or id.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@on_project
def command(session: Session, *, source: str | None, person: str | None, yes: bool) -> None:
    """Erase a source, or the answers of a reviewer, for good: from the store, from the files pairsmith wrote and from
    Argilla.

    Models that learned from it are listed, not deleted. Your seed files are not touched: remove the rows there too, or
    the next `generate` reads them again.
    """
    from pairsmith.erasing import erased
    from pairsmith.terminal.screen import facts

    if (source is None) == (person is None):
        raise UsageError("erase needs either --source or --person.", fix="Pass one of them.")
    project = session.project()
    if not yes:
        if session.write_json or not sys.stdin.isatty():
            raise UsageError("erasing needs a confirmation.", why="It cannot be undone.", fix="Add --yes.")
        if not click.confirm(f"Erase {source or person} from {project.folder.resolve()} for good?", err=True):
            click.echo("Nothing was erased.", err=True)
            return
    with session.store(project) as store, session.progress() as progress:
        data = erased(project, store, source=source, person=person, progress=progress)
    reminder = ("source", _FILE_STAYS) if source else ("person", _DECISIONS_GO)
    session.answer({"command": "erase", **data}, facts(session.lines([*_lines(data), reminder]), width=10))


_FILE_STAYS = (
    "your file is unchanged: remove it there too, or the next `pairsmith generate` reads and asks about it again"
)
_DECISIONS_GO = "the answers no longer count: the next `pairsmith curate` may accept rows that only they rejected"
_NOUNS = {"seeds": ("seed", "seeds"), "pairs": ("pair", "pairs"), "reviews": ("review", "reviews")}


def _lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    from schemas.wording import counted

    records = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in data["records"].items())
    files = f"deleted: {', '.join(data['files'])}; the stage that made them writes them again"
    lines = [
        ("erased", ", ".join(counted(data[key], *nouns) for key, nouns in _NOUNS.items())),
        ("records", records),
        ("files", files if data["files"] else "none contained any of its texts"),
        ("argilla", data["argilla"]),
    ]
    for of in data["models"]:
        known = "may have learned from it: its export.json is damaged or missing"
        known = known if of["id"] == "unknown" else f"({of['kind']} {of['id'][:12]}) learned from it"
        lines.append(("model", f"{of['path']} {known}"))
    lines += [("left in", path) for path in data["left_in_files"]]
    proof = "a scan of the store finds no trace" if not data["left_in_store"] else "the store still holds some of it"
    if data["short_texts"]:
        proof += f"; {counted(len(data['short_texts']), 'text is', 'texts are')} too short to search for"
    if data["shared_texts"]:
        one = len(data["shared_texts"]) == 1
        shared = counted(len(data["shared_texts"]), "text also appears", "texts also appear")
        proof += f"; {shared} in rows of other sources, and {'stays' if one else 'stay'} there"
    return [*lines, ("proof", proof)]
