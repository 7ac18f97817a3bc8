"""Proof that the adapter is on where the tuned model is asked, and off where the base is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import aiohttp

from schemas.errors import PairsmithError, TeacherError
from schemas.records import Messages
from train.metrics import AdapterCheck

# bfloat16 sums differ with what shares a batch; an adapter that learned anything moves a text by far more than this.
_NOISE_PER_TOKEN = 0.02


Score = Callable[[str, Messages, str], Awaitable[tuple[float, int]]]
"""Log-probability in nats of a text as the answer to messages under a model's name, and its tokens."""


async def check_adapter(score: Score, base: str, tuned: str, messages: Messages, text: str) -> AdapterCheck:
    """Score one fixed `text` as the answer to `messages` under both names of one server.

    The base is scored alone, and again while the tuned name is scored beside it. Raises PairsmithError when the two
    names do not differ by more than numerical noise (the adapter is not on), or when the base's two scores do differ
    (it is not off). Not covered: an adapter that is partly on.
    """
    before, tokens = await score(base, messages, text)
    (on, _), (again, _) = await asyncio.gather(score(tuned, messages, text), score(base, messages, text))
    _refuse_equal(before, on, tokens)
    if not abs(again - before) <= _NOISE_PER_TOKEN * tokens:
        raise PairsmithError(
            f"the base model gives a fixed text {before:.2f}, and {again:.2f} while the adapter is in use.",
            why="The adapter leaks into the base, so the evaluation would be wrong.",
            fix="This is a defect of the server: please report it.",
        )
    return AdapterCheck(text=text, base=before, tuned=on, base_again=again, tokens=tokens)


def check_merged(base: tuple[float, int], merged: tuple[float, int], text: str) -> AdapterCheck:
    """The same for a merged model, whose score of `text` and that of its base came from two servers. Raises
    PairsmithError when they do not differ by more than numerical noise."""
    (before, tokens), (on, _) = base, merged
    _refuse_equal(before, on, tokens)
    return AdapterCheck(text=text, base=before, tuned=on, base_again=None, tokens=tokens)


def _refuse_equal(base: float, tuned: float, tokens: int) -> None:
    if math.isfinite(base) and math.isfinite(tuned) and abs(tuned - base) > _NOISE_PER_TOKEN * tokens:
        return
    raise PairsmithError(
        f"the tuned model gives a fixed text of {tokens} tokens the log-probability {tuned:.2f}, and the base"
        f" {base:.2f}: the adapter is not on.",
        why="The evaluation would compare the base with itself.",
        fix="Train again; if it stays so, this is a defect of the server: please report it.",
    )


async def score(base_url: str, model: str, messages: Messages, text: str) -> tuple[float, int]:
    """`Score` at the embedded server."""
    body = {"model": model, "messages": [message.model_dump() for message in messages], "completions": [text]}
    async with aiohttp.ClientSession() as session, session.post(f"{base_url}/score", json=body) as response:
        if response.status != 200:
            body_text = (await response.text())[:300]
            raise TeacherError(f"{base_url}/score answered {response.status}: {body_text}", fix="Please report this.")
        (scored,) = (await response.json())["data"]
    return float(scored["logprob"]), int(scored["tokens"])
