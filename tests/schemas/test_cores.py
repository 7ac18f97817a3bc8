"""How many threads an operation takes, and how they wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from schemas.cores import cores, limit_spin_waits, threads


def test_a_person_s_number_of_threads_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OMP_NUM_THREADS`, which the demo sets to 1 on a busy machine; else, and with what is no number, one a core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    for none in ("", "0", "2,1", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", none)
        assert threads() == cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == cores() >= 1


def test_threads_give_their_core_away_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the person has said how threads wait: with either variable of OpenMP's."""
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
def test_the_command_line_and_python_wait_so_before_torch_is_loaded(door: str) -> None:
    """What either starts inherits it, too."""
    code = f"import os, sys\n{door}\nassert 'torch' not in sys.modules\nprint(os.environ['GOMP_SPINCOUNT'])"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[-1] == "5000"
