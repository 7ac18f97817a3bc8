"""`pairsmith registry`: released versions of the model, aliases and rollback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.terminal.session import Session, on_project

if TYPE_CHECKING:
    from pairsmith.registry import Registry


@click.group()
def command() -> None:
    """Manage released versions of the model in `registry/` and the aliases that point to them."""


def _registry(session: Session) -> tuple[Path, Registry]:
    from pairsmith.registry import Registry

    project = session.project()
    return project.folder, Registry(project.folder / "registry" / project.spec.task.name)


def _warn_unproven(session: Session, version: str, verdict: str | None) -> None:
    """Say so if the evaluation of a version did not conclude that it can ship."""
    if verdict != "ship":
        concluded = (
            f"its evaluation concluded {verdict!r}" if verdict else "it comes without the evidence of an evaluation"
        )
        session.say(f"warning: {version} is not proven: {concluded}.")


@command.command(short_help="Release an export as the next version.")
@click.argument("export", type=click.Path(path_type=Path), required=False)
@on_project
def add(session: Session, export: Path | None) -> None:
    """Copy EXPORT (default: the project's `export` folder) into the registry as the next version, and point `latest` to
    it."""
    from rich.markup import escape

    from pairsmith.registry import verdict_in

    folder, registry = _registry(session)
    version = registry.add(export or folder / "export")
    verdict = verdict_in(registry.folder / version)
    _warn_unproven(session, version, verdict)
    data = {"command": "registry add", "version": version, "verdict": verdict}
    session.answer(data, escape(f"{version} in {registry.folder}"))


@command.command("list", short_help="List versions and their aliases.")
@on_project
def list_(session: Session) -> None:
    """List the versions, oldest first, with the aliases that point to them."""
    _, registry = _registry(session)
    versions = registry.listed()
    lines = [f"{one['version']}  {', '.join(one['aliases']) or '-'}  adapter {one['adapter'][:12]}" for one in versions]
    nothing = "nothing has been released yet"
    session.answer({"command": "registry list", "versions": versions}, "\n".join(lines) or nothing)


@command.command(short_help="Point an alias to a version.")
@click.argument("alias")
@click.argument("version")
@on_project
def alias(session: Session, alias: str, version: str) -> None:
    """Point ALIAS, such as `production`, to VERSION, such as v2."""
    _, registry = _registry(session)
    verdict = registry.point(alias, version)
    _warn_unproven(session, version, verdict)
    session.answer({"command": "registry alias", "alias": alias, "version": version}, f"{alias} is {version}")


@command.command(short_help="Point an alias back to its previous version.")
@click.argument("alias", default="latest")
@on_project
def rollback(session: Session, alias: str) -> None:
    """Point ALIAS (default: latest) back to its previous version."""
    _, registry = _registry(session)
    version = registry.roll_back(alias)
    session.answer({"command": "registry rollback", "alias": alias, "version": version}, f"{alias} is {version}")


@command.command(short_help="Upload a version to a hub.")
@click.argument("repository")
@click.option("--version", metavar="VERSION", default="latest", show_default=True, help="A version or an alias.")
@click.option("--public", is_flag=True, help="Make the repository public; it is private by default.")
@on_project
def push(session: Session, repository: str, version: str, public: bool) -> None:
    """Upload the model of a version to REPOSITORY on the Hugging Face hub, for example me/my-model."""
    from pairsmith import registry as released
    from schemas.spec.export import ExportSettings

    _, registry = _registry(session)
    folder = registry.folder_of(version)
    project = session.project()
    if project.spec.export != ExportSettings():
        with session.store(project, write=False) as store:
            released.refuse_unlicensed_model(project, store, folder)
    verdict = released.verdict_in(folder)
    address = released.push(folder, repository, private=not public)
    _warn_unproven(session, folder.name, verdict)
    session.answer({"command": "registry push", "url": address}, address)
