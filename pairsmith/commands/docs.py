"""`pairsmith docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.session import Session, on_project
from schemas.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


@click.command()
@click.argument("page", required=False)
@on_project
def command(session: Session, page: str | None) -> None:
    """Show a page of the manual; without a name, list the pages.

    On a terminal the page is laid out, in a pipe it is Markdown.
    """
    pages = _pages()
    if page is None:
        titles = {name: _title(path) for name, path in pages.items()}
        session.answer({"pages": titles}, *(f"{name:<15}{title}" for name, title in titles.items()))
        return
    path = pages.get(page.removesuffix(".md"))
    if path is None:
        raise UsageError(f"there is no page '{page}' in the manual.", fix=f"There are: {', '.join(pages)}.")
    text = path.read_text(encoding="utf-8")
    if session.write_json:
        session.write_json({"page": path.stem, "text": text})
    elif sys.stdout.isatty():
        session.show(_laid_out(text))
    else:
        click.echo(text, nl=False)


def _laid_out(text: str) -> RenderableType:
    """A page for a terminal: a cell that is too wide is broken, not cut, for a key that is cut is none; a link is its
    words and the page that it leads to."""
    from rich.markdown import Markdown, TableElement
    from rich.table import Table

    class WholeTable(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in super().__rich_console__(console, options):
                for column in part.columns if isinstance(part, Table) else ():
                    column.overflow = "fold"
                yield part

    class ManualPage(Markdown):
        elements = {**Markdown.elements, "table_open": WholeTable}  # noqa: RUF012 - as the library has it

    return ManualPage(text, hyperlinks=False)


def _pages() -> dict[str, Path]:
    """The manual's pages by name: in a wheel they lie in this package, in a checkout beside it."""
    package = Path(__file__).parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (folder / "index.md").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.md"))}
    raise MissingDependency("the manual is not installed.", where=str(package), fix="Install pairsmith again.")


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines).lstrip("# ").strip()
