"""The script of `make demo`, as far as it can be tested without running it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[1] / "examples" / "demo.py"
SPEC = importlib.util.spec_from_file_location("demo_script", PLACE)
assert SPEC is not None
assert SPEC.loader is not None
demo = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(demo)


@pytest.mark.parametrize(
    ("given", "busy", "cores", "threads"),
    [
        ({}, 1.9, 2, None),
        ({}, 3.2, 2, "1"),
        ({}, 3.2, 8, None),
        ({"OMP_NUM_THREADS": "2"}, 9.0, 2, "2"),
    ],
)
def test_a_busy_machine_gets_one_thread(given: dict[str, str], busy: float, cores: int, threads: str | None) -> None:
    """On a busy machine the demo uses one thread: two threads that wait for each other make a step many times slower. A
    value that the user has set is left alone."""
    environ = demo.environment({"HOME": "/h", **given}, busy, cores)
    assert environ.get("OMP_NUM_THREADS") == threads
    assert environ["HOME"] == "/h"
