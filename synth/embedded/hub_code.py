"""Native code from the hub, which libraries download to compute a model with: only if the user wants it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def import_bitsandbytes() -> None:
    """Import bitsandbytes, if it is installed, as peft would, but without what it looks for on the hub.

    On processors with AVX-512 for bfloat16, bitsandbytes 0.50 downloads a function for 4-bit inference when it is
    imported, if the package `kernels` is installed (transformers 5.25 requires it). Without a network that takes as
    long as a connection may. `USE_HUB_KERNELS`, the variable of transformers, admits it.
    """
    is_wanted = os.environ.get("USE_HUB_KERNELS", "").lower() in ("1", "true", "y", "yes", "on")
    if is_wanted or "bitsandbytes" in sys.modules:
        return
    kernels = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # importing it fails, which bitsandbytes expects
    try:
        with suppress(ImportError):
            import bitsandbytes  # noqa: F401
    finally:
        sys.modules.pop("kernels")
        if kernels is not None:
            sys.modules["kernels"] = kernels
