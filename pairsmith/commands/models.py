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
    from itertools import groupby

    from pairsmith.terminal.screen import Columns
    from train.base_models.models import KNOWN, default_base, fitting_method, machine, training_gib

    here = machine()
    chosen = default_base(here)
    lines = [tuple(f"[bold]{head}[/]" for head in ("train.base", "bn", "licence", "LoRA", "QLoRA", "here"))]
    rows = []
    by_size = sorted(KNOWN, key=lambda known: known.billions)
    for good_for, models in groupby(by_size, key=lambda known: known.good_for):
        lines.append((f"[dim]{good_for}:[/]", *[""] * 5))
        for known in models:
            lora, qlora = (training_gib(known.billions, method, here.weight_bytes) for method in ("lora", "qlora"))
            method = fitting_method(known.billions, here)
            licence = f"{known.licence}{', gated' if known.gated else ''}"
            sizes = (f"{known.billions:g}", licence, f"{lora:4.0f}", f"{qlora:5.0f}")
            lines.append((known.name, *sizes, method or "[red]no[/]"))
            rows.append({**known._asdict(), "lora_gib": round(lora, 1), "qlora_gib": round(qlora, 1), "fits": method})
    data = {"command": "models", "machine": here._asdict(), "default": chosen.name, "models": rows}
    head = (
        f"Training on: {here.name}, {here.gib:.1f} GiB. The default here is {chosen.name}.\n"
        "bn: billions of parameters. LoRA, QLoRA: an estimate of the GiB that training takes. here: what fits."
        " The kinds of task above each group are a rule of thumb (pairsmith docs models).\n"
    )
    session.answer(data, head, Columns(lines, max(len(known.name) for known in KNOWN), 5, 15, 4, 5))
