"""The ledger's rows of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.identity import construct
from schemas.records import Call, Json, Usage
from synth.chat_completions import Answer


def call_rows(
    answer: Answer,
    choices: Sequence[Any],
    samples: Sequence[tuple[str, int, int]],
    usage: Usage,
    usd: float | None,
    common: Json,
) -> list[Call]:
    """A row per choice, for these samples: key, attempt and number of each. The first row has the tokens and the cost
    of all; the others refer to its request. `common` are the fields that are the same in all."""
    facts = answer.facts or {}
    if len(samples) > 1 and len(answer.choices) == 1:  # the token count is that of this single choice
        facts = {**facts, "choices": 1}
    others = {name: value for name, value in facts.items() if name != "usage"} if len(samples) > 1 else facts
    return [
        construct(
            Call,
            {
                **common,
                "key": key,
                "attempt": attempt,
                "sample": sample,
                "request_of": None if nth == 0 else samples[0][:2],
                "facts": facts if nth == 0 else others,
                "raw": raw if isinstance(raw, dict) else {"body": raw},
                "usage": usage if nth == 0 else Usage(),
                "usd": usd if nth == 0 else 0.0,
            },
        )
        for nth, ((key, attempt, sample), raw) in enumerate(zip(samples, choices, strict=False))
    ]
