"""What a teacher is asked, the names that its answers have in the ledger, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from schemas.records import Call, Json, Message, Sampling, content_id

# Seeds of a sample's later attempts lie this far apart, beyond any number of samples.
_ATTEMPT_STRIDE = 1_000_003
_PARTS = attrgetter("role", "content")
_EXACT = 2**53  # below it a whole number is the same as an int and as a float


def limit_of(request: Json) -> int | None:
    """The most tokens that an answer to this may have, under either name of the setting; None: nothing limits it."""
    given = (request.get(name) for name in ("max_tokens", "max_completion_tokens"))
    return max((number for number in given if isinstance(number, int) and number > 0), default=None)


class Question(NamedTuple):
    """What a teacher is asked, apart from whom. Its text, its sampling and its schema shape the answer; whether an
    answer that breaks the schema counts (`binding`), what else may be said against one (`refused`: why, or None), and
    the name that its cost is told under (`prompt`), do not."""

    messages: Sequence[Message]
    sampling: Sampling
    schema: Json | None = None
    binding: bool = True
    prompt: str = ""
    refused: Callable[[str], str | None] | None = None

    @property
    def judged_by(self) -> Json | None:
        """The schema that an answer has to keep to be a good one."""
        return self.schema if self.binding else None

    def keys(self, teacher: str, revision: str | None, n: int) -> list[list[str]]:
        """The ledger's keys of samples 0 to n - 1 of this question to a teacher; and, where a setting that only one
        server has is a whole number, those of its other spellings, since 0 and 0.0 are one setting."""
        chat, extra = list(map(_PARTS, self.messages)), self.sampling.extra
        spelt = [extra] if not extra else [extra, _whole(extra, int), _whole(extra, float)]
        bodies = [{**self.sampling.body(), **one} for one in spelt]
        ids = (content_id("question", [teacher, revision, chat, body, self.schema]) for body in bodies)
        return [[content_id("sample", [id_, sample]) for sample in range(n)] for id_ in dict.fromkeys(ids)]

    def drawn(self, sample: int, attempt: int) -> Sampling:
        """How a request is drawn that begins with `sample` and comes after `attempt` answers to it: where the sampling
        has a seed, each sample and each attempt has one of its own."""
        if self.sampling.seed is None:
            return self.sampling
        seed = self.sampling.seed + sample + _ATTEMPT_STRIDE * attempt
        return self.sampling.model_copy(update={"seed": seed})


def _whole(value: Any, kind: type[int] | type[float]) -> Any:
    """`value` with every whole number in it of this kind."""
    if isinstance(value, dict):
        return {name: _whole(part, kind) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(part, kind) for part in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return kind(value) if number and abs(value) < _EXACT and value == int(value) else value


class Completion(NamedTuple):
    """A usable answer: its ledger row is `(key, attempt)`. `text` is without reasoning; `logprobs` is as the endpoint
    sent it."""

    text: str
    key: str
    attempt: int
    logprobs: Any | None
    finish: str | None


class FailedSample(NamedTuple):
    """No usable answer. `reason` begins with one word: the status of the last bad answer (empty, truncated, malformed,
    schema, refused, failed, thinking), or why none came (throttled, server, broken, timeout); the latter are asked
    again by the next run. The bad answers, if any came, are the store's calls of `key`."""

    reason: str
    key: str


def completion(call: Call) -> Completion:
    """A good answer, as it is used."""
    return Completion(call.text, call.key, call.attempt, call.raw.get("logprobs"), call.raw.get("finish_reason"))
