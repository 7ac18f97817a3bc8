"""Relevance without training: log p(output | input) - log p(output), in nats, under a small local language model.

This is the pointwise mutual information of input and output (Li et al. 2016, arXiv:1510.03055, use it to rank replies):
how much easier the output is to predict once the input is known. Both terms use the chat [system, user, assistant] with
the task's system prompt; in the second one the user turn is empty. **Not length-normalised**: tokens that have nothing
to do with the input cancel in the difference, whereas a mean over tokens would penalise every word that enriches.

Not covered: an echo of the input scores highest, so it should only rank rows that pass the gates. It says nothing about
style or sense.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from curate.scorers import Score, Scorer
from schemas.errors import TeacherError, Unreachable
from schemas.records import Pair, Reason
from schemas.streamed import batched

FORM = "chat[system, user, assistant], empty user turn as the baseline, sum of log-probabilities"
_UNSCORED = Score(None, Reason("unscored"))
_COMPLETIONS = 16  # per request; few, so that a crash costs little


def messages(system: str, input: str) -> list[dict[str, str]]:
    """The chat before the output; with an empty `input`, the baseline."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": input}]


def pmi_scorer(base_url: str, model: str) -> Scorer:
    """A scorer that uses the embedded server at `base_url` (ending in /v1), by POST /score next to it.

    A row has no score if the server answers with an error for it, even when it is alone, or without a finite number.
    Raises Unreachable if nothing answers at all.
    """
    url = base_url.rstrip("/").removesuffix("/v1") + "/score"

    async def score(pairs: Sequence[Pair]) -> Sequence[Score]:
        import aiohttp

        if not pairs:
            return []
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            without = await _sums_of(http, url, model, [(pair.system, "", pair.output) for pair in pairs])
            with_input = await _sums_of(http, url, model, [(pair.system, pair.input, pair.output) for pair in pairs])
        return [*map(_difference, with_input, without)]

    return score


async def _sums_of(http: Any, url: str, model: str, rows: Sequence[tuple[str, str, str]]) -> list[Score]:
    """`_sums` for each row of a system prompt, an input and an output. Equal ones are requested once."""
    chats: dict[tuple[str, str], dict[str, Score]] = defaultdict(dict)
    for system, input, output in rows:
        chats[system, input][output] = _UNSCORED
    for (system, input), sums in chats.items():
        body = {"model": model, "messages": messages(system, input)}
        for part in batched([*sums], _COMPLETIONS):
            sums.update(zip(part, await _sums(http, url, body, part), strict=True))
    return [chats[system, input][output] for system, input, output in rows]


def _difference(with_input: Score, without: Score) -> Score:
    if with_input.value is None or without.value is None:
        return with_input if with_input.value is None else without
    return Score(with_input.value - without.value, Reason("scored"))


async def _sums(http: Any, url: str, body: dict[str, Any], completions: list[str]) -> list[Score]:
    """For each completion, the sum of log-probabilities in nats, or the reason why there is none. A failed request is
    repeated completion by completion."""
    import aiohttp

    try:
        async with http.post(url, json={**body, "completions": completions}) as response:
            text = await response.text()
            answer: Any = json.loads(text) if response.status == 200 else None
            problem = Reason("crashed", f"/score answered {response.status}: {text[:200]}")
    except aiohttp.ClientConnectorError:
        raise Unreachable(
            "the server that computes the PMI score does not answer.",
            where=url,
            fix="The embedded model may have died: run again.",
        ) from None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        answer, problem = None, Reason("crashed", f"/score: {type(error).__name__}: {error}")
    if answer is None and len(completions) > 1:
        return [(await _sums(http, url, body, [text]))[0] for text in completions]
    if answer is None:
        return [Score(None, problem)]
    scores = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(scores, list) or len(scores) != len(completions):
        raise TeacherError(
            "the answer to /score is not one score for every completion.",
            where=url,
            fix="Another program may be listening at this address.",
        )
    return [_read(score) for score in scores]


def _read(score: Any) -> Score:
    value = score.get("logprob") if isinstance(score, dict) else None
    if isinstance(value, int | float) and math.isfinite(value):
        return Score(float(value), Reason("scored"))
    return Score(None, Reason("nan", f"the log-probability is {value!r}"))
