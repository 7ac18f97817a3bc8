"""Tests of the check that an adapter is active, from scores of texts that it learned, compared with noise measured on
the same server."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from schemas.errors import PairsmithError
from schemas.records import Message
from train.evaluation.adapter_check import Probe, Scores, check_adapter, check_distinct

TEXTS = ("a fox at dawn", "two boats", "an old bridge in the rain", "a clock")
PROBES = [Probe((Message(role="user", content="ask"),), text) for text in TEXTS]
TOKENS = sum(len(text.split()) for text in TEXTS)


class Server:
    """Scores -1 per token; `moved` more under the tuned name, `noise` more in every second round (the first round, for
    warm-up, is far off), and `leak` more under the base right after a request to the tuned model."""

    def __init__(self, *, moved: float, noise: float = 0.0, leak: float = 0.0) -> None:
        self.moved, self.noise, self.leak = moved, noise, leak
        self._rounds = {name: count() for name in ("base", "tuned")}
        self._tuned_before = False

    async def score(self, model: str, messages: tuple[Message, ...], text: str) -> tuple[float, int]:
        number, tokens = next(self._rounds[model]), len(text.split())
        each = -1.0 + (0.5 if number < len(PROBES) else 0.0) + self.noise * (number // len(PROBES) % 2)
        if model == "tuned":
            each += self.moved
        elif self._tuned_before:
            each += self.leak
        self._tuned_before = model == "tuned"
        return each * tokens, tokens


def test_a_training_of_two_steps_is_detected() -> None:
    """After one step at 2e-4 SmolLM2-135M's scores of real rows had moved by 0.001 to 0.12 nats per token, and of a
    style text by 0.019, which a fixed bound of 0.02 took for noise; scoring the same text twice gave identical scores.
    """
    check = asyncio.run(check_adapter(Server(moved=0.001).score, "base", "tuned", PROBES))
    assert (check.texts, check.tokens) == (4, TOKENS)
    assert check.tuned - check.base == pytest.approx(0.001 * TOKENS)
    assert check.base_again == check.base


@pytest.mark.parametrize("server", [Server(moved=0.0), Server(moved=0.001, noise=0.01), Server(moved=float("nan"))])
def test_noise_is_not_mistaken_for_an_adapter(server: Server) -> None:
    """Scores that do not differ, that differ by no more than repeated scores of one model, or that are NaN."""
    with pytest.raises(PairsmithError, match="the adapter is not active"):
        asyncio.run(check_adapter(server.score, "base", "tuned", PROBES))


def test_an_adapter_that_leaks_into_the_base_is_detected() -> None:
    """The base's scores must not move while the adapter is in use."""
    with pytest.raises(PairsmithError, match="leaks into the base"):
        asyncio.run(check_adapter(Server(moved=0.5, leak=0.1).score, "base", "tuned", PROBES))


def test_a_merged_model_is_compared_across_servers() -> None:
    """Its scores come from a server of its own, without the base."""
    base, tokens = [-3.0, -4.0, -5.0, -6.0], [3, 2, 6, 2]
    scores = Scores(base, base, tokens)
    moved = [score + 0.1 for score in base]
    check = check_distinct(scores, Scores(moved, moved, tokens), PROBES)
    assert check.base_again is None
    assert check.tuned - check.base == pytest.approx(0.4)
    with pytest.raises(PairsmithError, match="the adapter is not active"):
        check_distinct(scores, scores, PROBES)
