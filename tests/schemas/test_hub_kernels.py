"""No code is loaded that nobody named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_BITSANDBYTES = """
try:
    from kernels import get_kernel
except ImportError:
    function = None
else:
    function = get_kernel("publisher/4-bit")
"""


@pytest.mark.parametrize(("chosen", "used"), [(None, "NO"), ("YES", "YES")])
def test_models_run_without_native_code_from_the_hub_unless_the_user_wants_it(chosen: str | None, used: str) -> None:
    """transformers would download such code for a model's layers; its own variable decides."""
    environment = {name: value for name, value in os.environ.items() if name != "USE_HUB_KERNELS"}
    environment |= {} if chosen is None else {"USE_HUB_KERNELS": chosen}
    script = "import os, schemas; print(os.environ['USE_HUB_KERNELS'])"
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == used


@pytest.mark.parametrize(("chosen", "function"), [(None, "None"), ("YES", "native code")])
def test_bitsandbytes_gets_native_code_from_the_hub_only_if_the_user_wants_it(
    chosen: str | None, function: str, tmp_path: Path
) -> None:
    """It downloads a function when it is imported, on some processors; a stand-in does so on all. Afterwards others can
    import `kernels`."""
    (tmp_path / "kernels.py").write_text("def get_kernel(repository): return 'native code'")
    (tmp_path / "bitsandbytes.py").write_text(_BITSANDBYTES)
    environment = {name: value for name, value in os.environ.items() if name != "USE_HUB_KERNELS"}
    environment |= {} if chosen is None else {"USE_HUB_KERNELS": chosen}
    script = (
        "import sys; from synth.embedded.hub_code import import_bitsandbytes as get;"
        f"sys.path.insert(0, {str(tmp_path)!r}); get(); import bitsandbytes, kernels; print(bitsandbytes.function)"
    )
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == function
