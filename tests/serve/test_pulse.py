"""The heartbeat of a job process that reports nothing: whether it is computing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pairsmith.serve.pulse import heartbeat

BUSY = "import time; until = time.monotonic() + {}\nwhile time.monotonic() < until: pass"
EVERY_S = 2.0  # the system counts CPU time in hundredths of a second
ROOT = Path(__file__).parents[2]


def is_renewed(path: Path, wait_s: float) -> bool:
    os.utime(path, (0, 0))
    until = time.monotonic() + wait_s
    while path.stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.05)
    return path.stat().st_mtime > 0


def test_computing_process_renews_its_heartbeat(tmp_path: Path) -> None:
    """CPU time of the process or its children counts as a sign of life; waiting does not."""
    path = tmp_path / "events.jsonl"
    path.touch()
    # In a separate process: this one has servers of other tests as children, which compute at any time.
    subprocess.run([sys.executable, "-m", "tests.serve.test_pulse", path], cwd=ROOT, check=True, timeout=240)


def assert_not_renewed(path: Path) -> None:
    """Wait until it is not renewed for three intervals in a row: the first may still count earlier work, and on a busy
    machine a check comes late."""
    until = time.monotonic() + 100
    while is_renewed(path, 3 * EVERY_S):
        assert time.monotonic() < until, "a waiting process counts as computing"


def check_heartbeat(path: Path) -> None:
    with heartbeat(path, EVERY_S):
        assert_not_renewed(path)
        with subprocess.Popen([sys.executable, "-c", BUSY.format(120)]) as below:
            assert is_renewed(path, 100)
            below.kill()
        assert_not_renewed(path)
        os.utime(path, (0, 0))
        until = time.monotonic() + 100
        while path.stat().st_mtime == 0:  # which is work of this process
            assert time.monotonic() < until
    assert not is_renewed(path, 2 * EVERY_S)


if __name__ == "__main__":
    check_heartbeat(Path(sys.argv[1]))
