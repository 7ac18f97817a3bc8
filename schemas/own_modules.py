"""Loads a Python file beside the spec, which `module:name` names: gates, checks and pydantic models of a user's own."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from schemas.errors import SpecError
from schemas.own_output import own_output


class OwnName(NamedTuple):
    """`module:name`: a Python file beside the spec, and what in it is meant."""

    module: str
    name: str

    @classmethod
    def read(cls, text: str) -> OwnName:
        module, _, name = text.partition(":")
        return cls(module, name)

    def file(self, folder: Path) -> Path | None:
        """Where the module's source is; None where it is not."""
        stem = folder.joinpath(*self.module.split("."))
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


class OwnModule(NamedTuple):
    """A file of the user, its content, and what it defines."""

    path: Path
    source: bytes
    module: ModuleType


def module_beside(name: str, folder: Path, key: str) -> OwnModule:
    """The module of `module:name` in `folder`; `key` is the key of the spec that names it.

    The file is loaded from its place under a name of its own: a `train.py` there never stands in for ours, nor for a
    file of the same name in another project. For what it imports itself, the folder is appended to `sys.path`, never
    prepended. Raises SpecError if there is no such file or it cannot be run.
    """
    own, key = OwnName.read(name), f"'{key}': {name}"
    path = own.file(folder)
    if path is None:
        there = ", ".join(sorted(p.stem for p in folder.glob("*.py"))) or "none"
        fix = f"Write {'/'.join(own.module.split('.'))}.py there. Modules there now: {there}."
        named = OwnName(own.module.removesuffix(".py"), own.name)  # a dot leads into a folder
        if named != own and named.file(folder):
            fix = f"Did you mean '{':'.join(named)}'? A file is named without its ending."
        raise SpecError(f"{key}: there is no module '{own.module}' beside the spec.", where=str(folder), fix=fix)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{key}: the file cannot be read: {error.strerror}.", where=str(path)) from None
    return OwnModule(path, source, _loaded(path, source, folder, key))


def _loaded(path: Path, source: bytes, folder: Path, key: str) -> ModuleType:
    """The module made of `source`, once for each place and content."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:12]
    name = f"{path.stem}_beside_spec_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    try:
        # Not through the loader: it would write a cache beside the spec, which goes by whole seconds.
        with own_output():
            exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SpecError(
            f"{key}: the file cannot be run: {type(error).__name__}: {error}.", where=f"{path}{line}", fix="Mend it."
        ) from None
    return module
