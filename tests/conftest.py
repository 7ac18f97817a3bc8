"""`pytest --quick`: what a change is tried on first. No torch, no Argilla, no browser, no PostgreSQL, no built wheel,
and no file that starts the command line dozens of times.

Everything else runs in `make test`; a file or a fixture that needs one of those is named here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A verdict may not depend on how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

TESTS = Path(__file__).parent
SLOW_FILES = {
    TESTS / name
    for name in (
        *(f"curate/test_{name}.py" for name in ("bradley_terry", "curate", "gates_on_rows", "reward")),
        *(f"pairsmith/test_{name}.py" for name in ("attacks_places", "attacks_plan", "bad_input", "curate", "doctor")),
        *(f"pairsmith/test_{name}.py" for name in ("evaluate", "generate", "init", "pipeline", "report")),
        *(f"pairsmith/test_{name}.py" for name in ("own_file", "own_pairs", "report_in_browser", "start", "stopping")),
        *("pairsmith/test_kinds.py", "pairsmith/test_unanswered.py", "synth/providers/test_providers.py"),
        *("pairsmith/test_teachers.py", "door/test_python_page.py", "synth/test_recovery.py", "synth/test_flow.py"),
        *(f"curate/argilla/test_{name}.py" for name in ("browser", "command", "engine_answers", "pull", "push")),
        *(f"curate/argilla/test_{name}.py" for name in ("sdk_examples", "sdk_people", "server", "server_breaks")),
        *(f"curate/argilla/test_{name}.py" for name in ("server_faults", "whole_review")),
        *(f"synth/test_embedded_{name}.py" for name in ("decoder", "process", "sampling", "server")),
        *(
            f"train/test_{name}.py"
            for name in ("base_model", "door", "evaluation", "mask", "real_model", "sft", "trainer")
        ),
    )
}
SLOW_FIXTURES = {"postgres", "venv", "wheel", "smollm2_folder"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="only tests that need no torch, Argilla, browser or PostgreSQL"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--quick") and collection_path in SLOW_FILES else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def _is_slow(item: pytest.Item) -> bool:
    """It needs a slow fixture, or one of its parameters is PostgreSQL, or it loads a model."""
    fixtures = getattr(item, "fixturenames", ())
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    named = SLOW_FIXTURES.intersection(fixtures)
    return bool(named) or "postgresql" in parameters or any(item.iter_markers("model"))
