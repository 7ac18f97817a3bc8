"""A job's process that reports nothing: whether it computes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pairsmith.serve.pulse import heartbeat

BUSY = "import time; until = time.monotonic() + {}\nwhile time.monotonic() < until: pass"
EVERY_S = 2.0  # the system counts a processor's time by hundredths of a second
ROOT = Path(__file__).parents[2]


def is_renewed(path: Path, wait_s: float) -> bool:
    os.utime(path, (0, 0))
    until = time.monotonic() + wait_s
    while path.stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.05)
    return path.stat().st_mtime > 0


def test_what_computes_without_a_word_lives(tmp_path: Path) -> None:
    """A long step of a model's process is a sign of life, whoever of the job computes; waiting is none."""
    path = tmp_path / "events.jsonl"
    path.touch()
    # In a process of its own: below this one are servers of other tests, which compute when they like.
    subprocess.run([sys.executable, "-m", "tests.serve.test_pulse", path], cwd=ROOT, check=True, timeout=240)


def rests(path: Path) -> None:
    """It is not renewed for three looks in a row: the one before may still count what was computed last, and on a busy
    machine a look comes late."""
    until = time.monotonic() + 100
    while is_renewed(path, 3 * EVERY_S):
        assert time.monotonic() < until, "who waits does not compute"


def waits_and_computes(path: Path) -> None:
    with heartbeat(path, EVERY_S):
        rests(path)
        with subprocess.Popen([sys.executable, "-c", BUSY.format(120)]) as below:
            assert is_renewed(path, 100)
            below.kill()
        rests(path)
        os.utime(path, (0, 0))
        until = time.monotonic() + 100
        while path.stat().st_mtime == 0:  # which is work of this process
            assert time.monotonic() < until
    assert not is_renewed(path, 2 * EVERY_S)


if __name__ == "__main__":
    waits_and_computes(Path(sys.argv[1]))
