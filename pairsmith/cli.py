"""The entry point of the `pairsmith` script and of `python -m pairsmith`."""

from __future__ import annotations

import gc
from pathlib import Path
from runpy import run_path

OWN_FOLDERS = Path(__file__).parents[1] / "schemas/own_folders.py"


def main() -> int:
    """Run the command line and return its exit code; docs/cli.md lists the codes."""
    gc.set_threshold(50_000)  # imports make many objects and no garbage: looking for it is a sixth of a short command
    run_path(str(OWN_FOLDERS))["ours_first"]()
    from pairsmith.commands import start

    return start()
