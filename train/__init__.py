"""Fine-tune a small model on accepted pairs, and measure whether it is better than its base.

from train import evaluate, fine_tune

trained = fine_tune(pool, base="embedded", method="qlora", epochs=2)
evaluation = evaluate(trained, unseen_inputs, checks=[r"--ar \\d+:\\d+$", lambda input, output: input in output])
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.evaluation.evaluation import evaluate as evaluate
    from train.sft import fine_tune as fine_tune

_MODULES = {"evaluate": "train.evaluation.evaluation", "fine_tune": "train.sft"}
__all__ = list(_MODULES)

# Resolve our own packages even if the working folder holds e.g. a `curate.py`.
_OPEN_DOOR = run_path(str(Path(__file__).parents[1] / "schemas/package_binding.py"))["door"]
__getattr__, __dir__ = _OPEN_DOOR(__name__, _MODULES)
