"""The cost of a store of 100,000 rows: curating it, and reading it for `status`, `rows` and the report. Then
bench/curate/rate.py, and the peak memory of a million rows.

    python -m bench.curate.run [ROWS]                 # writes bench/results/curate.json: first `rows_per_s` (all steps
                                                      # by default), `bytes_per_row` (read) and `peak_mb_1m`
    python -m bench.curate.run memory ROWS [FOLDER]   # writes "memory" there: `peak_mb`, with the export, of all
                                                      # processes together, counting shared pages once; `parent_mb`
                                                      # is the parent's alone, `curated_mb` the same before the
                                                      # export. A partly filled or judged FOLDER is continued

Rows are 40 words of a vocabulary of 900, with four candidates per input and one in ten a near-duplicate of another;
three gates, a scorer that takes no time, best of two. Every measurement runs in a separate process: wall seconds and
peak resident memory as counted by the kernel.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.harness import child, fill, fill_apart, keep, kept, peak_mb

EACH, _MILLION = 4, 1_000_000
SPEC = """
[task]
name = "bench"
style = "Say it well."

[[seeds]]
path = "seeds.jsonl"

[curate.gates]
length = { min_words = 5, max_words = 60 }
lost_content = false
language = false
answered = false
preamble = false
echo = false
must = [{ name = "word", pattern = "ban" }]

[curate.score]
model = "none"

[evaluate]
checks = [{ name = "a", pattern = "x" }, { name = "b", pattern = "y" }]
"""


def texts(rows: int) -> Iterator[tuple[int, str]]:
    """(input, text): mostly dissimilar, one in ten a copy of an earlier text with one word changed."""
    rng = random.Random(7)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    earlier: list[list[str]] = []
    for row in range(rows):
        text = rng.choice(earlier).copy() if earlier and rng.random() < 0.1 else rng.choices(words, k=39)
        text[rng.randrange(39)] = rng.choice(words)
        if len(earlier) < 5_000:
            earlier.append(text)
        yield row // EACH, " ".join([*text, "ban" if rng.random() < 0.9 else "end"])


def fill_with(folder: Path, rows: int) -> None:
    inputs = [f"input {number} {number * 7919}" for number in range(-(-rows // EACH))]
    fill(folder, SPEC, inputs, texts(rows))


def judge(folder: Path) -> None:
    """Curate and export; prints the counts, and the memory of the pool compared with an empty process."""
    from curate.curation import curate
    from curate.export.dataset import export_dataset
    from curate.outcome import CurateResult
    from curate.pool import Pool
    from curate.preferences import preferences
    from curate.scorers import Score
    from curate.states import AcceptedRows, write_states
    from curate.steps import best, duplicates, id_of, scored, steps_for
    from curate.tallies import tally
    from pairsmith.receipts.outcome import CurateOutcome
    from pairsmith.receipts.receipt import recording
    from schemas.records import Pair, Reason
    from schemas.spec_file import load
    from schemas.store import Store

    async def by_letters(pairs: Sequence[Pair]) -> Sequence[Score]:
        return [Score(float(sum(map(ord, pair.output))), Reason("scored")) for pair in pairs]

    project = load(folder, ())
    with Store.open(Store.url_for(project)) as store, recording(project, store, "curate", CurateOutcome()) as record:
        seeds = store.active_seeds()
        *gates, contamination, _, split = steps_for(project, seeds, None)
        ranking = [scored(by_letters, "score/letters@1", "bench"), best(2), duplicates(0.7)]
        empty_kb = _resident_kb()
        pool = Pool.read(store, ["bench"])
        pool_kb = _resident_kb() - empty_kb
        seconds = {}
        steps = [*gates, contamination, *ranking, split]
        began = time.perf_counter()
        pool = asyncio.run(curate(pool, steps, store))
        seconds["steps"] = time.perf_counter() - began
        began, name = time.perf_counter(), f"bench-{time.time_ns()}"
        asyncio.run(write_states(store, pool, name))
        seconds["states"] = time.perf_counter() - began
        scorer = {"by": id_of(ranking[0]).by, "why": "it takes no time"}
        began, curated_mb = time.perf_counter(), peak_mb()
        facts = {"scorer": scorer, "near_duplicate_seed_count": 0}
        preferred = preferences(project, pool, seeds)
        result = CurateResult(pool.counts, pool.reasons, AcceptedRows(pool), pool.steps, facts, preferred)
        export_dataset(project, store, result, folder / "dataset")
        seconds["export"] = time.perf_counter() - began
        record.outcome = CurateOutcome(
            counts=pool.counts,
            reasons=pool.reasons,
            scorer=scorer,
            more={"scopes": ["bench"], "curation": name, "steps": tally(pool)},
        )
        figures = {
            "counts": pool.counts.model_dump(),
            "reasons": pool.reasons,
            "bytes_a_row_read": pool_kb * 1024 // len(pool),
            "curated_mb": curated_mb,
            "preferences": len(preferred),
        }
    print(json.dumps({**figures, "seconds": {step: round(value, 1) for step, value in seconds.items()}}))


def _resident_kb() -> int:
    return int(psutil.Process().memory_info().rss) // 1024


def main(rows: int) -> None:
    """Fill, curate, read; write the figures."""
    figures: dict[str, Any] = {"slots": rows, "python": platform.python_version(), "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill_with(folder, rows)
        cost, printed = child("-m", "bench.curate.run", "judge", name)
        figures["curate"] = {**json.loads(printed), "process": cost}
        figures["bytes_per_row"] = figures["curate"]["bytes_a_row_read"]
        readers = {
            "status": ("-m", "pairsmith", "status", "--json", "--project", name),
            "rows": ("-m", "pairsmith", "rows", "--state", "rejected", "--json", "--project", name),
            "report": ("-m", "pairsmith", "report", "--project", name),
        }
        for key, command in readers.items():
            figures[key] = min((child(*command)[0] for _ in range(3)), key=lambda cost: cost["seconds"])
        figures["store_mb"] = round((folder / "pairsmith.db").stat().st_size / 2**20)
    keep("curate", figures)


def memory(rows: int, folder: Path | None = None) -> None:
    """The peak memory of curating and exporting this number of rows, over all processes; other figures are kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = folder or Path(name)
        if not (folder / "filled").exists():
            folder.mkdir(exist_ok=True)
            fill_apart(fill_with, folder, rows)
            (folder / "filled").touch()
        cost, printed = child("-m", "bench.curate.run", "judge", str(folder), together=True)
    result = json.loads(printed)
    if result["counts"]["rows_in"] != rows:
        raise SystemExit(f"{folder} holds {result['counts']['rows_in']:,} rows")
    peak = {"rows": rows, "parent_mb": cost["peak_mb"], "cpu_s": cost["cpu_s"], "curated_mb": result["curated_mb"]}
    peak["peak_mb"] = max(cost["peak_mb"], cost["together_mb"])  # a peak of the parent may be between two samples
    if rows == _MILLION:
        keep("curate", {"peak_mb_1m": peak["peak_mb"], "bytes_per_row": result["bytes_a_row_read"]})
    peak |= {"seconds": result["seconds"], "counts": result["counts"]}
    keep("curate", {"memory": kept("curate").get("memory", {}) | {f"{rows:,}": peak}})


if __name__ == "__main__":
    if sys.argv[1:2] == ["judge"]:
        judge(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["memory"]:
        memory(int(sys.argv[2]), *map(Path, sys.argv[3:]))
    else:
        from bench.curate import rate

        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
        rate.main(20_000)
        memory(_MILLION)
