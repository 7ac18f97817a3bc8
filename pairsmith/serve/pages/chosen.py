"""A file that was chosen for a form that could not be kept: a browser forgets it, so it is kept here, one a person."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from fastapi import Request

from pairsmith.serve.access import Caller
from pairsmith.serve.state import state_of
from schemas.errors import InputError

_LONGEST_S = 24 * 3600.0


def keep(request: Request, caller: Caller, name: str, content: bytes) -> None:
    """Keep the file in place of the one before it; those of others that are a day old go."""
    forget(request, caller)
    home = _home(request)
    for folder in home.iterdir() if home.is_dir() else ():
        if time.time() - folder.stat().st_mtime > _LONGEST_S:
            shutil.rmtree(folder, ignore_errors=True)
    folder = _folder(request, caller)
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).write_bytes(content)


def kept(request: Request, caller: Caller, name: str) -> tuple[str, bytes]:
    """The file of that name. Raises InputError if it is gone."""
    for path in _files(request, caller):
        if path.name == name:
            return name, path.read_bytes()
    raise InputError(f"{name[:80]} is not kept any more.", where="seeds", fix="Choose it again.")


def kept_name(request: Request, caller: Caller) -> str:
    """The name of the file that is kept; empty if none is."""
    return next((path.name for path in _files(request, caller)), "")


def forget(request: Request, caller: Caller) -> None:
    """Its work is done."""
    shutil.rmtree(_folder(request, caller), ignore_errors=True)


def _files(request: Request, caller: Caller) -> list[Path]:
    folder = _folder(request, caller)
    return list(folder.iterdir()) if folder.is_dir() else []


def _home(request: Request) -> Path:
    return state_of(request).workspace.serve / "chosen"


def _folder(request: Request, caller: Caller) -> Path:
    return _home(request) / hashlib.sha256((caller.user or "local").encode()).hexdigest()[:32]
