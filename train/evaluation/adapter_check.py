"""Verify that the adapter is active for the tuned model and inactive for the base.

Texts from the adapter's training data are scored under both model names. The noise between two scores of the same model
(caused by batch composition and by cached prefixes) is measured on the same server. This way two training steps can be
distinguished from none, and rounding is not mistaken for learning.
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
from train.evaluation.metrics import AdapterCheck

# Nats per token. Measured with SmolLM2-135M in bfloat16 on a CPU, 16 rows: two steps at 2e-4 (the first is warm-up)
# changed the scores by 0.001 to 0.12, four steps by 0.012 to 0.23, two steps at 1e-3 by 0.07 to 0.81. Scoring the same
# text again gave identical digits, alone and beside the other model, except for the very first score (0.009).
_MIN_CHANGE = 1e-4
_LEAK_TOLERANCE = 0.02
_NOISE_FACTOR = 4.0


class Probe(NamedTuple):
    """A text, and the messages it is scored as the answer to."""

    messages: Messages
    text: str


Score = Callable[[str, Messages, str], Awaitable[tuple[float, int]]]
"""(model, messages, text) -> the text's log-probability as the answer to the messages, in nats, and its token count."""


class Scores(NamedTuple):
    """Log-probabilities of the probes under one model, scored twice in a row, and their token counts."""

    first: list[float]
    again: list[float]
    tokens: list[int]


async def score_probes(score: Score, model: str, probes: Sequence[Probe]) -> Scores:
    """Score `probes` under `model`, one at a time. A first, discarded round warms up the server."""
    rounds = [[await score(model, *probe) for probe in probes] for _ in range(3)]
    first, again = ([logprob for logprob, _ in scores] for scores in rounds[1:])
    return Scores(first, again, [tokens for _, tokens in rounds[0]])


async def check_adapter(score: Score, base: str, tuned: str, probes: Sequence[Probe]) -> AdapterCheck:
    """Score `probes` under both names on one server.

    The base is scored alone, and again while the tuned model is scored concurrently. Raises PairsmithError when the two
    models differ by no more than numerical noise (the adapter is not active), or when the base's scores change (the
    adapter is not inactive). Does not detect an adapter that is only partly applied.
    """
    off, on = await score_probes(score, base, probes), await score_probes(score, tuned, probes)
    both = [await asyncio.gather(score(tuned, *probe), score(base, *probe)) for probe in probes]
    concurrent = [logprob for _, (logprob, _) in both]
    check = check_distinct(off, on, probes)
    if not _mean_distance(concurrent, off.first, off.tokens) <= max(
        _LEAK_TOLERANCE, _NOISE_FACTOR * _repeat_noise(off)
    ):
        raise PairsmithError(
            f"the base model's log-probability of {len(probes)} texts is {sum(off.first):.2f}, but"
            f" {sum(concurrent):.2f} while the adapter is in use.",
            why="The adapter leaks into the base, so the evaluation would be wrong.",
            fix="This is a bug in the server; please report it.",
        )
    return check.model_copy(update={"base_again": sum(concurrent)})


def check_distinct(off: Scores, on: Scores, probes: Sequence[Probe]) -> AdapterCheck:
    """Check that a base and a tuned model give different scores; a merged model may run on its own server. Raises
    PairsmithError when they differ by no more than numerical noise."""
    change, noise = _mean_distance(on.first, off.first, off.tokens), max(_repeat_noise(off), _repeat_noise(on))
    if not (math.isfinite(change) and change > max(_MIN_CHANGE, _NOISE_FACTOR * noise)):
        raise PairsmithError(
            f"the log-probability of {len(probes)} texts ({sum(off.tokens)} tokens) is {sum(on.first):.3f} under the"
            f" tuned model and {sum(off.first):.3f} under the base: the adapter is not active.",
            why="The evaluation would compare the base with itself.",
            fix="Train again; if the problem persists, it is a bug in the server: please report it.",
        )
    return AdapterCheck(
        texts=len(probes),
        base=sum(off.first),
        tuned=sum(on.first),
        base_again=None,
        tokens=sum(off.tokens),
    )


def _repeat_noise(scores: Scores) -> float:
    return _mean_distance(scores.first, scores.again, scores.tokens)


def _mean_distance(one: Sequence[float], other: Sequence[float], tokens: Sequence[int]) -> float:
    """Mean absolute difference between two rounds of scores, in nats per token."""
    return math.fsum(abs(a - b) for a, b in zip(one, other, strict=True)) / max(1, sum(tokens))


async def score(base_url: str, model: str, messages: Messages, text: str) -> tuple[float, int]:
    """A `Score` function backed by the embedded server's `/score` route."""
    body = {"model": model, "messages": [message.model_dump() for message in messages], "completions": [text]}
    (scored,) = (await post_json(f"{base_url}/score", body, {}))["data"]
    return float(scored["logprob"]), int(scored["tokens"])


async def post_json(url: str, body: Json, headers: Mapping[str, str]) -> Any:
    """POST to a route of a server started by pairsmith, and return the parsed JSON. Raises TeacherError for any status
    but 200."""
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        if response.status != 200:
            excerpt = (await response.text())[:300]
            raise TeacherError(f"{url} answered with status {response.status}: {excerpt}", fix="Please report this.")
        return orjson.loads(await response.read())
