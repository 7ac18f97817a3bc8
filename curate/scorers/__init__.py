"""Scorers compare the candidates of one input. A score is a number a model gave, or None with a reason: never
invented.

`reward` runs any sequence-classification reward model, `bradley_terry` fits a small one on good against
corrupted texts, `pmi` needs no training, and `choose` decides which of them a project uses.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from schemas.blocking import is_cancelled
from schemas.errors import PairsmithError
from schemas.records import Pair, Reason


class Score(NamedTuple):
    """A pair's score, or None where the model could not give one. `flags` say what is worth a look; a scorer that sees
    a row break a rule `rejects` it."""

    value: float | None
    reason: Reason
    flags: tuple[str, ...] = ()
    rejects: bool = False


Scorer = Callable[[Sequence[Pair]], Awaitable[Sequence[Score]]]
"""One Score for every pair, in the order of the pairs."""


def own_scorer(function: Callable[[Pair], Any]) -> Scorer:
    """A function of one pair as a scorer: a number, None, or one of these with a reason. A row that it crashes on, or
    gives anything else for, has no score."""

    async def score(pairs: Sequence[Pair]) -> list[Score]:
        return [await one(pair) for pair in pairs]

    async def one(pair: Pair) -> Score:
        try:
            given = function(pair)
            return _score(await given if inspect.isawaitable(given) else given)
        except PairsmithError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # costs the row it is raised for
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            return Score(None, Reason("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))

    return score


def _score(given: Any) -> Score:
    value, why = given if isinstance(given, tuple) else (given, "")
    if value is None:
        return Score(None, Reason.read(why) if why else Reason("unsure", "the scorer has no number for it"))
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        return Score(None, Reason("crashed", f"the scorer gave {value!r}, not a number"))
    return Score(number, Reason.read(why) if why else Reason("scored"))
