"""What a user's own code prints, while ours prints beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from schemas.user_output import user_output

ROOT = Path(__file__).parents[2]


def test_two_that_overlap_leave_standard_output_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """Each thread's own code prints to standard error, in whichever order they end, and what we print meanwhile and
    afterwards stands on standard output."""
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


def test_own_code_that_wraps_standard_output_leaves_it_and_standard_error_as_they_were() -> None:
    """Many scripts ask for UTF-8 by putting a stream of their own over the bytes of standard output."""
    ended = subprocess.run([sys.executable, "-c", _WRAPS], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ours\n", "own\nown\ntold\n")
