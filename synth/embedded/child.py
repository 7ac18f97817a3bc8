"""How a child Python finds these packages, and nobody else's of the same name."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path


def child_command(module: str, *arguments: str) -> list[str]:
    """Runs a module of ours; -P keeps a `train.py` or `schemas.py` in the working folder off the child's path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """This environment, with the folder that holds our packages in front where they are not installed ones."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([root, before] if before else [root])
    return environment
