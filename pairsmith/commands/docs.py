"""`pairsmith docs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.terminal.session import Session, on_project
from schemas.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


@click.command()
@click.argument("page", required=False, shell_complete=lambda *typed: [n for n in _pages() if n.startswith(typed[2])])
@on_project
def command(session: Session, page: str | None) -> None:
    """Show a page of the manual, or list the pages if no name is given.

    On a terminal the page is formatted; in a pipe it is Markdown.
    """
    from pairsmith.terminal.screen import Columns

    pages = _pages()
    if page is None:
        titles = {name: _title(path) for name, path in pages.items()}
        listed = _PAGE.findall(pages["index"].read_text(encoding="utf-8"))
        lines = [("index", "where to start, and which page answers which question"), *listed]
        session.answer({"pages": titles}, Columns([(f"[bold]{name}[/]", about) for name, about in lines], 13))
        return
    path = pages.get(page.removesuffix(".md"))
    if path is None:
        raise UsageError(f"the manual has no page '{page}'.", fix=f"Pages: {', '.join(pages)}.")
    text = path.read_text(encoding="utf-8")
    if session.write_json:
        session.write_json({"page": path.stem, "text": text})
    elif sys.stdout.isatty():
        session.show(_formatted(text))
    else:
        click.echo(text, nl=False)


_PAGE = re.compile(r"^\| \[[^]]+\]\(([\w-]+)\.md\) \| (.+) \|$", re.MULTILINE)  # a line of the index's table


def _formatted(text: str) -> RenderableType:
    """Format a page for a terminal.

    Table cells are never truncated, and a word in a cell is broken only if no choice of column widths avoids it: half a
    key would be useless. A link is shown as its text and its target page.
    """
    from rich.markdown import Markdown, TableElement
    from rich.measure import measure_renderables
    from rich.table import Table

    class WholeTable(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in super().__rich_console__(console, options):
                columns = part.columns if isinstance(part, Table) else []
                cells = [[column.header, *column.cells] for column in columns]
                spans = [measure_renderables(console, options, column) for column in cells]
                widths = _widths([(span.minimum, span.maximum) for span in spans], options.max_width - 2 * len(columns))
                for column, width in zip(columns, widths, strict=True):
                    column.overflow, column.width = "fold", width
                yield part

    class ManualPage(Markdown):
        elements = {**Markdown.elements, "table_open": WholeTable}  # noqa: RUF012 - same as in the library

    return ManualPage(text, hyperlinks=False)


def _widths(columns: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Column widths that fit into `room`. Each column is given as (its longest word, its longest cell). Words get their
    space first, and the longest words give way; what is left is shared in proportion to what the cells still need."""
    shortest = next(
        short
        for most in range(max((word for word, _ in columns), default=1), 0, -1)
        if sum(short := [min(word, most) for word, _ in columns]) <= room or most == 1
    )
    extra = [cell - word for word, (_, cell) in zip(shortest, columns, strict=True)]
    share = min(1.0, max(0, room - sum(shortest)) / (sum(extra) or 1))
    return [word + int(more * share) for word, more in zip(shortest, extra, strict=True)]


def _pages() -> dict[str, Path]:
    """The manual's pages by name. In a wheel they are inside this package, in a checkout next to it."""
    package = Path(__file__).parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (folder / "index.md").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.md"))}
    raise MissingDependency("the manual is not installed.", where=str(package), fix="Install pairsmith again.")


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines).lstrip("# ").strip()
