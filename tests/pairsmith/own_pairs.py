"""A curated project of 400 existing pairs, and reviewers who accept the good ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pairsmith
from curate.argilla.push import draw_batch
from curate.review.population import read_population
from pairsmith.teachers import teachers
from schemas import spec_file
from schemas.progress import discard_message
from schemas.reviews import Review
from schemas.store import Store
from tests.pairsmith.conftest import DETAILS, LIGHTS, MOODS, PLACES

SPEC = """
[task]
kind = "reply"
name = "own"
style = "A short, kind answer."

[[seeds]]
path = "pairs.jsonl"
kind = "pair"

[curate.duplicates]
enabled = false

[review]
batch = 120
"""
ROWS = 400


def _text(rng: random.Random) -> str:
    return f"{rng.choice(MOODS)} {rng.choice(PLACES)}, {rng.choice(DETAILS)} in the {rng.choice(LIGHTS)}"


def curated(folder: Path) -> None:
    """Write and curate 400 pairs; the long outputs are the good ones."""
    rng = random.Random(3)
    lines = []
    for n in range(ROWS):
        output = f"{'. '.join(_text(rng) for _ in range(1 + 3 * (n % 4 > 0)))}."
        lines.append(json.dumps({"input": f"What of number {n}, {_text(rng)}?", "output": output}))
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    own = pairsmith.Project(folder)
    own.generate()
    own.curate()


def good(output: str) -> bool:
    """Whether reviewers accept this output."""
    return len(output) > 120


def answer(folder: Path, batches: int = 1) -> list[str]:
    """Draw batches and review them: good rows are accepted, others rejected. Returns the ids of the reviewed pairs."""
    project, ids = spec_file.load(folder), list[str]()
    with Store.open(Store.url_for(project)) as store:
        for _ in range(batches):
            population = read_population(project, store, teachers.fingerprints_of(project, discard_message))
            drawn = dict.fromkeys(record.pair_id for record in draw_batch(project, store, population, more=True))
            for id_, pair in population.pairs(drawn).items():
                decision: Any = "accept" if good(pair.output) else "reject"
                store.write(Review(pair_id=id_, reviewer="argilla:here/1", name="ann", decision=decision))
            ids += drawn
    return list(dict.fromkeys(ids))
