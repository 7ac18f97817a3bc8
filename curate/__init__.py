"""Turn pairs into an accepted dataset: gates, contamination, scorers, selection, duplicates, split and export.

from curate import best, curate, duplicates, gates

pool = curate(pairs, [*gates(min_words=8), best(1), duplicates(0.7)])
pool.counts, pool.accepted()
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.pool import Pool as Pool
    from curate.python_api import curate as curate
    from curate.python_api import gates as gates
    from curate.rows import Row as Row
    from curate.steps import Step as Step
    from curate.steps import best as best
    from curate.steps import decontaminate as decontaminate
    from curate.steps import duplicates as duplicates
    from curate.steps import each as each
    from curate.steps import named as named
    from curate.steps import scored as scored

_MODULES = {
    "curate": "curate.python_api",
    "gates": "curate.gates",  # a package that can be called like a function
    "Pool": "curate.pool",
    "Row": "curate.rows",
    **dict.fromkeys(("Step", "best", "decontaminate", "duplicates", "each", "named", "scored"), "curate.steps"),
}
__all__ = list(_MODULES)

# Load the names above on first use. A file in the working folder, such as `train.py`, does not shadow our package.
_OPEN_DOOR = run_path(str(Path(__file__).parents[1] / "schemas/package_binding.py"))["door"]
__getattr__, __dir__ = _OPEN_DOOR(__name__, _MODULES)
