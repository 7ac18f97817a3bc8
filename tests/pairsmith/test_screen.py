"""What a command shows is whole and in line."""

from __future__ import annotations

import io

from rich.console import Console

from pairsmith import screen
from pairsmith.outcome import ExportOutcome
from schemas.records import Counts


def test_names_are_whole_and_values_stand_below_each_other() -> None:
    """`pairsmith.toml` is longer than other names: nothing of it is cut off, and every line makes room for it."""
    outcome = ExportOutcome(counts=Counts(rows_in=3, accepted=3))
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(screen.stage("export", outcome, [("dataset", "there"), ("pairsmith.toml", "there too")]))
    first, dataset, spec, cost = captured.get().splitlines()
    assert spec.startswith("pairsmith.toml  there too")
    assert {first.index("3 rows"), dataset.index("there"), cost.index("0 requests")} == {spec.index("there")}
