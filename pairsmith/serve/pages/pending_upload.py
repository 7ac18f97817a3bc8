"""Keeps the uploaded file of a rejected form, one per user, because browsers do not resend a chosen file."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

from fastapi import Request

from pairsmith.serve.access import Caller
from pairsmith.serve.state import state_of
from schemas.errors import InputError

_MAX_AGE_S = 24 * 3600.0


def save(request: Request, caller: Caller, name: str, content: bytes) -> None:
    """Save the file, replacing the user's previous one. Files of any user that are over a day old are deleted."""
    discard(request, caller)
    home = _home(request)
    for folder in home.iterdir() if home.is_dir() else ():
        if time.time() - folder.stat().st_mtime > _MAX_AGE_S:
            shutil.rmtree(folder, ignore_errors=True)
    folder = _folder(request, caller)
    folder.mkdir(parents=True, mode=0o700)
    (folder / name).write_bytes(content)


def load(request: Request, caller: Caller, reference: str) -> tuple[str, bytes]:
    """Return the saved file that a form refers to. Raises InputError if it no longer exists, also if a form in another
    tab has saved another file of the same name since."""
    name, _, digest = reference.partition("#")
    for path in _files(request, caller):
        if path.name == name and _digest(content := path.read_bytes()).startswith(digest):
            return name, content
    raise InputError(f"the file {name[:80]} is no longer available.", where="seeds", fix="Choose it again.")


def saved_file(request: Request, caller: Caller) -> str:
    """A reference to the user's saved file, its name and a hash of its content; empty if there is none."""
    return next((f"{path.name}#{_digest(path.read_bytes())}" for path in _files(request, caller)), "")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def discard(request: Request, caller: Caller) -> None:
    """Delete the user's saved file."""
    shutil.rmtree(_folder(request, caller), ignore_errors=True)


def _files(request: Request, caller: Caller) -> list[Path]:
    folder = _folder(request, caller)
    return list(folder.iterdir()) if folder.is_dir() else []


def _home(request: Request) -> Path:
    return state_of(request).workspace.serve / "chosen"


def _folder(request: Request, caller: Caller) -> Path:
    return _home(request) / hashlib.sha256((caller.user or "local").encode()).hexdigest()[:32]
