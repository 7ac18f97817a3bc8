"""A training run learns, says what it did, appears whole or not at all, and does nothing twice."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError, NoWork
from tests.train.tiny import LINEAR_LAYERS, row, rows, settings
from train.outcome import TrainResult
from train.sft import RESULT_NAME, fine_tune
from train.student import Student


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounded copies of a tiny base do not belong in the user's cache."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))


SPLITS = {"train": rows(12), "validation": rows(4, start=12)}


def tune(student: Student, out_dir: Path, splits: Any = SPLITS, **more: Any) -> TrainResult:
    return fine_tune(student, splits, "dataset-1", settings(**more), out_dir)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_run_learns_and_leaves_an_adapter_with_its_card(tiny_student: Student, tmp_path: Path, method: str) -> None:
    """The loss falls on both splits; numbers, files, card and progress agree with each other."""
    told: list[dict[str, Any]] = []
    result = fine_tune(
        tiny_student,
        SPLITS,
        "dataset-1",
        settings(method=method),
        tmp_path,
        progress=lambda stage, numbers: told.append({"stage": stage, **numbers}),
    )
    assert result.steps == len(result.curve) == 6
    assert result.curve[-1].loss < result.curve[0].loss - 0.3
    assert [round(measured.epoch) for measured in result.validation] == [0, 1, 2]
    assert result.validation[-1].loss < result.validation[0].loss - 0.3
    assert result.four_bit_layers == (LINEAR_LAYERS if method == "qlora" else 0)
    assert result.learned_tokens > 0
    assert not result.reused
    folder = Path(result.folder)
    card = (folder / "README.md").read_text()
    assert result.base_hash in card
    assert "dataset-1" in card
    assert f"{result.validation[-1].loss:.3f}" in card
    assert ("NF4" in card) == (method == "qlora")
    assert "generation %}" not in (folder / "chat_template.jinja").read_text()
    assert str(tmp_path) not in (folder / "adapter_config.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [result.adapter_id]
    steps = [numbers for numbers in told if "validation_loss" not in numbers]
    assert [numbers["done"] for numbers in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["total"] == 6
    assert steps[-1]["eta_s"] == 0
    assert all(math.isfinite(numbers["loss"]) for numbers in steps)
    assert result.masks[0].endswith("<|im_end|>⏎\n]]")


def test_measuring_validation_does_not_change_what_is_learned(tiny_student: Student, tmp_path: Path) -> None:
    """A 4-bit model that has been evaluated trains on as if it had not been (bitsandbytes repacks weights on a CPU)."""
    watched = tune(tiny_student, tmp_path / "a", method="qlora")
    unwatched = tune(tiny_student, tmp_path / "b", {"train": SPLITS["train"]}, method="qlora")
    assert not unwatched.validation
    assert [step.loss for step in watched.curve] == pytest.approx([step.loss for step in unwatched.curve], abs=0.05)


def test_the_same_inputs_again_do_nothing(tiny_student: Student, tmp_path: Path) -> None:
    """A finished adapter is found by the hash of dataset, settings and base; another setting is another adapter."""
    first = tune(tiny_student, tmp_path, epochs=1)
    weights = Path(first.folder) / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    again = tune(tiny_student, tmp_path, {"train": []}, epochs=1)
    assert again.reused
    assert again.artifact.id == first.artifact.id
    assert again.artifact.parents == ("dataset-1",)
    assert again.curve == first.curve
    assert weights.stat().st_mtime_ns == written
    assert tune(tiny_student, tmp_path, epochs=1, r=2).adapter_id != first.adapter_id


def test_the_seed_decides_everything(tiny_student: Student, tmp_path: Path) -> None:
    """Two runs with one seed write the same adapter but for rounding; another seed starts and shuffles otherwise."""
    from safetensors.torch import load_file

    runs = {
        name: tune(tiny_student, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    one, again, other = (load_file(Path(run.folder) / "adapter_model.safetensors") for run in runs.values())

    def distance(to: dict[str, Any]) -> float:
        return max(float((weights - to[name]).abs().max()) for name, weights in one.items())

    assert distance(again) < 0.01 < distance(other)


def test_a_long_row_stops_the_run_before_it_starts(tiny_student: Student, tmp_path: Path) -> None:
    """No adapter, no partial folder, and the row's id."""
    long = row("too-long", "a fox", "a fox in deep snow, " * 40)
    with pytest.raises(InputError, match="too-long"):
        tune(tiny_student, tmp_path, {"train": [*rows(4), long]}, max_length=64)
    assert not list(tmp_path.iterdir())


def test_a_run_that_moves_no_weight_is_no_work(tiny_student: Student, tmp_path: Path) -> None:
    """One step at the first rung of the warm-up has a learning rate of zero: the adapter is still the base."""
    with pytest.raises(NoWork, match="all zero"):
        tune(tiny_student, tmp_path, {"train": rows(4)}, epochs=1)
    assert not list(tmp_path.glob(f"*/{RESULT_NAME}"))


def test_a_loss_that_is_not_a_number_is_no_work(tiny_student: Student, tmp_path: Path) -> None:
    """A run that blew up leaves no adapter, and its loss is not smoothed over."""
    with pytest.raises(NoWork, match="not finite"):
        tune(tiny_student, tmp_path, {"train": rows(12)}, learning_rate=1e30)
    assert not list(tmp_path.glob(f"*/{RESULT_NAME}"))


_RUN = """
import sys
from pathlib import Path
from tests.train.tiny import rows, settings
from train.sft import fine_tune
from train.student import Student, hash_model
base, out = map(Path, sys.argv[1:])
fine_tune(Student("tiny-llama", base, hash_model(base)), {"train": rows(12)}, "dataset-1", settings(), out)
"""


def test_a_killed_run_leaves_nothing_that_looks_finished(tiny_student: Student, tmp_path: Path) -> None:
    """kill -9 in the middle of training: no adapter is there; the next run makes it and clears the rest away."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, str(tiny_student.folder), str(tmp_path)],
        env={**os.environ, "PAIRSMITH_FAILPOINT": "mid_train"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert [path.name.startswith(".") for path in tmp_path.iterdir()] == [True]
    result = tune(tiny_student, tmp_path, {"train": rows(12)})
    assert not result.reused
    assert sorted(path.name for path in tmp_path.iterdir()) == [result.adapter_id]
