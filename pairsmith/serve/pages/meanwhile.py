"""What a step of the setup stood at when its page was drawn: who keeps an old page writes over nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from pairsmith.serve.problems import Refusal
from schemas.spec import Spec

_HELD: Mapping[str, Callable[[Spec], tuple[Any, ...]]] = {
    "columns": lambda spec: spec.seeds,
    "teacher": lambda spec: (spec.teacher,),
    "style": lambda spec: (spec.task.style, spec.task.language, *spec.exemplars),
    "checks": lambda spec: (spec.curate.gates, spec.curate.duplicates),
    "model": lambda spec: (spec.train,),
    "test": lambda spec: (spec.split, spec.evaluate),
    "cap": lambda spec: (spec.budget,),
}


def marks(spec: Spec) -> dict[str, str]:
    """For each step a mark of what the spec holds of it."""
    return {step: _mark(held(spec)) for step, held in _HELD.items()}


def check(spec: Spec, step: str, seen: str | None) -> None:
    """Raise Refusal if the spec holds something else than the page that was sent showed. A program sends no mark."""
    if seen and step in _HELD and seen != marks(spec)[step]:
        raise Refusal(
            412,
            "somebody has changed this since you opened the page.",
            code="changed_since",
            why="What you send would take the place of theirs, which you have not seen.",
            fix="Open the setup in another tab to see theirs. What you typed stands here; sent again, it is kept.",
        )


def _mark(held: tuple[Any, ...]) -> str:
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in held]
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS)).hexdigest()[:16]
