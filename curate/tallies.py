"""Verdict counts of each step on a pool, and the rows that only a single gate keeps out."""

from __future__ import annotations

import numpy as np

from curate.arrays.opinions import FALSE, NONE, TRUE
from curate.pool import Pool
from curate.selection.spread import at_random
from schemas.records import Json
from schemas.step_names import By

_EXAMPLES = 5
# The gates whose spec key differs from their name.
_KEYS = {"label": "task.labels", "schema": "task.schema", "personal": "[personal]"}


def tally(pool: Pool) -> dict[str, Json]:
    """Map each step to the numbers of pairs that it kept, flagged, rejected or could not judge. Pairs without a verdict
    are not counted.

    For a gate also `alone`, the number of pairs that no other gate rejects and no reviewer has decided, `shown`, the
    ids of five of them drawn at random, and `overruled`, the number of pairs that reviewers accept all the same.
    """
    good, bad = pool.by_people
    gates = [keep for step, _, keep in pool.opinions_by_step() if step.by.startswith("gate/")]
    rejections = np.sum([keep == FALSE for keep in gates], axis=0) if gates else np.zeros(len(pool), int)
    counts: dict[str, Json] = {}
    for step, opinions, keep in pool.opinions_by_step():
        names = (("kept", TRUE), ("rejected", FALSE), ("waiting", NONE))
        numbers: Json = {name: int(np.sum(keep == value)) for name, value in names}
        counts[step.by] = numbers | {"flagged": len(opinions.flags)}
        if step.by.startswith("gate/") and numbers["rejected"]:
            alone = pool.pair_ids(np.flatnonzero((keep == FALSE) & (rejections == 1) & ~good & ~bad))
            overruled = int(np.sum((keep == FALSE) & good))
            of_alone = {"alone": len(alone), "shown": at_random(alone, "alone")[:_EXAMPLES]}
            counts[step.by] |= of_alone | ({"overruled": overruled} if overruled else {})
    return counts


def spec_key_of_gate(by: str) -> str:
    """The spec key that changes a gate, e.g. `curate.gates.length` for `gate/length@1`."""
    name = By.read(by).key
    return _KEYS.get(name, f"curate.gates.{name}")
