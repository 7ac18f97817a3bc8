"""The environment of a job's process: what every process needs, and the variables that the project's spec names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from curate.argilla.launch import allowed_variables
from pairsmith.serve.policy import values_of
from schemas import tracing
from schemas.project import Project
from schemas.spec import Spec

Environment = Callable[[Project], dict[str, str]]
"""Returns the environment variables for a project's job. Raises PairsmithError if the spec may not run."""

# The locations of weights, Argilla and the GPU libraries, and what computes. Any other variable may hold a secret.
_MACHINE = frozenset(
    {
        *("HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
        *("PAIRSMITH_CACHE", "PAIRSMITH_ARGILLA_HOME"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
        *("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "USE_HUB_KERNELS"),
        *tracing.VARIABLES,
    }
)


def named_variables(spec: Spec) -> set[str]:
    """The environment variables that a spec names: the values of all keys that end with `_env`, at any depth."""
    values = (each.value for each in values_of(spec) if each.key.endswith("_env") and each.value)
    return {name for value in values for name in (value.values() if isinstance(value, Mapping) else (value,))}


def job_environment(project: Project) -> dict[str, str]:
    """The environment of a job of `project`, as far as the server has the variables."""
    passed = _MACHINE | named_variables(project.spec)
    return {**allowed_variables(os.environ), **{name: os.environ[name] for name in passed if name in os.environ}}
