"""How many threads an operation uses, and how they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from schemas.cores import cores, limit_spin_waits, threads


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
