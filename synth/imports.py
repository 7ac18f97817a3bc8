"""Pairs that exist: rows that came with their outputs become pairs without a teacher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from schemas.records import Imported, Pair, Seed, content_id
from synth.slots import Kind, Name, Outcome, Slot


@dataclass(frozen=True)
class Import:
    """The one pair of a seed that brings its output. `system` is for seeds that bring no system prompt."""

    name: ClassVar[Name] = "imported"
    takes: ClassVar[tuple[Kind, ...]] = ("pair", "conversation")
    samples = 1
    ledger = None
    system: str = ""

    @cached_property
    def fingerprint(self) -> str:
        return content_id("scope", ["imported", self.system])

    async def __call__(self, seed: Seed) -> AsyncIterator[Outcome]:
        pair = pair_of(seed, self.system)
        yield Outcome(Slot(self.fingerprint, seed.id, self.name, 0).filled(pair), pair)


def pair_of(seed: Seed, system: str = "") -> Pair:
    """The pair in a seed of kind pair or conversation; `system` is for one that brings none.

    Its origin names the file without the line, so that a line added above makes no other pair.
    """
    return Pair(
        seed_id=seed.id,
        input=seed.body,
        output=seed.reference or "",
        system=system if seed.system is None else seed.system,
        origin=Imported(source=seed.source.rpartition(":")[0] or seed.source),
        turns=seed.turns,
        columns=seed.columns,
    )
