"""A venv for a peer, filled by uv: pip takes minutes of CPU for what uv does in seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def filled(folder: Path, *packages: str, caps: Iterable[str] = ()) -> Path:
    """The Python of a venv with these packages. What pip is told by its own settings (an index, a folder of wheels,
    caps) uv is told by UV_FIND_LINKS, UV_CONSTRAINT and the like."""
    python, done = folder / "bin" / "python", folder / "filled"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
        (folder / "caps.txt").write_text("".join(f"{cap}\n" for cap in caps))
        uv = [str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*uv, "--constraint", str(folder / "caps.txt"), *packages], check=True)
        done.touch()
    return python


def versions(python: Path, *packages: str) -> str:
    """`name version, name version` as this Python has them."""
    code = f"import importlib.metadata as m; print(', '.join(p + ' ' + m.version(p) for p in {packages!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
