"""Figures of benchmarks are kept as they were measured."""

from __future__ import annotations

from pathlib import Path

from bench.harness import keep, kept


def test_a_whole_run_leaves_no_figure_of_an_earlier_one(tmp_path: Path) -> None:
    """Parts add to a file; a run that measures all of it replaces what is measured no more."""
    file = tmp_path / "figures.json"
    keep(file, {"old": 1, "ratio": 2})
    keep(file, {"ratio": 3})
    assert kept(file) == {"old": 1, "ratio": 3}
    keep(file, {"ratio": 4}, whole=True)
    assert kept(file) == {"ratio": 4}
