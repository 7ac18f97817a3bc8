"""A project to evaluate: held-out seeds, one gate, two checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.split import split_of
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import Spec
from schemas.store import Store
from tests.curate.tiny import OFF


def spec(*, flag: str = "--ar 3:2", user: tuple[str, ...] = (), **more: Any) -> Spec:
    """A spec with only one `must` gate and the given user gates. `more` replaces whole tables."""
    tables: dict[str, Any] = {
        "task": {"name": "images", "system": "Rewrite the prompt.", "style": "Rich, with a light and a flag."},
        "seeds": [{"path": "seeds.jsonl"}],
        "exemplars": [{"input": "a fox", "output": "a fox, warm light, wide photograph --ar 3:2"}],
        "curate": {
            "gates": {
                **OFF,
                "must": [{"name": "flag", "pattern": flag}],
                "user": user,
            }
        },
        "split": {"test": 0.4, "validation": 0.1},
        "evaluate": {
            "samples": 2,
            "concurrency": 4,
            "sampling": {"temperature": 0.9, "max_tokens": 6},
            "checks": [{"name": "light", "pattern": "light"}, {"name": "medium", "pattern": "photograph|painting"}],
            "resamples": 200,
            "max_seeds": 4,
        },
        **more,
    }
    return Spec.model_validate(tables)


def project(folder: Path, **more: Any) -> Project:
    return Project(folder, spec(**more))


def with_seeds(store: Store, count: int = 20) -> None:
    """Write numbered input seeds, and an output seed, which is never evaluated."""
    input = [Seed(kind="input", text=f"a fox number {i}", source=f"seeds.jsonl:{i}") for i in range(count)]
    store.set_active_seeds([*input, Seed(kind="output", text="a fox, at length", source="excellent.jsonl:1")])


def held_out(store: Store, spec: Spec) -> set[str]:
    return {s.id for s in store.active_seeds() if s.kind == "input" and split_of(s.id, spec.split) == "test"}
