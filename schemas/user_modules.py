"""Loads a Python file beside the spec, named as `module:name`: a user's own gates, checks and pydantic models."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from schemas.errors import SpecError
from schemas.user_output import user_output


class UserReference(NamedTuple):
    """`module:name`: a Python file beside the spec, and a name defined in it."""

    module: str
    name: str

    @classmethod
    def read(cls, text: str) -> UserReference:
        module, _, name = text.partition(":")
        return cls(module, name)

    def file(self, folder: Path) -> Path | None:
        """The path of the module's source; None if there is no such file."""
        stem = folder.joinpath(*self.module.split("."))
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


class UserModule(NamedTuple):
    """A user's Python file: its path, its source, and the loaded module."""

    path: Path
    source: bytes
    module: ModuleType


def load_user_module(name: str, folder: Path, key: str) -> UserModule:
    """Load the module of `module:name` from `folder`; `key` is the spec key that names it.

    The file is loaded by its path under a unique module name, so a user's `train.py` never shadows ours, or a file of
    the same name in another project. For the file's own imports the folder is appended to `sys.path`, never prepended.
    Raises SpecError if the file does not exist or cannot be run.
    """
    reference, key = UserReference.read(name), f"'{key}': {name}"
    path = reference.file(folder)
    if path is None:
        available = ", ".join(sorted(p.stem for p in folder.glob("*.py"))) or "none"
        fix = f"Write {'/'.join(reference.module.split('.'))}.py there. Modules there now: {available}."
        named = UserReference(reference.module.removesuffix(".py"), reference.name)  # a dot means a subfolder
        if named != reference and named.file(folder):
            fix = f"Did you mean '{':'.join(named)}'? Write the file's name without .py."
        raise SpecError(f"{key}: there is no module '{reference.module}' beside the spec.", where=str(folder), fix=fix)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{key}: the file cannot be read: {error.strerror}.", where=str(path)) from None
    return UserModule(path, source, _load(path, source, folder, key))


def _load(path: Path, source: bytes, folder: Path, key: str) -> ModuleType:
    """The module built from `source`, cached by path and content."""
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
        # Not through the loader: it would write a bytecode cache beside the spec, which is checked by whole seconds.
        with user_output():
            exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SpecError(
            f"{key}: the file cannot be run: {type(error).__name__}: {error}.", where=f"{path}{line}", fix="Fix it."
        ) from None
    return module
