"""Fingerprints of the setup steps, so that saving an outdated page does not overwrite somebody else's changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from pairsmith.serve.problems import Refusal
from schemas.project import Project
from schemas.spec import Spec

_SETTINGS: Mapping[str, Callable[[Spec], tuple[Any, ...]]] = {
    "seeds": lambda spec: spec.seeds,
    "columns": lambda spec: spec.seeds,
    "teacher": lambda spec: (spec.teacher,),
    "style": lambda spec: (spec.task.style, spec.task.language, *spec.exemplars),
    "checks": lambda spec: (spec.curate.gates, spec.curate.duplicates),
    "model": lambda spec: (spec.train,),
    "test": lambda spec: (spec.split, spec.evaluate),
    "cap": lambda spec: (spec.budget,),
}


def fingerprints(project: Project) -> dict[str, str]:
    """A fingerprint of the settings of each step; for `seeds`, of their files too."""
    settings = {step: settings(project.spec) for step, settings in _SETTINGS.items()}
    files = changed_at(seed_files(project))
    return {step: _fingerprint((*parts, *(files if step == "seeds" else ()))) for step, parts in settings.items()}


def seed_files(project: Project) -> list[Path]:
    """The paths of all seed sources; of a pattern, every file that matches it."""
    return [project.folder / one.path for source in project.spec.seeds for one in source.each(project.folder)]


def changed_at(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """When each of these files was changed, in nanoseconds, and its size in bytes; nothing for one that is missing."""
    return [(path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.is_file()]


def refuse_if_stale(project: Project, step: str, seen: str | None) -> None:
    """Raises Refusal if the settings of `step` have changed since the submitted page was rendered. Programs send no
    fingerprint (`seen`) and are not checked."""
    if seen and step in _SETTINGS and seen != fingerprints(project)[step]:
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
