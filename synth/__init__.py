"""Seeds in, pairs out: seed readers, teachers, generators, and the engine that runs them.

from synth import Forward, generate, teacher

with teacher("http://localhost:8000/v1", "qwen3") as t:
    pairs = generate(["a lighthouse", "a red fox"], Forward(t, style="Expand it into one rich sentence.", n=4))
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.records import Sampling, Seed
    from synth.functions import Function
    from synth.generation import Generation, generate
    from synth.generators import Backward, Forward
    from synth.imports import Imports, pairs
    from synth.teachers import teacher

__all__ = [
    "Backward",
    "Forward",
    "Function",
    "Generation",
    "Imports",
    "Sampling",
    "Seed",
    "generate",
    "pairs",
    "teacher",
]

_ROOMS = {
    "Backward": "synth.generators",
    "Forward": "synth.generators",
    "Function": "synth.functions",
    "Generation": "synth.generation",
    "Imports": "synth.imports",
    "Sampling": "schemas.records",
    "Seed": "schemas.records",
    "generate": "synth.generation",
    "pairs": "synth.imports",
    "teacher": "synth.teachers",
}

# Whatever lies in the working folder: `train.py` there is not our `train`.
run_path(str(Path(__file__).parents[1] / "schemas/own_folders.py"))["bind_ours"]()


def __getattr__(name: str) -> Any:
    """The names of the door, imported when they are first used."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
