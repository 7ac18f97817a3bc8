"""The verdicts of several gates on one pair, encoded as one body: a list of `[keep, code, detail, score, flags]` per
gate, with empty trailing values omitted. It holds some twenty verdicts in a tenth of the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.identity import construct
from schemas.records import Reason, Verdict

StepName = tuple[str, str]
"""The `by` and `fingerprint` of a step's verdicts."""


class UnvalidatedVerdict(NamedTuple):
    """A verdict for counting only: not validated, and not a record."""

    pair_id: str
    step: StepName
    keep: bool | None
    code: str
    detail: str = ""
    score: float | None = None
    flags: tuple[str, ...] = ()

    def verdict(self) -> Verdict:
        named = {"pair_id": self.pair_id, "by": self.step[0], "fingerprint": self.step[1], "keep": self.keep}
        rest = {"score": self.score, "reason": Reason(self.code, self.detail), "flags": self.flags}
        return construct(Verdict, named | rest)


def body_of(judgements: Sequence[Any]) -> str:
    """Encode the judgements of all gates on one pair (`curate.gates.Judgement`), in order, as one body."""
    bodies, finite = [], True
    for keep, score, reason, flags in judgements:
        entry: list[Any] = [keep, reason.code, reason.detail]
        if score is not None or flags:
            entry.append(score)
            finite = finite and (score is None or abs(score) < float("inf"))
        bodies.append([*entry, flags] if flags else entry)
    try:
        return orjson.dumps(bodies).decode() if finite else json.dumps(bodies)
    except TypeError:  # a lone surrogate, which json can escape
        return json.dumps(bodies)


def decode_verdicts(pair_id: str, steps: Sequence[StepName], body: str) -> Iterator[UnvalidatedVerdict]:
    """Decode the verdicts of `steps` on a pair from a row's body."""
    try:
        judgements = orjson.loads(body)
    except ValueError:
        judgements = json.loads(body)
    for step, (keep, code, detail, *more) in zip(steps, judgements, strict=True):
        yield UnvalidatedVerdict(
            pair_id, step, keep, code, detail, more[0] if more else None, tuple(more[1]) if more[1:] else ()
        )


def decode_verdict(pair_id: str, step: StepName, body: str) -> UnvalidatedVerdict:
    """Decode one step's verdict from its own body."""
    verdict = orjson.loads(body)
    reason = verdict["reason"]
    reason = Reason.read(reason) if isinstance(reason, str) else Reason(**reason)
    score, flags = verdict.get("score"), tuple(verdict.get("flags", ()))
    return UnvalidatedVerdict(pair_id, step, verdict["keep"], reason.code, reason.detail, score, flags)
