"""How many threads an operation takes."""

from __future__ import annotations

import pytest

from schemas.cores import cores, threads


def test_a_person_s_number_of_threads_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OMP_NUM_THREADS`, which the demo sets to 1 on a busy machine; else, and with what is no number, one a core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    for none in ("", "0", "2,1", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", none)
        assert threads() == cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == cores() >= 1
