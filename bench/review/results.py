"""The file in which each of these benchmarks keeps its last figures, beside those of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def keep(file: Path, name: str, figures: Any) -> None:
    """Write `figures` under `name`; what the file holds under other names stays."""
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**results, name: figures}, indent=1) + "\n", encoding="utf-8")
