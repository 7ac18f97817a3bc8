"""How many threads an operation uses, and how they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.cores import cores, limit_spin_waits, multiplies_bfloat16, threads


def test_thread_count_set_by_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OMP_NUM_THREADS` applies, which the demo sets to 1 on a busy machine. If it is missing or not a number, there is
    one thread per core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    for invalid in ("", "0", "2,1", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", invalid)
        assert threads() == cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == cores() >= 1


def test_waiting_threads_release_their_core_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the user has set how threads wait, with either of OpenMP's variables."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    limit_spin_waits()
    assert os.environ["GOMP_SPINCOUNT"] == "5000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    limit_spin_waits()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    limit_spin_waits()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(
    "door", ["from pairsmith.commands import start\nstart(['--version'])", "from pairsmith import Project"]
)
@pytest.mark.slow
def test_spin_limit_is_set_before_torch_is_loaded(door: str) -> None:
    """By the command line and by the Python API. Child processes inherit it, too."""
    code = f"import os, sys\n{door}\nassert 'torch' not in sys.modules\nprint(os.environ['GOMP_SPINCOUNT'])"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[-1] == "5000"


def test_a_processor_multiplies_bfloat16_only_if_it_has_instructions_for_it(tmp_path: Path) -> None:
    """AVX-512 alone has none, although torch calls bfloat16 supported there; nor has a machine that does not say."""
    x86, arm = "model name\t: Xeon\nflags\t\t: fpu avx512f {}\nbugs\t: bf16\n", "Features\t: fp asimd {} i8mm\n"
    cases = [(x86, "avx512_vnni", False), (x86, "avx512_bf16", True), (x86, "amx_bf16 amx_tile", True)]
    for text, flag, expected in [*cases, (arm, "", False), (arm, "bf16", True), ("", "", False)]:
        (tmp_path / "cpuinfo").write_text(text.format(flag))
        assert multiplies_bfloat16(tmp_path / "cpuinfo") is expected
    assert not multiplies_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize("native", [False, True])
def test_serving_training_and_memory_estimates_choose_alike(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 if the processor multiplies it, else float32, in which the weights take twice the memory."""
    torch = pytest.importorskip("torch", reason="models need the train extra")
    from synth.embedded import model
    from train.base_models import models
    from train.base_models.base_model import compute_dtype

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(model, "multiplies_bfloat16", lambda: native)
    monkeypatch.setattr(models, "multiplies_bfloat16", lambda: native)
    monkeypatch.setattr(models, "gpus", list)
    assert model.best_dtype() == compute_dtype() == (torch.bfloat16 if native else torch.float32)
    assert models.machine().weight_bytes == model.best_dtype().itemsize
    more = [models.training_gib(3, method, 4) - models.training_gib(3, method) for method in ("lora", "qlora")]
    assert more == pytest.approx([6e9 / 2**30, 0.6e9 / 2**30])
