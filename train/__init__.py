"""An accepted set in, a tuned small model and its proof out.

from train import evaluate, fine_tune

trained = fine_tune(pool, base="embedded", method="qlora", epochs=2)
evaluation = evaluate(trained, unseen_inputs, checks=[r"--ar \\d+:\\d+$", lambda input, output: input in output])
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.evaluation import evaluate
    from train.sft import fine_tune

__all__ = ["evaluate", "fine_tune"]

_ROOMS = {"evaluate": "train.evaluation", "fine_tune": "train.sft"}

# Whatever lies in the working folder: `curate.py` there is not our `curate`.
run_path(str(Path(__file__).parents[1] / "schemas/own_folders.py"))["bind_ours"]()


def __getattr__(name: str) -> Any:
    """The functions of the door, imported when they are first used."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'train' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
