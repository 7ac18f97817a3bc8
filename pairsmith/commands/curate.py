"""`pairsmith curate`, and a preview of what another setting would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pairsmith.commands.stage import run_stage
from pairsmith.stages.table import stage
from pairsmith.terminal.number_options import max_usd_option
from pairsmith.terminal.session import Session, on_project

if TYPE_CHECKING:
    from rich.console import RenderableType

    from curate.what_if import WhatIf


@click.command(help=stage("curate").help)
@click.option(
    "--what-if",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only show which rows this setting would move. Changes nothing and asks no teacher. Repeatable.",
)
@max_usd_option
@on_project
def command(session: Session, *, what_if: tuple[str, ...], max_usd: float | None = None) -> int:
    if not what_if:
        return run_stage(session, stage("curate"), max_usd)
    from pairsmith.stages.what_if import as_json, changed
    from pairsmith.stages.what_if import what_if as compare_settings

    project = session.project()
    changed(project, what_if)  # a mistake in the setting is named first, also in a project without a store
    with session.store(project, write=False) as store, session.progress() as progress:
        comparison = compare_settings(project, store, what_if, progress=progress, say=session.say)
    session.answer(
        {"command": "curate", **as_json(comparison, what_if)}, *(() if session.write_json else _screen(comparison))
    )
    return 0


def _screen(comparison: WhatIf) -> list[Any]:
    from rich.markup import escape

    from pairsmith.style.numbers import row_sum
    from pairsmith.style.reasons import shorten_ids
    from pairsmith.terminal.screen import entry, facts
    from schemas.wording import counted, cut

    both = (("now", comparison.before), ("would be", comparison.after))
    parts: list[RenderableType] = [facts((name, row_sum(counts.model_dump())) for name, counts in both)]
    sums = ((comparison.splits_before, comparison.splits_after), (comparison.reasons_before, comparison.reasons_after))
    changed = [
        (name, f"{before.get(name, 0):,} -> {after.get(name, 0):,}")
        for before, after in sums
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if changed or not comparison.moves:
        parts += ["", facts(changed) if changed else "No row would move."]
    for move in comparison.moves:
        why = escape(f" ({move.code})") if move.code else ""
        parts += ["", f"[bold]{counted(move.rows, 'row', 'rows')} {move.before} -> {move.after}{why}[/]"]
        for example in move.examples:
            texts = (
                ("input", cut(example.input, 120)),
                ("output", cut(example.output, 160)),
                ("why", shorten_ids(example.why)),
            )
            parts.append(entry(example.pair_id[:12], texts))
    return parts
