"""Virtual environments for programs whose dependencies conflict with ours: created on first use, completely or not at
all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import MissingDependency, PairsmithError
from schemas.files import exclusive_lock
from schemas.progress import Progress


class IsolatedEnvironment(NamedTuple):
    """The requirements of a program. `name` is how messages refer to it (`the review server`). `wanted` changes
    whenever an existing environment is outdated. `elsewhere` says how to put it on another disk. `failure` is raised
    for problems with the disk. `packages` are pip's arguments, `removed` the packages to uninstall afterwards.
    `made_by` returns the Python that creates it."""

    name: str
    stage: str
    wanted: str
    packages: Sequence[str]
    needed_bytes: int
    elsewhere: str
    failure: type[PairsmithError]
    removed: Sequence[str] = ()
    made_by: Callable[[], str] = lambda: sys.executable


def ensure(
    environment: IsolatedEnvironment,
    folder: Path,
    progress: Progress,
    running: list[subprocess.Popen[str]] | None = None,
) -> Path:
    """The Python of the environment in `folder`, which is created if it is missing, incomplete or outdated.

    Several processes may call this at once: one creates it, the others wait. The running subprocess is put into
    `running`, so that another thread can end it. Raises `MissingDependency` if packages cannot be installed, and
    `own.failure` if the disk is full.
    """
    expected = f"{environment.wanted} python{sys.version_info[0]}.{sys.version_info[1]}"
    python, mark = folder / "bin" / "python", folder / "complete"
    if _is_complete(mark, expected) and python.exists():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        waits = {"step": "waiting for another process to create its environment"}
        with exclusive_lock(folder.with_name(folder.name + ".lock"), lambda: progress(environment.stage, waits)):
            if _is_complete(mark, expected) and python.exists():
                return python
            _check_disk_space(environment, folder.parent)
            if folder.exists():
                progress(environment.stage, {"step": "removing an outdated or incomplete environment"})
                shutil.rmtree(folder)
            _create(environment, folder, python, progress, [] if running is None else running)
            mark.write_text(expected)
    except OSError as error:
        raise environment.failure(
            f"The environment of {environment.name} cannot be created: {error.strerror}.",
            where=str(folder),
            fix=f"Free space there, or {environment.elsewhere}",
        ) from error
    return python


def _is_complete(mark: Path, expected: str) -> bool:
    return mark.exists() and mark.read_text() == expected


def _check_disk_space(own: IsolatedEnvironment, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < own.needed_bytes:
        raise own.failure(
            f"The disk has {free / 1e9:.2f} GB free, and {own.name} needs about {own.needed_bytes / 1e9:.2f} GB.",
            where=str(folder),
            fix=f"Free space there, or {own.elsewhere}",
        )


def _parse_pip_step(line: str) -> str:
    """What pip is doing, as progress text; empty if the line does not say."""
    if fetched := re.match(r"Collecting ([\w.-]+)", line):
        return f"fetching {fetched[1]}"
    packages = line.partition("Installing collected packages: ")[2]
    return f"installing {packages.count(',') + 1} packages" if packages else ""


def _create(
    own: IsolatedEnvironment, folder: Path, python: Path, progress: Progress, running: list[subprocess.Popen[str]]
) -> None:
    def run(argv: Sequence[str], step: str, *, must: bool = True) -> None:
        progress(own.stage, {"step": step})
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        lines: list[str] = []
        with subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            running.append(process)
            for line in process.stdout:
                lines.append(line.strip())
                if step_text := _parse_pip_step(line):
                    progress(own.stage, {"step": step_text})
        if must and process.returncode != 0:
            output = " / ".join([line for line in lines if line][-3:])[:600]
            if "No space left" in output:
                raise own.failure(
                    f"The disk filled up while the environment of {own.name} was being created.",
                    where=str(folder),
                    fix=f"Free about {own.needed_bytes / 1e9:.0f} GB and run the command again; the incomplete "
                    "environment is deleted first.",
                )
            raise MissingDependency(
                f"The environment of {own.name} could not be created ({step}): {output}",
                where=str(folder),
                fix="Check that pip can install packages on this machine, then run the command again.",
            )

    run([own.made_by(), "-m", "venv", str(folder)], "creating a virtual environment")
    pip = [str(python), "-m", "pip"]
    quiet = ["--disable-pip-version-check", "--no-input"]
    run([*pip, "install", *quiet, "--progress-bar", "off", *own.packages], f"installing {own.packages[-1]}")
    if own.removed:
        run([*pip, "uninstall", *quiet, "--yes", *own.removed], "removing unneeded packages")
    # Failure is harmless: compiling only saves time later, and some packages ship files for a newer Python.
    run([str(python), "-m", "compileall", "-q", "-j", "0", str(folder / "lib")], "compiling", must=False)
    progress(own.stage, {"step": "ready"})
