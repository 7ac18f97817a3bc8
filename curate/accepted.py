"""The rows that left curation, read from where they are kept while one goes through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from curate.pool import Pool
from curate.states import split_in
from schemas.records import Pair, Split, Verdict
from schemas.reviews import Review
from schemas.streamed import Streamed


@dataclass(frozen=True)
class Accepted:
    """A row that left the stage: its pair (corrected, if a person did), its split, and every verdict that let it."""

    pair: Pair
    split: Split
    score: float | None
    verdicts: tuple[Verdict, ...]
    reviews: tuple[Review, ...] = ()


class AcceptedRows(Streamed[Accepted]):
    """The accepted rows of a curated pool, in its order."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._rows = pool, pool.counts.accepted

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Accepted]:
        for row in self._pool.accepted():
            if row.pair and (split := split_in(row)):
                yield Accepted(row.pair, split, row.score, row.verdicts, row.reviews)
