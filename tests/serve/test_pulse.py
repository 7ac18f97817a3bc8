"""A job's process that reports nothing: whether it computes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pairsmith.serve.pulse import beating

BUSY = "import time; until = time.monotonic() + {}\nwhile time.monotonic() < until: pass"
EVERY_S = 0.5


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
    with beating(path, EVERY_S):
        assert not is_renewed(path, 4 * EVERY_S), "who waits does not compute"
        with subprocess.Popen([sys.executable, "-c", BUSY.format(60)]) as below:
            assert is_renewed(path, 30)
            below.kill()
        time.sleep(2 * EVERY_S)  # what it computed last is counted
        assert not is_renewed(path, 4 * EVERY_S)
        exec(BUSY.format(3 * EVERY_S), {})
        assert path.stat().st_mtime > 0
    assert not is_renewed(path, 2 * EVERY_S)
