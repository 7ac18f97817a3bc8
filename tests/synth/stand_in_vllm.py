"""A Python whose vLLM is the stand-in of `stand_in/`, and a record of how it was started."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def python_with_stand_in(folder: Path) -> Path:
    """A Python with a package `vllm`. If STAND_IN_NOTE is set, how it was started is written to that file; tests use
    `note.json` beside it."""
    python = folder / "python"
    packages = Path(__file__).parent / "stand_in"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={packages}:$PYTHONPATH exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def noted(python: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(python.with_name("note.json").read_text())
    return note


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between opening and reading
        return False


def gone(pids: list[int], within_s: float = 100) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and any(map(is_alive, pids)):
        time.sleep(0.05)
    return not any(map(is_alive, pids))
