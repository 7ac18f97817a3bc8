"""Proof that the adapter is on where the tuned model is asked, and off where the base is.

Texts that the adapter has learned are scored under both names. How far two scores of one model lie apart for no reason
(what shares a batch, which beginnings were computed already) is measured in the same place, so that a training of two
steps is told from none, and rounding is not taken for learning.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson

from schemas.errors import PairsmithError, TeacherError
from schemas.records import Json, Messages
from train.metrics import AdapterCheck

# Nats a token. Seen with SmolLM2-135M in bfloat16 on a processor, 16 rows: two steps at 2e-4 (the first of which warms
# up) moved them by 0.001 to 0.12, four steps by 0.012 to 0.23, two at 1e-3 by 0.07 to 0.81. The same text scored again
# was the same to the last digit, alone and beside the other model, but for the first time (0.009).
_LEAST_MOVED = 1e-4
_LEAST_LEAK = 0.02
_TIMES_NOISE = 4.0


class Probe(NamedTuple):
    """A text, and the messages that it is scored as the answer to."""

    messages: Messages
    text: str


Score = Callable[[str, Messages, str], Awaitable[tuple[float, int]]]
"""Log-probability in nats of a text as the answer to messages under a model's name, and its tokens."""


class Scores(NamedTuple):
    """The log-probabilities of probes under one model, scored twice one after the other, and their tokens."""

    first: list[float]
    again: list[float]
    tokens: list[int]


async def scores_of(score: Score, model: str, probes: Sequence[Probe]) -> Scores:
    """The scores of `probes` under `model`, one at a time. A first round warms the server and is not looked at."""
    rounds = [[await score(model, *probe) for probe in probes] for _ in range(3)]
    first, again = ([logprob for logprob, _ in one] for one in rounds[1:])
    return Scores(first, again, [tokens for _, tokens in rounds[0]])


async def check_adapter(score: Score, base: str, tuned: str, probes: Sequence[Probe]) -> AdapterCheck:
    """Score `probes` under both names of one server.

    The base is scored alone, and again while the tuned name is scored beside it. Raises PairsmithError when the two
    names do not differ by more than numerical noise (the adapter is not on), or when the base's scores do differ
    (it is not off). Not covered: an adapter that is partly on.
    """
    off, on = await scores_of(score, base, probes), await scores_of(score, tuned, probes)
    both = [await asyncio.gather(score(tuned, *probe), score(base, *probe)) for probe in probes]
    beside = [logprob for _, (logprob, _) in both]
    check = check_apart(off, on, probes)
    if not _apart(beside, off.first, off.tokens) <= max(_LEAST_LEAK, _TIMES_NOISE * _noise(off)):
        raise PairsmithError(
            f"the base model gives {len(probes)} texts {sum(off.first):.2f}, and {sum(beside):.2f} while the adapter is"
            " in use.",
            why="The adapter leaks into the base, so the evaluation would be wrong.",
            fix="This is a defect of the server: please report it.",
        )
    return check.model_copy(update={"base_again": sum(beside)})


def check_apart(off: Scores, on: Scores, probes: Sequence[Probe]) -> AdapterCheck:
    """A base and a tuned model, which may be merged and on a server of its own. Raises PairsmithError when they do not
    differ by more than numerical noise."""
    moved, noise = _apart(on.first, off.first, off.tokens), max(_noise(off), _noise(on))
    if not (math.isfinite(moved) and moved > max(_LEAST_MOVED, _TIMES_NOISE * noise)):
        raise PairsmithError(
            f"the tuned model gives {len(probes)} texts of {sum(off.tokens)} tokens the log-probability"
            f" {sum(on.first):.3f}, and the base {sum(off.first):.3f}: the adapter is not on.",
            why="The evaluation would compare the base with itself.",
            fix="Train again; if it stays so, this is a defect of the server: please report it.",
        )
    return AdapterCheck(
        texts=len(probes),
        base=sum(off.first),
        tuned=sum(on.first),
        base_again=None,
        tokens=sum(off.tokens),
    )


def _noise(scores: Scores) -> float:
    return _apart(scores.first, scores.again, scores.tokens)


def _apart(one: Sequence[float], other: Sequence[float], tokens: Sequence[int]) -> float:
    """Mean distance of two rounds of scores in nats a token."""
    return math.fsum(abs(a - b) for a, b in zip(one, other, strict=True)) / max(1, sum(tokens))


async def score(base_url: str, model: str, messages: Messages, text: str) -> tuple[float, int]:
    """`Score` at the embedded server."""
    body = {"model": model, "messages": [message.model_dump() for message in messages], "completions": [text]}
    (scored,) = (await answer_of(f"{base_url}/score", body, {}))["data"]
    return float(scored["logprob"]), int(scored["tokens"])


async def answer_of(url: str, body: Json, headers: Mapping[str, str]) -> Any:
    """What a server that we started answers at one of its own routes. Raises TeacherError for anything but an
    answer."""
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        if response.status != 200:
            words = (await response.text())[:300]
            raise TeacherError(f"{url} answered {response.status}: {words}", fix="Please report this.")
        return orjson.loads(await response.read())
