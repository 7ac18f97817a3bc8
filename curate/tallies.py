"""What each step said of a pool, counted, and the rows that one gate alone keeps out."""

from __future__ import annotations

import numpy as np

from curate.opinions import FALSE, NONE, TRUE
from curate.pool import Pool
from curate.spread import at_random
from schemas.records import Json
from schemas.step_names import By

_SHOWN = 5
# The gates whose key is not their name.
_KEYS = {"label": "task.labels", "schema": "task.schema", "personal": "[personal]"}


def tally(pool: Pool) -> dict[str, Json]:
    """Step -> how many pairs it kept, flagged, rejected, could not judge; those it is silent about are in none.

    Of a gate also `alone`, the pairs that no other gate rejects, and `shown`, ids of five of them drawn at random.
    """
    gates = [keep for step, _, keep in pool.said() if step.by.startswith("gate/")]
    rejections = np.sum([keep == FALSE for keep in gates], axis=0) if gates else np.zeros(len(pool), int)
    counts: dict[str, Json] = {}
    for step, spoken, keep in pool.said():
        names = (("kept", TRUE), ("rejected", FALSE), ("waiting", NONE))
        numbers: Json = {name: int(np.sum(keep == value)) for name, value in names}
        counts[step.by] = numbers | {"flagged": len(spoken.flags)}
        if step.by.startswith("gate/") and numbers["rejected"]:
            alone = pool.pair_ids(np.flatnonzero((keep == FALSE) & (rejections == 1)))
            counts[step.by] |= {"alone": len(alone), "shown": at_random(alone, "alone")[:_SHOWN]}
    return counts


def key_of(by: str) -> str:
    """The key of the spec that changes a gate: `curate.gates.length` of `gate/length@1`."""
    name = By.read(by).key
    return _KEYS.get(name, f"curate.gates.{name}")
