"""Makes `schemas`, `prompts`, `synth`, `curate` and `train` mean our folders, whatever lies in the folder of the user.

`python -m` puts the working directory first on the path, so a `train.py` or a `click.py` in it would be taken for ours.
Only a `pairsmith.py` or a folder `pairsmith` in the working directory is beyond help: Python has taken it before any
line of ours runs.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import LazyLoader, module_from_spec

LAYERS = ("schemas", "prompts", "synth", "curate", "train")


def ours_first() -> None:
    """Drop the working directory from the import path and bind our five packages to the folders beside this one.

    They are bound lazily: nothing in them runs before it is used, and everything in them is then found through the
    package, not through the path. The working directory stays on the path if it is where pairsmith itself lies.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # the working directory was removed under us
        here = root
    if here != os.path.realpath(root):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    for name in LAYERS:
        spec = PathFinder.find_spec(name, [root])
        if name in sys.modules or spec is None or spec.loader is None:
            continue
        spec.loader = LazyLoader(spec.loader)
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
