"""Makes `schemas`, `prompts`, `synth`, `curate` and `train` mean our folders, whatever lies in the folder of the user.

`python -m` puts the working directory first on the path, so a `train.py` or a `click.py` in it would be taken for ours.
So does a notebook. What runs first, the command line or the first of our packages that is imported, runs this file by
its place, so that no other `schemas` can stand in for it. Only a file of the name that is imported first is beyond
help: Python has taken it before any line of ours runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import LazyLoader, module_from_spec

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYERS = ("schemas", "prompts", "synth", "curate", "train")


def ours_first() -> None:
    """For the command line: `bind_ours`, after the working directory was dropped from the import path.

    It stays on the path if it is where pairsmith itself lies.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # the working directory was removed under us
        here = _ROOT
    if here != os.path.realpath(_ROOT):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    bind_ours()


def bind_ours() -> None:
    """Bind our five packages to the folders beside this one, whatever the path says.

    They are bound lazily: nothing in them runs before it is used, and everything in them is then found through the
    package, not through the path.
    """
    for name in LAYERS:
        spec = PathFinder.find_spec(name, [_ROOT])
        if name in sys.modules or spec is None or spec.loader is None:
            continue
        spec.loader = LazyLoader(spec.loader)
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def door(package: str, rooms: Mapping[str, str]) -> Callable[[str], object]:
    """`bind_ours`, and the `__getattr__` of a package whose names are imported from their `rooms` when they are first
    used. A room that is called as the package and the name is itself what is meant."""
    bind_ours()

    def opened(name: str) -> object:
        if name not in rooms:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        room = import_module(rooms[name])
        return room if rooms[name] == f"{package}.{name}" else getattr(room, name)

    return opened
