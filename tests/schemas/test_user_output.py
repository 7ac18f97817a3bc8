"""Output of the user's own code, while pairsmith prints at the same time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from schemas.user_output import user_output

ROOT = Path(__file__).parents[2]


def test_overlapping_blocks_restore_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """User code in each thread prints to standard error, in whatever order the blocks end. What pairsmith prints in the
    meantime and afterwards goes to standard output."""
    before, both_in, first_out = sys.stdout, threading.Barrier(2), threading.Event()

    def first() -> None:
        with user_output():
            both_in.wait()
            print("own 1")
        print("ours 1")
        first_out.set()

    def second() -> None:
        with user_output():
            both_in.wait()
            first_out.wait()
            print("own 2")

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("ours 2")
    assert sys.stdout is before
    assert capsys.readouterr() == ("ours 1\nours 2\n", "own 1\nown 2\n")


_WRAPS = """
import gc, io, sys
from schemas.user_output import user_output
for _ in range(2):
    with user_output():
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", write_through=True)
        print("own")
gc.collect()
print("ours")
print("told", file=sys.stderr)
"""


def test_user_code_that_wraps_standard_output_does_not_break_it() -> None:
    """Many scripts switch to UTF-8 by wrapping the buffer of standard output."""
    ended = subprocess.run([sys.executable, "-c", _WRAPS], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ours\n", "own\nown\ntold\n")
