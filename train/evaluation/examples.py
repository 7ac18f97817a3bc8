"""The test inputs whose outputs the report shows side by side."""

from __future__ import annotations

import random
from collections.abc import Sequence

from schemas.records import Record


class Example(Record):
    """A seed shown side by side; its outputs are looked up by `seed_id`."""

    seed_id: str
    input: str


def pick_examples(seeds: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` seeds drawn at random with `seed`, independent of any output."""
    return tuple(random.Random(seed).sample(list(seeds), min(count, len(seeds))))
