"""No code is loaded that nobody named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("chosen", "used"), [(None, "NO"), ("YES", "YES")])
def test_models_run_without_native_code_from_the_hub_unless_the_user_wants_it(chosen: str | None, used: str) -> None:
    """transformers would download such code for a model's layers; its own variable decides."""
    environment = {name: value for name, value in os.environ.items() if name != "USE_HUB_KERNELS"}
    environment |= {} if chosen is None else {"USE_HUB_KERNELS": chosen}
    script = "import os, schemas; print(os.environ['USE_HUB_KERNELS'])"
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == used
