"""Rows per second of `curate` with the default steps of a rewriting task, on all cores: 22 gates, contamination,
duplicates and split, and the state of every row stored. No scorer and no export.

    python -m bench.curate.rate [ROWS]                 # writes "rate" into bench/results/curate.json

The rows are the good English rows of tests/curate/rows of the kind rewrite, each with a number of its own, so that
nothing is judged twice. These roughly 700 texts repeat, so gates that cache more than a few hundred of them
(`REMEMBERED`) look faster here than on distinct texts. Filling the store is not measured; starting the gates'
processes is. `core_s_per_2000_rows` is the CPU time of all processes: 2 is two cores for one second.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import ROOT, cpu_s, fill, fill_apart, keep, peak_mb

SPEC = """
[task]
name = "rate"
style = "Write it well."

[[seeds]]
path = "seeds.jsonl"
"""


def texts() -> list[tuple[str, str]]:
    """Input and output of each good row."""
    files = sorted((ROOT / "tests/curate/rows").glob("good*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["input"], row["output"]) for row in rows if (row["kind"], row["language"]) == ("rewrite", "en")]


def fill_with(folder: Path, rows: int) -> None:
    given = texts()
    pairs = [given[row % len(given)] for row in range(rows)]
    inputs = [f"{input} [{row}]" for row, (input, _) in enumerate(pairs)]
    fill(folder, SPEC, inputs, ((row, f"{output} {row}") for row, (_, output) in enumerate(pairs)))


def measure(folder: Path, rows: int) -> dict[str, float]:
    """Reading the pool, all steps, verdicts and states in the store."""
    from curate.curation import curate
    from curate.pool import Pool
    from curate.states import write_states
    from curate.steps import steps_for
    from schemas.spec_file import load
    from schemas.store import Store

    project = load(folder, ())
    with Store.open(Store.url_for(project)) as store:
        steps = steps_for(project, list(store.active_seeds()), None)
        before = {who: cpu_s(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)}
        began = time.perf_counter()
        pool = asyncio.run(curate(Pool.read(store, ["bench"]), steps, store))
        asyncio.run(write_states(store, pool, "bench"))
        seconds = time.perf_counter() - began
        if pool.counts.rows_in != rows or pool.counts.waiting:
            raise SystemExit(f"{pool.counts} rows were judged of {rows}")
    here, children = (cpu_s(who) - before[who] for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "rows": rows,
        "gates": sum(step.gate is not None for step in steps),
        "accepted": pool.counts.accepted,
        "cpus": len(os.sched_getaffinity(0)),
        "rows_per_s": round(rows / seconds, 1),
        "core_s_per_2000_rows": round(2_000 * (here + children) / rows, 3),
        "parent_cpu_us_a_row": round(1e6 * here / rows),
        "children_cpu_us_a_row": round(1e6 * children / rows),
        "peak_mb": peak_mb(),
    }


def main(rows: int) -> None:
    """Fill the store in a separate process, measure here, write the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill_apart(fill_with, folder, rows)
        figures = {**measure(folder, rows), "python": platform.python_version()}
    keep("curate", {"rows_per_s": figures["rows_per_s"], "rate": figures})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
