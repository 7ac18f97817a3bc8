"""The accepted rows of a curated pool, read from the store during iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from curate.pool import Pool
from curate.states import assigned_split
from schemas.records import Pair, Split, Verdict
from schemas.reviews import Review
from schemas.streamed import Streamed


@dataclass(frozen=True)
class Accepted:
    """An accepted row: its pair (with the reviewer's correction, if any), its split, and the verdicts that accepted
    it."""

    pair: Pair
    split: Split
    score: float | None
    verdicts: tuple[Verdict, ...]
    reviews: tuple[Review, ...] = ()


class AcceptedRows(Streamed[Accepted]):
    """The accepted rows of a curated pool, in pool order."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._rows = pool, pool.counts.accepted

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Accepted]:
        for row in self._pool.accepted():
            if row.pair and (split := assigned_split(row)):
                yield Accepted(row.pair, split, row.score, row.verdicts, row.reviews)
