"""Which seeds are trained on, watched during training, and locked away for the test.

A seed's place is a hash of its id and a salt, so it is the same on every machine and adding or removing seeds never
moves another; or it is the part that its source names (`[[seeds]] use = "test"`). Every pair of a seed goes with it:
candidates of one input, or simple versions of one output, are never parted.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from schemas.records import Seed
from schemas.spec import Split

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def split_of(seed_id: str, split: Split) -> Part:
    """The part of a seed. Shares are probabilities: with few seeds the parts differ from them."""
    digest = hashlib.sha256(f"{split.salt}\0{seed_id}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < split.test:
        return "test"
    return "validation" if place < split.test + split.validation else "train"


def part_of(seed: Seed, split: Split) -> Part:
    """The part that the seed's source names, else the one that its hash gives."""
    named: Part | None = seed.meta.get("use")
    return named or split_of(seed.id, split)
