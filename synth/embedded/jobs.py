"""What the HTTP side hands to the decode loop, and what comes back."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from synth.embedded.sampling import Sampling


@dataclass(frozen=True)
class TokenLogprob:
    """A token with the model's own log-probability (natural logarithm) and the likeliest tokens at its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Choice:
    """One answer. `tokens` counts the end token; `logprobs` leaves it out, as it is no part of the text."""

    text: str
    finish_reason: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Score:
    """Sum of the log-probabilities of a completion's tokens (the end token is not counted), and their number."""

    logprob: float
    tokens: int


@dataclass(kw_only=True, eq=False)
class Generation:
    """`n` answers to one prompt. Choice i draws from the stream `seed + i`; without a seed, from a random one. A seed
    fixes the draws, not how the processor rounds: answers decoded beside others may part from the lone one.

    `top_logprobs` None reports no log-probabilities. `grammar` comes from `SchemaCompiler.check`. Cancelling
    `future` drops the rows before the next step.
    """

    model: str
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    grammar: str | None = None
    future: Future[list[Choice]] = field(default_factory=Future)
    choices: dict[int, Choice] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Scoring:
    """Log-probabilities of completions (as tokens) after a prompt; scores come back in the order given."""

    model: str
    prompt: list[int]
    completions: list[list[int]]
    future: Future[list[Score]] = field(default_factory=Future)
