"""Fingerprints of the setup steps, so that saving an outdated page does not overwrite somebody else's changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from pairsmith.serve.problems import Refusal
from schemas.spec import Spec

_SETTINGS: Mapping[str, Callable[[Spec], tuple[Any, ...]]] = {
    "columns": lambda spec: spec.seeds,
    "teacher": lambda spec: (spec.teacher,),
    "style": lambda spec: (spec.task.style, spec.task.language, *spec.exemplars),
    "checks": lambda spec: (spec.curate.gates, spec.curate.duplicates),
    "model": lambda spec: (spec.train,),
    "test": lambda spec: (spec.split, spec.evaluate),
    "cap": lambda spec: (spec.budget,),
}


def fingerprints(spec: Spec) -> dict[str, str]:
    """A fingerprint of the settings of each step."""
    return {step: _fingerprint(settings(spec)) for step, settings in _SETTINGS.items()}


def refuse_if_stale(spec: Spec, step: str, seen: str | None) -> None:
    """Raises Refusal if the settings of `step` have changed since the submitted page was rendered. Programs send no
    fingerprint (`seen`) and are not checked."""
    if seen and step in _SETTINGS and seen != fingerprints(spec)[step]:
        raise Refusal(
            412,
            "someone else changed this after you opened the page.",
            code="changed_since",
            why="Saving would overwrite their changes, which you have not seen.",
            fix="Open the setup in another tab to see their changes. Your input is still here; save again to apply it.",
        )


def _fingerprint(settings: tuple[Any, ...]) -> str:
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in settings]
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS)).hexdigest()[:16]
