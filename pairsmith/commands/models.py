"""`pairsmith models`."""

from __future__ import annotations

import click

from pairsmith.terminal.session import Session, on_project


@click.command()
@on_project
def command(session: Session) -> None:
    """List base models by size, with licence and memory, and show which of them fit on this machine.

    Any other instruct model works too: set train.base to a folder or a hub id, and check it with `pairsmith doctor`.
    """
    from rich.table import Table

    from train.base_models.models import KNOWN, default_base, fitting_method, machine, training_gib

    here = machine()
    chosen = default_base(here)
    table = Table(box=None)
    for heading in ("train.base", "params", "licence", "LoRA", "QLoRA", "here", "good for (rule of thumb)"):
        table.add_column(heading, no_wrap=heading in ("train.base", "LoRA", "QLoRA", "params"))
    rows = []
    for known in sorted(KNOWN, key=lambda known: known.billions):
        lora, qlora = (training_gib(known.billions, method) for method in ("lora", "qlora"))
        method = fitting_method(known.billions, here)
        gated = ", gated" if known.gated else ""
        mark = f"{method} (default)" if known is chosen else method or "[red]no[/red]"
        sizes = (f"{known.billions:g} B", f"{known.licence}{gated}", f"{lora:.0f} GiB", f"{qlora:.0f} GiB")
        table.add_row(known.name, *sizes, mark, known.good_for)
        rows.append({**known._asdict(), "lora_gib": round(lora, 1), "qlora_gib": round(qlora, 1), "fits": method})
    data = {"command": "models", "machine": here._asdict(), "default": chosen.name, "models": rows}
    where = f"{here.name}, {here.gib:.1f} GiB"
    session.answer(data, f"Training on: {where}. Memory is an estimate (pairsmith docs models).\n", table)
