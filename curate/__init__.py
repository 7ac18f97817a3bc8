"""Pairs in, an accepted set out: gates, contamination, scorers, selection, duplicates, the split and the dataset.

from curate import best, curate, duplicates, gates

pool = curate(pairs, [*gates(min_words=8), best(1), duplicates(0.7)])
pool.counts, pool.accepted()
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.door import curate, gates
    from curate.pool import Pool
    from curate.rows import Row
    from curate.steps import Step, best, decontaminate, duplicates, each, named, scored

__all__ = [
    "Pool",
    "Row",
    "Step",
    "best",
    "curate",
    "decontaminate",
    "duplicates",
    "each",
    "gates",
    "named",
    "scored",
]

# Whatever lies in the working folder: `train.py` there is not our `train`.
run_path(str(Path(__file__).parents[1] / "schemas/own_folders.py"))["bind_ours"]()


def __getattr__(name: str) -> Any:
    """The names of the door, imported when they are first used."""
    if name not in __all__:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    if name == "gates":  # the package of that name, which is called like a function
        return import_module("curate.gates")
    room = {"curate": "curate.door", "Pool": "curate.pool", "Row": "curate.pool"}.get(name, "curate.steps")
    return getattr(import_module(room), name)
