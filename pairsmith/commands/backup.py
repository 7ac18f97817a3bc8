"""`pairsmith serve backup` and `pairsmith serve restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.terminal.failures import WriteJson
from pairsmith.terminal.session import json_option
from pairsmith.terminal.watching import Invocation
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pairsmith.serve.backup import BackupSummary

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(short_help="Back up a workspace.")
@click.argument("folder", type=_FOLDER)
@click.option(
    "--workspace",
    type=_FOLDER,
    metavar="DIR",
    default=Path(),
    show_default="this folder",
    help="The workspace to back up.",
)
@click.option(
    "--database", envvar="PAIRSMITH_SERVE_DATABASE", metavar="URL", help="The database given to `serve --database`."
)
@json_option
@click.pass_obj
def backup(invocation: Invocation, folder: Path, workspace: Path, database: str | None, as_json: bool) -> None:
    """Copy a workspace into the new folder FOLDER: specs, seeds, prompts, stores, datasets, adapters, accounts and
    audit log.

    This works while the workspace is being served. FOLDER appears only once the copy is complete.
    """
    from pairsmith.serve.backup import backup as copy
    from pairsmith.serve.workspace import Workspace

    served = Workspace(workspace.resolve())
    if not served.projects():
        raise UsageError(
            "there is no project to back up.", where=str(served.root), fix="Name a workspace: --workspace DIR."
        )
    _answer(invocation.write_json if as_json else None, "copied", copy(served, folder, database))


@click.command(short_help="Restore a backup into an empty workspace, or verify it.")
@click.argument("folder", type=_FOLDER)
@click.option("--workspace", type=_FOLDER, metavar="DIR", help="The empty folder to restore into.")
@click.option(
    "--check", "only_check", is_flag=True, help="Only verify the backup: read every file and recount the rows."
)
@json_option
@click.pass_obj
def restore(invocation: Invocation, folder: Path, workspace: Path | None, only_check: bool, as_json: bool) -> None:
    """Restore the backup in FOLDER into an empty workspace. The backup is verified first.

    Jobs that had not finished when the backup was made are not resumed.
    """
    from pairsmith.serve.backup import check
    from pairsmith.serve.backup import restore as put_back
    from pairsmith.serve.workspace import Workspace

    if only_check == (workspace is not None):
        raise UsageError("restore needs either a target workspace or --check.", fix="Pass --workspace DIR or --check.")
    kept = put_back(folder, Workspace(workspace.resolve())) if workspace else check(folder)
    _answer(invocation.write_json if as_json else None, "restored" if workspace else "sound", kept)


def _answer(write_json: WriteJson | None, word: str, kept: BackupSummary) -> None:
    if write_json:
        write_json({"result": word, "files": kept.files, "bytes": kept.size, "rows": kept.rows, "notes": kept.notes})
        return
    click.echo(f"{word}: {kept.files:,} files, {kept.size / 1e6:,.1f} MB, {kept.rows:,} rows in databases")
    for note in kept.notes:
        click.echo(f"not in it: {note}")
