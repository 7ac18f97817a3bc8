"""The jobs that the HTTP side submits to the decode loop, and their results."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from synth.embedded.sampling import RowSampler, TokenSampling


@dataclass(frozen=True)
class TokenLogprob:
    """A token with the model's own log-probability (natural logarithm), and the most likely tokens at its position."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Choice:
    """One answer. `tokens` includes the end token; `logprobs` does not, because it is not part of the text."""

    text: str
    finish_reason: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Likelihood:
    """The sum of the log-probabilities of a completion's tokens (without the end token), and their number."""

    logprob: float
    tokens: int


@dataclass(frozen=True)
class Piece:
    """The next part of one choice: text that will not change any more, and the log-probabilities of its tokens."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...]


@dataclass(kw_only=True, eq=False)
class GenerationJob:
    """`n` answers to one prompt. Choice i draws from the random stream `seed + i`; without a seed, from a random one.

    A seed fixes the draws, not how the processor rounds: an answer decoded in a batch may differ from the same one
    decoded alone. With `top_logprobs` None no log-probabilities are reported. `grammar` comes from
    `SchemaCompiler.check`. Cancelling `future` drops the rows before the next step. `tell` is called with every piece
    as it is decoded, in the decoder's thread; concatenated, the pieces of a choice are its text and log-probabilities.
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
class ScoringJob:
    """Asks for the log-probabilities of completions (as tokens) after a prompt; scores come in the order given."""

    model: str
    prompt: list[int]
    completions: list[list[int]]
    future: Future[list[Likelihood]] = field(default_factory=Future)


@dataclass(eq=False)
class DecodedRow:
    """One choice while it is decoded."""

    job: GenerationJob
    index: int
    draw: RowSampler
    length: int
    """Tokens whose keys and values are in the row cache."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    sent: str = ""
    sent_tokens: int = 0

    def send_piece(self, text: str, *, whole: bool) -> None:
        """Pass on the part of `text`, the choice so far, that has not been sent yet.

        Unless the text is `whole`, an incomplete character and a possible beginning of a stop text are held back.
        """
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
