"""Tests of kill -9 in the middle of training: the next run makes the adapter that an uninterrupted run would have
made."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from schemas.spec import TrainSettings
from tests.train.tiny import rows, settings
from train.base_models.base_model import Base
from train.dataset import Dataset, PreferenceRow
from train.results import TrainResult
from train.sft import tune

# One process imports TRL and forks for each objective; DPO is killed in its preference stage, not before.
_KILLED = """
import os, signal, sys
from pathlib import Path
import train.preferences, trl.experimental.orpo
from tests.train.test_killed import DATASET, given
from train.base_models.base_model import Base, hash_model
from train.sft import tune
from train.trainer import seal

def killed(thirds, stage, numbers):
    if numbers.get("done") == 3 and "loss" in numbers and thirds.pop():
        checkpoint = next(path for path in out.rglob("checkpoint-2/seconds.txt") if objective in path.parts)
        checkpoint.write_text(str(1000 + float(checkpoint.read_text())))
        seal(checkpoint.parent)
        os.kill(os.getpid(), signal.SIGKILL)

base, out = map(Path, sys.argv[1:])
for objective in ("sft", "dpo", "orpo"):
    if not (child := os.fork()):
        thirds = [True, False] if objective == "dpo" else [True]
        seen = lambda stage, numbers: killed(thirds, stage, numbers)
        tune(Base("tiny-llama", base, hash_model(base)), DATASET, given(objective), out / objective, seen)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""
WORSE = [{"role": "assistant", "content": "no no no"}]


def preferences(count: int, start: int) -> list[PreferenceRow]:
    chosen = rows(count, start=start)
    return [PreferenceRow(prompt=row["prompt"], chosen=row["completion"], rejected=WORSE) for row in chosen]


DATASET = Dataset("d", rows(4), rows(2, start=8), preferences=preferences(4, 0), preferred=preferences(2, 8))


def given(objective: str) -> TrainSettings:
    """Two epochs of two steps; dropout draws random numbers, whose state must be restored."""
    return settings(objective=objective, batch=2, dropout=0.1, dpo_learning_rate=1e-2, dpo_epochs=2)


def weights(result: TrainResult) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(Path(result.folder) / "adapter_model.safetensors"))


@pytest.mark.timeout(1200)
def test_a_killed_run_resumes_to_the_same_adapter(tiny_base: Base, tmp_path: Path) -> None:
    """Supervised training, DPO and ORPO are each killed in their second epoch: no partial adapter is left. The next run
    resumes from the checkpoint of the first epoch and makes the same steps as an uninterrupted run, including dropout,
    the order of rows, and DPO's reference, which is the supervised adapter. It counts the time of both runs and removes
    leftovers."""
    command = [sys.executable, "-c", _KILLED, str(tiny_base.folder), str(tmp_path)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert ended.stdout.split() == [str(int(signal.SIGKILL)).encode()] * 3, ended.stderr.decode()[-2000:]
    (supervised,) = (path for path in (tmp_path / "dpo").iterdir() if path.name[0] != ".")
    shutil.copytree(supervised, tmp_path / "whole" / supervised.name)
    for objective in ("sft", "dpo", "orpo"):
        out, steps = tmp_path / objective, list[int]()
        seen = lambda stage, numbers, steps=steps: steps.append(numbers["done"])  # noqa: E731
        assert [path for path in out.iterdir() if path.name[0] != "."] == [supervised] * (objective == "dpo")
        resumed = tune(tiny_base, DATASET, given(objective), out, seen)
        assert set(steps) == {3, 4}, "it resumes after the checkpoint"
        assert {path.name for path in out.iterdir()} == {resumed.adapter_id, *filter(None, [resumed.began_with])}
        whole = tune(tiny_base, DATASET, given(objective), tmp_path / "whole")
        assert whole.adapter_id == resumed.adapter_id
        assert [step.step for step in resumed.curve] == [1, 2, 3, 4]
        assert 1000 < resumed.seconds < 1500, "the time until the checkpoint counts; the killed process added 1000 s"
        assert [step.loss for step in resumed.curve] == pytest.approx([step.loss for step in whole.curve], abs=0.02)
        assert [m.step for m in resumed.validation] == [m.step for m in whole.validation]
        one, other = weights(resumed), weights(whole)
        assert max(float((one[name] - other[name]).abs().max()) for name in one) < 0.01, objective
