"""A training run learns, says what it did, appears whole or not at all, and does nothing twice."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError, NoWork
from schemas.spec import TrainSettings
from tests.train.tiny import LINEAR_LAYERS, row, rows, settings
from train.base_model import Base
from train.dataset import Dataset
from train.results import TrainResult
from train.sft import adapter_id, tune


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounded copies of a tiny base do not belong in the user's cache."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))


DATASET = Dataset("dataset-1", rows(12), rows(4, start=12))


def tuned(base: Base, out_dir: Path, train: Any = DATASET.train, validation: Any = (), **more: Any) -> TrainResult:
    return tune(base, Dataset("dataset-1", train, validation), settings(**more), out_dir)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_run_learns_and_leaves_an_adapter_with_its_card(tiny_base: Base, tmp_path: Path, method: str) -> None:
    """The loss falls on both splits; numbers, files, card and progress agree with each other."""
    told: list[dict[str, Any]] = []
    result = tune(
        tiny_base,
        DATASET,
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


def test_measuring_validation_does_not_change_what_is_learned(tiny_base: Base, tmp_path: Path) -> None:
    """A 4-bit model that has been evaluated trains on as if it had not been (bitsandbytes repacks weights on a CPU)."""
    watched = tuned(tiny_base, tmp_path / "a", validation=DATASET.validation, method="qlora")
    unwatched = tuned(tiny_base, tmp_path / "b", method="qlora")
    assert not unwatched.validation
    assert [step.loss for step in watched.curve] == pytest.approx([step.loss for step in unwatched.curve], abs=0.05)


def test_the_same_inputs_again_do_nothing(tiny_base: Base, tmp_path: Path) -> None:
    """A finished adapter is found by the hash of dataset, settings and base; another setting is another adapter."""
    first = tuned(tiny_base, tmp_path, epochs=1)
    weights = Path(first.folder) / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    again = tuned(tiny_base, tmp_path, [], epochs=1)
    assert again.reused
    assert again.artifact.id == first.artifact.id
    assert again.artifact.parents == ("dataset-1",)
    assert again.curve == first.curve
    assert weights.stat().st_mtime_ns == written
    assert tuned(tiny_base, tmp_path, epochs=1, r=2).adapter_id != first.adapter_id


def test_the_seed_decides_everything(tiny_base: Base, tmp_path: Path) -> None:
    """Two runs with one seed write the same adapter but for rounding; another seed starts and shuffles otherwise."""
    from safetensors.torch import load_file

    runs = {
        name: tuned(tiny_base, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    one, again, other = (load_file(Path(run.folder) / "adapter_model.safetensors") for run in runs.values())

    def distance(to: dict[str, Any]) -> float:
        return max(float((weights - to[name]).abs().max()) for name, weights in one.items())

    assert distance(again) < 0.01 < distance(other)


def test_a_long_row_stops_the_run_before_it_starts(tiny_base: Base, tmp_path: Path) -> None:
    """No adapter, no partial folder, and the row's id."""
    long = row("too-long", "a fox", "a fox in deep snow, " * 40)
    with pytest.raises(InputError, match="too-long"):
        tuned(tiny_base, tmp_path, [*rows(4), long], max_length=64)
    assert not list(tmp_path.iterdir())


def test_a_run_that_moves_no_weight_is_no_work(tiny_base: Base, tmp_path: Path) -> None:
    """One step at the first step of the warm-up has a learning rate of zero: the adapter is still the base."""
    with pytest.raises(NoWork, match="all zero"):
        tuned(tiny_base, tmp_path, rows(4), epochs=1)
    assert not list(tmp_path.glob("*/training.json"))


def test_a_loss_that_is_not_a_number_is_no_work(tiny_base: Base, tmp_path: Path) -> None:
    """A run that blew up leaves no adapter, and its loss is not smoothed over."""
    with pytest.raises(NoWork, match="not finite"):
        tuned(tiny_base, tmp_path, rows(12), learning_rate=1e30)
    assert not list(tmp_path.glob("*/training.json"))


_RUN = """
import os, signal, sys
from pathlib import Path
from tests.train.tiny import rows, settings
from train.base_model import Base, hash_model
from train.dataset import Dataset
from train.sft import adapter_id, tune

def killed_at_the_third_step(stage, numbers):
    if numbers["done"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

base, out = map(Path, sys.argv[1:])
dataset = Dataset("dataset-1", rows(12))
tune(Base("tiny-llama", base, hash_model(base)), dataset, settings(), out, killed_at_the_third_step)
"""


def test_a_killed_run_leaves_nothing_that_looks_finished(tiny_base: Base, tmp_path: Path) -> None:
    """kill -9 in the middle of training: no adapter is there; the next run makes it and clears the rest away."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, str(tiny_base.folder), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert [path.name.startswith(".") for path in tmp_path.iterdir()] == [True]
    result = tuned(tiny_base, tmp_path)
    assert not result.reused
    assert sorted(path.name for path in tmp_path.iterdir()) == [result.adapter_id]


def test_an_adapter_has_the_name_that_it_always_had() -> None:
    """Golden: a finished adapter is found again, so the recipe never changes; where the base lies is no part of it."""
    assert adapter_id("dataset-1", TrainSettings(), "base-hash") == "11747331162e8855887b8103301cd3ad"
    other = TrainSettings(base="x", r=4, method="lora", epochs=2)
    assert adapter_id("dataset-1", other, "base-hash") == "c74562351b80af4ef791e9b74c3aed70"
