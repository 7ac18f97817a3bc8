"""Makes the names `schemas`, `prompts`, `synth`, `curate` and `train` refer to our packages, whatever the user's folder
contains.

`python -m` puts the working directory first on the path, so a `train.py` or a `click.py` there would shadow ours. A
notebook does the same. The first code to run (the command line, or whichever of our packages is imported first) runs
this file by path, so that no other `schemas` can take its place. One case cannot be handled: a user's file with the
name of the package that is imported first, because Python has already loaded it before any of our code runs.
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


def bind_packages_without_cwd() -> None:
    """For the command line: remove the working directory from the import path, then call `bind_packages`.

    The directory stays on the path if pairsmith itself is installed there.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # the working directory has been deleted
        here = _ROOT
    if here != os.path.realpath(_ROOT):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    bind_packages()


def bind_packages() -> None:
    """Bind our five packages to the folders beside this one, regardless of the import path.

    They are bound lazily: nothing in them runs before its first use, and their submodules are then found through the
    package, not through the path.
    """
    for name in LAYERS:
        spec = PathFinder.find_spec(name, [_ROOT])
        if name in sys.modules or spec is None or spec.loader is None:
            continue
        spec.loader = LazyLoader(spec.loader)
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def door(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Call `bind_packages`, and return a `__getattr__` for `package` that imports each name when it is first used, and
    a `__dir__`, so that completion in a notebook offers names that have not been imported yet.

    `modules` maps names to modules. A module whose full name is the package and the name is itself the attribute.
    """
    bind_packages()

    def get_attribute(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        loaded = import_module(modules[name])
        return loaded if modules[name] == f"{package}.{name}" else getattr(loaded, name)

    return get_attribute, lambda: list(modules)
