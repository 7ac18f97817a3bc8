"""Scorers compare the candidates of one input. A score is a number given by a model, or None with a reason.

`reward` runs any sequence-classification reward model, `bradley_terry` fits a small one on good against corrupted
texts, `pmi` needs no training, and `choose` selects the one that a project uses.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from schemas.blocking import is_cancelled
from schemas.errors import PairsmithError
from schemas.functions import crash_of
from schemas.records import Pair, Reason


class Score(NamedTuple):
    """The score of a pair, or None if there is none, with the reason. `flags` mark what is worth a look; `rejects` is
    set if the row breaks a rule."""

    value: float | None
    reason: Reason
    flags: tuple[str, ...] = ()
    rejects: bool = False


Scorer = Callable[[Sequence[Pair]], Awaitable[Sequence[Score]]]
"""Returns one Score per pair, in the same order."""


def score_of_logit(logit: float) -> Score:
    """The score of a reward model's logit; none if it is not finite."""
    if math.isfinite(logit):
        return Score(logit, Reason("scored"))
    return Score(None, Reason("nan", f"the model's logit is {logit}"))


def own_scorer(function: Callable[[Pair], Any]) -> Scorer:
    """Wrap a user's function of one pair as a scorer. It returns a number, None, or one of these with a reason.

    A row has no score if the function crashes on it or returns anything else.
    """

    async def score(pairs: Sequence[Pair]) -> list[Score]:
        return [await one(pair) for pair in pairs]

    async def one(pair: Pair) -> Score:
        try:
            result = function(pair)
            return _score(await result if inspect.isawaitable(result) else result)
        except PairsmithError:
            raise
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # only affects the row that it is raised for
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            return Score(None, crash_of(error))

    return score


def _score(result: Any) -> Score:
    value, why = result if isinstance(result, tuple) else (result, "")
    if value is None:
        return Score(None, Reason.read(why) if why else Reason("unsure", "the scorer returned None"))
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        return Score(None, Reason("crashed", f"the scorer returned {value!r}, not a finite number"))
    return Score(number, Reason.read(why) if why else Reason("scored"))
