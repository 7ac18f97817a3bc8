"""Jobs under `kill -9`: a small version of the benchmark's attack. bench/service has the large one, with outages, full
disks and PostgreSQL."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.service.kills import Attack


@pytest.mark.timeout(900)
def test_every_job_ends_exactly_once(tmp_path: Path) -> None:
    """Whatever is killed and when, server or process, no job is lost or run twice, no row is lost, and none is
    requested again whose answer was stored."""
    attack = Attack(tmp_path / "space", jobs=6, database_url=None, away=nullcontext)
    counts = attack.run({"server": 0.5, "child": 0.5}, every_s=(1.0, 3.0), timeout_s=800, most=6)
    assert counts.wrong == []
    assert counts.ended_once == counts.jobs_run == 6
    assert counts.faults, "nothing was killed"
    assert counts.rows_lost == counts.left_pending == 0
    assert counts.doubled_over_in_flight == 0
