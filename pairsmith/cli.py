"""The entry point of the `pairsmith` script and of `python -m pairsmith`."""

from __future__ import annotations

import gc
from pathlib import Path
from runpy import run_path

OWN_FOLDERS = Path(__file__).parents[1] / "schemas/package_binding.py"


def main() -> int:
    """Run the command line and return its exit code; docs/cli.md lists the codes."""
    # Imports create many objects and no garbage, and collecting it takes a sixth of the time of a short command.
    gc.set_threshold(50_000)
    run_path(str(OWN_FOLDERS))["bind_packages_without_cwd"]()
    from pairsmith.commands import start

    return start()
