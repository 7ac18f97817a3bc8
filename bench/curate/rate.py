"""Rows a second of `curate` with the gates that a rewriting task has by default, on every core.

    python -m bench.curate.rate [ROWS]                 # writes "rate" into bench/results/curate.json

The rows are the good English rows of tests/curate/rows of the kind rewrite, each with a number of its own, so that
nothing is judged twice. The pool, the gates in their processes, and the verdicts written to the store are measured;
filling the store is not.
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
from typing import Any

from bench.curate.run import RESULTS, ROOT

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


def fill(folder: Path, rows: int) -> None:
    """A generated pool."""
    from schemas.records import Candidate, Generated, Pair, Sampling, Seed
    from schemas.spec_file import load
    from schemas.store import Store

    (folder / "pairsmith.toml").write_text(SPEC)
    given = texts()
    seeds = [Seed(kind="input", text=f"{given[row % len(given)][0]} [{row}]", source=f"s:{row}") for row in range(rows)]
    with Store.open(Store.url_for(load(folder, ()))) as store:
        store.set_active_seeds(seeds)
        group: list[Any] = []
        for row, seed in enumerate(seeds):
            origin = Generated(
                generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=((f"{row:032x}", 1),)
            )
            pair = Pair(
                seed_id=seed.id,
                input=seed.text or "",
                output=f"{given[row % len(given)][1]} {row}",
                system="",
                origin=origin,
            )
            place = {"fingerprint": "bench", "seed_id": seed.id, "generator": "forward", "sample": 0}
            group += [pair, Candidate.model_validate({**place, "pair_id": pair.id})]
            if len(group) >= 4_000:
                store.write(*group)
                group = []
        store.write(*group)


def measure(folder: Path, rows: int) -> dict[str, float]:
    """The gates over the whole pool, verdicts in the store."""
    from curate.curation import curate
    from curate.gates import gates_for
    from curate.pool import Pool
    from curate.steps import each
    from schemas.spec_file import load
    from schemas.store import Store

    project = load(folder, ())
    gates = [each(gate) for gate in gates_for(project.spec.task, project.spec.curate.gates, project.folder)]
    with Store.open(Store.url_for(project)) as store:
        pool = Pool.read(store, ["bench"])
        began = time.perf_counter()
        asyncio.run(curate(pool, gates, store))
        seconds = time.perf_counter() - began
        if pool.counts.rows_in != rows or pool.counts.waiting:
            raise SystemExit(f"{pool.counts} rows were judged of {rows}")
    here, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "rows": rows,
        "gates": len(gates),
        "cpus": len(os.sched_getaffinity(0)),
        "rows_per_s": round(rows / seconds, 1),
        "parent_cpu_us_a_row": round(1e6 * (here.ru_utime + here.ru_stime) / rows),
        "children_cpu_us_a_row": round(1e6 * (children.ru_utime + children.ru_stime) / rows),
        "peak_mb": round(here.ru_maxrss / 1024),
    }


def main(rows: int) -> None:
    """Fill in a process of its own, measure here, write the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.fork() == 0:
            fill(folder, rows)
            os._exit(0)
        _, status = os.wait()
        if status:
            raise SystemExit("the store could not be filled")
        figures = {**measure(folder, rows), "python": platform.python_version()}
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {"rate": figures}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
