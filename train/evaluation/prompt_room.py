"""How many worked examples a prompt of the untuned base has room for.

A prompt with more examples than fit into a model's context is refused, so few-shot and retrieval could never be
measured on a base with a small context. They show as many as fit beside each input, as anyone who used them would have
to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from schemas.records import Messages, Seed
from schemas.spec import Spec
from synth.embedded.protocol import DEFAULT_MAX_TOKENS
from synth.vllm_arguments import context_in
from train.base_models.base_model import Base, context_of, load_chat, read_config
from train.evaluation.shortened import Shortened

MessageBuilder = Callable[[Seed], Messages]
_TEMPLATE_BYTES = 64  # at most what a chat template writes around a message, in tokens


@dataclass(frozen=True)
class Room:
    """The context of a model, the part of it that is left for an answer, and the number of tokens of a prompt."""

    context: int
    answer: int
    count: Callable[[Messages], int]

    def holds(self, messages: Messages) -> bool:
        """Whether a prompt fits. No token is shorter than a byte, so most prompts need no tokenizer."""
        most = sum(len(message.content.encode()) + _TEMPLATE_BYTES for message in messages) + _TEMPLATE_BYTES
        free = self.context - self.answer
        return most <= free or self.count(messages) <= free


def room_of(base: Base, spec: Spec, arguments: Mapping[str, Any]) -> Room | None:
    """The room for prompts of `base` in an evaluation; None if its config names no context. The answer gets
    `evaluate.sampling.max_tokens`, but at most half of the context where the embedded server shortens that limit."""
    context = context_of(read_config(base.folder))
    limit = spec.evaluate.sampling.max_tokens or DEFAULT_MAX_TOKENS
    if spec.evaluate.vllm:
        context = context_in(spec.evaluate.vllm_args) or context
    if context is None:
        return None
    answer = limit if spec.evaluate.vllm else min(limit, context // 2)

    @cache
    def tokenizer() -> Any:
        return load_chat(base, arguments)

    def count(messages: Messages) -> int:
        return len(tokenizer().prompt_ids([message.model_dump() for message in messages]))

    return Room(context, answer, count)


def as_many_as_fit(
    name: str, builder: Callable[[int], MessageBuilder], wanted: int, seeds: Sequence[Seed], room: Room | None
) -> tuple[MessageBuilder, Shortened | None]:
    """The messages with up to `wanted` examples that fit (`builder(3)` writes those with three), and what was shown if
    that is fewer for any of `seeds`."""
    full = builder(wanted)
    if room is None or not wanted:
        return full, None
    fitting: dict[str, int] = {}

    def messages(seed: Seed) -> Messages:
        if seed.id not in fitting:
            numbers = range(wanted, 0, -1)
            fitting[seed.id] = next((n for n in numbers if room.holds(builder(n)(seed))), 0)
        return builder(fitting[seed.id])(seed)

    for seed in seeds:
        messages(seed)
    shown = [fitting[seed.id] for seed in seeds]
    if min(shown, default=wanted) == wanted:
        return messages, None
    return messages, Shortened(
        system=name,
        wanted=wanted,
        fewest=min(shown),
        most=max(shown),
        context=room.context,
        answer=room.answer,
        needed=max(room.count(full(seed)) for seed in seeds) + room.answer,
    )
