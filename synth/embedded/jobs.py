"""What the HTTP side hands to the decode loop, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from synth.embedded.sampling import RowDraw, TokenSampling


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
class Likelihood:
    """Sum of the log-probabilities of a completion's tokens (the end token is not counted), and their number."""

    logprob: float
    tokens: int


@dataclass(frozen=True)
class Piece:
    """What one choice has gone on by: text that will not change any more, and its tokens."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...]


@dataclass(kw_only=True, eq=False)
class GenerationJob:
    """`n` answers to one prompt. Choice i draws from the stream `seed + i`; without a seed, from a random one. A seed
    fixes the draws, not how the processor rounds: answers decoded beside others may part from the lone one.

    `top_logprobs` None reports no log-probabilities. `grammar` comes from `SchemaCompiler.check`. Cancelling
    `future` drops the rows before the next step. `tell` hears every piece as it is decoded, in the decoder's thread;
    all pieces of a choice together are its text and log-probabilities.
    """

    model: str
    prompt: list[int]
    sampling: TokenSampling
    max_tokens: int
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    grammar: str | None = None
    tell: Callable[[Piece], None] | None = None
    future: Future[list[Choice]] = field(default_factory=Future)
    choices: dict[int, Choice] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Scoring:
    """Log-probabilities of completions (as tokens) after a prompt; scores come back in the order given."""

    model: str
    prompt: list[int]
    completions: list[list[int]]
    future: Future[list[Likelihood]] = field(default_factory=Future)


@dataclass(eq=False)
class DecodedRow:
    """One choice while it is decoded."""

    job: GenerationJob
    index: int
    draw: RowDraw
    length: int
    """Tokens whose keys and values are in the row cache."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    sent: str = ""
    sent_tokens: int = 0

    def tell(self, text: str, *, whole: bool) -> None:
        """Hand on what `text`, the choice so far, has more than what was sent. Unless it is `whole`, half a character
        and what may become a text to stop at are held back."""
        if self.job.tell is None:
            return
        if not whole:
            text = text.rstrip("\ufffd")
            begun = (n for stop in self.job.stop for n in range(1, len(stop)) if text.endswith(stop[:n]))
            text = text[: len(text) - max(begun, default=0)]
        more, logprobs = text[len(self.sent) :], tuple(self.logprobs[self.sent_tokens :])
        if more or (whole and logprobs):
            self.job.tell(Piece(self.index, more, logprobs))
            self.sent, self.sent_tokens = text, len(self.logprobs)
