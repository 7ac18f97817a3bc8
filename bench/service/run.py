"""`python -m bench.service.run` writes bench/results/service.json; each part writes its own keys."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

PARTS = ("kills", "pages")

if __name__ == "__main__":
    for part in PARTS:
        if find_spec(f"bench.service.{part}"):
            import_module(f"bench.service.{part}").main()
