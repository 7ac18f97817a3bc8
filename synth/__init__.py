"""Turns seeds into pairs: seed readers, teachers, generators, and the engine that runs them.

from synth import Forward, generate, teacher

with teacher("http://localhost:8000/v1", "qwen3") as t:
    pairs = generate(["a lighthouse", "a red fox"], Forward(t, style="Expand it into one rich sentence.", n=4))
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.records import Sampling as Sampling
    from schemas.records import Seed as Seed
    from synth.functions import Function as Function
    from synth.generation import Generation as Generation
    from synth.generation import generate as generate
    from synth.generators import Backward as Backward
    from synth.generators import Forward as Forward
    from synth.imports import Imports as Imports
    from synth.imports import pairs as pairs
    from synth.teachers import teacher as teacher

_MODULES = {
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
__all__ = list(_MODULES)

# Works whatever is in the working folder: a `train.py` there is not our `train`.
_OPEN_DOOR = run_path(str(Path(__file__).parents[1] / "schemas/package_binding.py"))["door"]
__getattr__, __dir__ = _OPEN_DOOR(__name__, _MODULES)
