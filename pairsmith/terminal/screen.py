"""Building blocks for what commands print on a terminal: aligned facts, and row counts with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pairsmith.style.numbers import row_sum
from pairsmith.terminal.failures import escape_controls
from pairsmith.terminal.wrapping import line_breaks
from schemas.money import Cost, describe_cost, dollars, total
from schemas.progress_line import clock
from schemas.records import Json
from schemas.wording import counted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from pairsmith.receipts.outcome import CommandOutcome


_REASONS = 12  # shown individually
_WIDEST = 40  # characters of a name on one line


class Columns:
    """Rows of cells, as markup. All but the last are folded into `widths`, two spaces apart; the last is wrapped in the
    room that is left as by `line_breaks`, so a command in it stays whole, beyond the edge if need be."""

    def __init__(self, rows: Iterable[Sequence[str | Text]], *widths: int) -> None:
        self._rows, self._widths = rows, widths

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        room = options.max_width - sum(width + 2 for width in self._widths)
        for row in self._rows:
            *heads, body = map(_shown, row)
            pairs = [*zip(heads, self._widths, strict=True)]
            folded = [head.wrap(console, width, overflow="fold") for head, width in pairs]
            lines = [line for part in body.split("\n", allow_blank=True) for line in _wrapped(part, room)]
            for *starts, line in zip_longest(*folded, lines, fillvalue=Text()):
                shown = Text(no_wrap=True, overflow="ignore")
                for start, width in zip(starts, self._widths, strict=True):
                    shown.append(start).append(" " * (width + 2 - start.cell_len))
                yield shown.append(line)


def _shown(cell: str | Text) -> Text:
    """Markup as text. Control sequences in it are a row's or a server's: colours are escaped too, and before wrapping,
    as escapes take room."""
    text = Text.from_markup(cell, emoji=False) if isinstance(cell, str) else cell
    escaped = escape_controls(text.plain, colours=False)
    text = text.copy() if escaped == text.plain else Text(escaped, style=text.style)
    text.expand_tabs(8)
    return text


def _wrapped(line: Text, width: int) -> Iterable[Text]:
    """The lines of an indented text are all indented."""
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    indent = indent if 2 * indent < width else 0
    parts = line[indent:].divide(line_breaks(line.plain[indent:], max(1, width - indent)))
    for part in parts[:-1]:
        part.rstrip()
    return [Text(" " * indent).append(part) for part in parts]


def facts(rows: Iterable[tuple[str, str]], *, width: int = 11) -> RenderableType:
    """Names and values in two aligned columns. The first column is as wide as its longest name, and at least `width`.
    Very long names wrap, so that there is always room for the value: it may be a password that is shown only once."""
    rows = list(rows)
    width = max([width, *(len(name) for name, _ in rows)])
    return Columns([(f"[bold]{escape(name)}[/]", escape(value)) for name, value in rows], min(width, _WIDEST))


def entry(head: str | Text, texts: Sequence[tuple[str, str]]) -> Group:
    """A line, and below it texts with their names, each on lines of its own. Side by side they would be folded into
    columns of a few words, and a terminal would swap two of them in a right-to-left script."""
    named = [(f"  [dim]{escape(name)}[/]", Text(text)) for name, text in texts if text]
    width = max((len(name) for name, _ in texts), default=0) + 2
    return Group(Columns([[head]]), Columns(named, width), "")


def next_steps(*lines: str) -> list[RenderableType]:
    """How to continue, aligned like `facts`. Lines are not wrapped, so that commands can be copied."""
    return [f"[bold]{head:<13}[/]{escape(line)}" for head, line in zip_longest(("next",), lines, fillvalue="")]


def reasons(numbers: Mapping[str, int]) -> RenderableType:
    """Reasons and how often each was given, most frequent first."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=10)
    grid.add_column(justify="right")
    grid.add_column()
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in ordered[:_REASONS]:
        grid.add_row("", f"{count:,}", escape(reason))
    if left := ordered[_REASONS:]:
        grid.add_row("", f"{sum(count for _, count in left):,}", counted(len(left), "other reason", "other reasons"))
    return grid


def stage(name: str, outcome: CommandOutcome, more: Iterable[tuple[str, str]] = ()) -> Group:
    """The result of a stage: row counts, why rows were lost, requests and cost, and any further lines."""
    head, rest = [(name, row_sum(outcome.counts.model_dump()))], [*more, ("", cost(outcome))]
    width = max(11, *(len(named) for named, _ in rest))
    parts: list[RenderableType] = [facts(head, width=width)]
    if outcome.reasons:
        parts.append(reasons(outcome.reasons))
    parts.append(facts(rest, width=width))
    return Group(*parts)


def cost(outcome: CommandOutcome) -> str:
    """Requests, tokens, cost and time."""
    usage = outcome.usage
    parts = [f"{counted(outcome.calls_sent, 'request', 'requests')} sent"]
    if outcome.calls_reused:
        parts.append(f"{counted(outcome.calls_reused, 'answer', 'answers')} from the ledger")
    spent = total(Cost.read(line) for line in outcome.costs or ())
    if usage.completion_tokens:
        parts.append(spent.model_copy(update={"usage": usage}).tokens)
    if outcome.calls_sent:
        parts.append(describe_cost(spent) if outcome.costs else dollars(outcome.usd))
    return " · ".join([*parts, clock(outcome.seconds)])


def spending(ledger: Json) -> list[tuple[str, str]]:
    """The total of the ledger, the cost per accepted row, the cap, and a line for each stage, teacher and prompt."""
    rows = [("ledger", _asked(Cost.read(ledger)))]
    if ledger["usd_per_accepted_row"]:
        rows.append(("", f"{dollars(ledger['usd_per_accepted_row'])} per accepted row"))
    if ledger["max_usd"] is not None:
        used = ledger["usd_known"] + ledger["usd_reserved"]
        rows.append(("budget", f"{dollars(used) if used else 'nothing'} of {dollars(ledger['max_usd'])}"))
    costs = [Cost.read(line) for line in ledger["costs"]]
    if len(costs) > 1:
        refs = {cost.prompt for cost in costs}
        names = [name for name, _, _ in (ref.partition("@") for ref in refs)]
        short = {ref: name for ref in refs if names.count(name := ref.partition("@")[0]) == 1}
        lines = (f"{_asked_for(cost, short.get(cost.prompt, cost.prompt))}: {_asked(cost)}" for cost in costs)
        rows += [("" if nth else "spent on", line) for nth, line in enumerate(lines)]
    return rows


def _asked_for(cost: Cost, prompt: str) -> str:
    return ", ".join(part for part in (cost.stage or "an earlier version", cost.teacher, prompt) if part)


def _asked(cost: Cost) -> str:
    requests = counted(cost.requests, "request", "requests")
    return ", ".join([requests, cost.tokens, describe_cost(cost)]) if cost.requests or cost.lost else requests


def verdict_mark(keep: bool | None, flags: Sequence[str]) -> Text:
    """The coloured word keep, flag (kept, but worth a look), drop or wait."""
    word, style = {True: ("keep", "green"), False: ("drop", "red"), None: ("wait", "yellow")}[keep]
    return Text("flag", style="yellow") if keep and flags else Text(word, style=style)
