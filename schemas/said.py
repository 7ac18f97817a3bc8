"""What gates say of a pair in one go, as one body: `[keep, code, detail, score, flags]` of each, what is empty at the
end left out. Some twenty verdicts in a tenth of the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from schemas.identity import made
from schemas.records import Reason, Verdict

StepName = tuple[str, str]
"""`by` and `fingerprint` of a step's verdicts."""


class Said(NamedTuple):
    """A verdict that is only counted: not checked, and no record."""

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
        return made(Verdict, named | rest)


def body_of(judgements: Sequence[Any]) -> str:
    """The body of a row, of what each gate said (`curate.gates.Judgement`), in order."""
    bodies, finite = [], True
    for keep, score, reason, flags in judgements:
        one: list[Any] = [keep, reason.code, reason.detail]
        if score is not None or flags:
            one.append(score)
            finite = finite and (score is None or abs(score) < float("inf"))
        bodies.append([*one, flags] if flags else one)
    try:
        return orjson.dumps(bodies).decode() if finite else json.dumps(bodies)
    except TypeError:  # half a character, which JSON can escape
        return json.dumps(bodies)


def said_in(pair_id: str, steps: Sequence[StepName], body: str) -> Iterator[Said]:
    """What the steps said of a pair, of the body of a row."""
    try:
        judgements = orjson.loads(body)
    except ValueError:
        judgements = json.loads(body)
    for step, (keep, code, detail, *more) in zip(steps, judgements, strict=True):
        yield Said(pair_id, step, keep, code, detail, more[0] if more else None, tuple(more[1]) if more[1:] else ())


def said_once(pair_id: str, step: StepName, body: str) -> Said:
    """What one step said, of the body of a verdict."""
    verdict = orjson.loads(body)
    reason = verdict["reason"]
    reason = Reason.read(reason) if isinstance(reason, str) else Reason(**reason)
    score, flags = verdict.get("score"), tuple(verdict.get("flags", ()))
    return Said(pair_id, step, verdict["keep"], reason.code, reason.detail, score, flags)
