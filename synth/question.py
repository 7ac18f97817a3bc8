"""A question to a teacher, the ledger keys of its samples, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from schemas.records import Call, Json, Message, Sampling, content_id

# The seeds of a sample's successive attempts differ by this much, which exceeds any number of samples.
_ATTEMPT_STRIDE = 1_000_003
_PARTS = attrgetter("role", "content")
_MAX_EXACT = 2**53  # below it, int and float represent the same whole numbers


def max_answer_tokens(request: Json) -> int | None:
    """The token limit of an answer to this request, under either name of the setting; None if there is none."""
    limit, other = request.get("max_tokens"), request.get("max_completion_tokens")
    if other is None and type(limit) is int and limit > 0:
        return limit  # the usual case
    return max([number for number in (limit, other) if isinstance(number, int) and number > 0], default=None)


class Question(NamedTuple):
    """A question to a teacher, independent of which teacher. Its messages, sampling and schema determine the answer.

    The other fields do not: whether an answer that violates the schema is bad (`binding`), a further check of the text
    (`refused`, which returns the reason or None), the name under which its cost is reported (`prompt`), and whether the
    caller can use a good answer (`readable`): it is kept and not asked for again, but a run of no others ends.
    """

    messages: Sequence[Message]
    sampling: Sampling
    schema: Json | None = None
    binding: bool = True
    prompt: str = ""
    refused: Callable[[str], str | None] | None = None
    readable: Callable[[str], object] | None = None

    @property
    def judged_by(self) -> Json | None:
        """The schema that a good answer must satisfy."""
        return self.schema if self.binding else None

    def keys(self, teacher: str, revision: str | None, n: int) -> list[list[str]]:
        """The ledger keys of samples 0 to n - 1 of this question to a teacher. If a server-specific setting is a whole
        number, further lists hold the keys of its other spellings, since 0 and 0.0 are the same setting."""
        chat, extra, bodies = list(map(_PARTS, self.messages)), self.sampling.extra, [self.sampling.body()]
        if extra:
            bodies += [{**bodies[0], **_convert_whole_numbers(extra, kind)} for kind in (int, float)]
        ids = [content_id("question", [teacher, revision, chat, body, self.schema]) for body in bodies]
        return [[content_id("sample", [id_, sample]) for sample in range(n)] for id_ in dict.fromkeys(ids)]

    def sampling_for(self, sample: int, attempt: int) -> Sampling:
        """The sampling of a request that begins with `sample`, after `attempt` earlier answers to it. If the sampling
        has a seed, each sample and each attempt gets its own."""
        if self.sampling.seed is None:
            return self.sampling
        seed = self.sampling.seed + sample + _ATTEMPT_STRIDE * attempt
        return self.sampling.model_copy(update={"seed": seed})


def _convert_whole_numbers(value: Any, kind: type[int] | type[float]) -> Any:
    """`value` with every whole number in it converted to `kind`."""
    if isinstance(value, dict):
        return {name: _convert_whole_numbers(part, kind) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_convert_whole_numbers(part, kind) for part in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return kind(value) if number and abs(value) < _MAX_EXACT and value == int(value) else value


class Completion(NamedTuple):
    """A usable answer, whose ledger row is `(key, attempt)`. `text` is without reasoning; `logprobs` is as the endpoint
    sent it."""

    text: str
    key: str
    attempt: int
    logprobs: Any | None
    finish: str | None


class FailedSample(NamedTuple):
    """A sample without a usable answer. The first word of `reason` is the status of the last bad answer (empty,
    truncated, malformed, schema, refused, failed, thinking), or why none came (throttled, server, broken, timeout); the
    latter are asked again by the next run. Bad answers, if any, are the store's calls of `key`."""

    reason: str
    key: str


def completion(call: Call) -> Completion:
    """The completion in a good ledger row."""
    return Completion(call.text, call.key, call.attempt, call.raw.get("logprobs"), call.raw.get("finish_reason"))
