"""A small HTML table for notebooks; all content is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from schemas.wording import cut

SHOWN = 10  # rows
_CELL = 300  # characters


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """`title` above a table of `rows`; long texts are truncated."""
    lines = [f"<p>{escape(title)}</p>", "<table><thead><tr>"]
    lines += [f"<th>{escape(name)}</th>" for name in head]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        lines.append("<tr>" + "".join(f'<td style="text-align:left">{_cell(value)}</td>' for value in row) + "</tr>")
    return "".join([*lines, "</tbody></table>"])


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    return escape(cut(text, _CELL))
