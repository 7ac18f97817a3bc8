"""The environment of a job's process: what every process needs, and the variables that its spec names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from curate.argilla.launch import allowed_variables
from pairsmith.serve.policy import values_of
from schemas import tracing
from schemas.project import Project
from schemas.spec import Spec

Environment = Callable[[Project], dict[str, str]]
"""The variables of the process of a project's job. Raises PairsmithError for a spec that may not run."""

# Where weights, Argilla and the GPU's libraries are. Any other variable may be a key of something.
_MACHINE = frozenset(
    {
        *("HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
        *("PAIRSMITH_CACHE", "PAIRSMITH_ARGILLA_HOME"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
        *("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"),
        *tracing.VARIABLES,
    }
)


def named_variables(spec: Spec) -> set[str]:
    """The environment variables that a spec names: the value of every key that ends with `_env`, wherever it is."""
    held = (each.value for each in values_of(spec) if each.key.endswith("_env") and each.value)
    return {name for value in held for name in (value.values() if isinstance(value, Mapping) else (value,))}


def job_environment(project: Project) -> dict[str, str]:
    """The variables that a job of `project` gets, as far as the server has them."""
    kept = _MACHINE | named_variables(project.spec)
    return {**allowed_variables(os.environ), **{name: os.environ[name] for name in kept if name in os.environ}}
