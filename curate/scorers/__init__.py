"""Scorers compare the candidates of one input. A score is a number a model gave, or None with a reason: never
invented.

`reward` runs any sequence-classification reward model, `bradley_terry` fits a small one on good against
corrupted texts, `pmi` needs no training, and `choose` decides which of them a project uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from schemas.records import Pair, Reason


class Score(NamedTuple):
    """A pair's score, or None where the model could not give one."""

    value: float | None
    reason: Reason


Scorer = Callable[[Sequence[Pair]], Awaitable[Sequence[Score]]]
"""One Score for every pair, in the order of the pairs."""
