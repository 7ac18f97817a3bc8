"""`make demo`: creates the release-notes example in a folder, runs it up to the report, and records time and memory.

There is no reviewer in a demo, so human review is skipped; the dataset card and the report say so. The commands run as
child processes on the same terminal, as a user would run them; this script watches their memory and then reads their
receipts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

EXAMPLE = "release-notes"
PAIRSMITH = [sys.executable, "-m", "pairsmith"]


class PeakMemory(threading.Thread):
    """The peak resident memory of this process and its descendants, in GiB; shared pages count more than once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gib, self._over = 0.0, threading.Event()

    def run(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.25):
            used = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    used += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_gib = max(self.peak_gib, used / 2**30)

    def stop(self) -> float:
        self._over.set()
        self.join()
        return round(self.peak_gib, 3)


def environment(given: Mapping[str, str], busy: float, cores: int) -> dict[str, str]:
    """`given`, limited to one thread per operation if `busy` (the load average) shows that every core is in use.

    Every operation of a small model waits for its slowest thread: on a busy machine a training step took 9 to 40 s with
    two threads and 2 s with one. A number of threads that the user has set is kept.
    """
    if "OMP_NUM_THREADS" in given or busy <= cores:
        return dict(given)
    print(f"this machine is busy (load {busy:.1f} on {cores} cores), so one thread is used")
    return {**given, "OMP_NUM_THREADS": "1"}


def run_example(folder: Path, example: str) -> int:
    """Create the project if it does not exist, run it without human review, and return the exit code."""
    environ = environment(os.environ, os.getloadavg()[0], os.cpu_count() or 1)
    code = 0
    if not (folder / "pairsmith.toml").exists():
        code = subprocess.call([*PAIRSMITH, "init", str(folder), "--example", example, "--embedded"], env=environ)
    return code or subprocess.call([*PAIRSMITH, "run", "--no-review", "--project", str(folder)], env=environ)


def main(folder: Path) -> int:
    """Run the example, write demo.json, and return the exit code of the run."""
    started_s = time.monotonic()
    memory, before = PeakMemory(), set((folder / "receipts").glob("*-run.json"))
    memory.start()
    code = run_example(folder, EXAMPLE)
    peak_gib = memory.stop()
    written = sorted(set((folder / "receipts").glob("*-run.json")) - before)
    if not written:
        return code or 1
    receipt: dict[str, Any] = json.loads(written[-1].read_text(encoding="utf-8"))
    facts = {
        "exit_code": code,
        "seconds_after_install": round(time.monotonic() - started_s, 1),
        "peak_gib": peak_gib,
        "calls_sent": receipt["calls_sent"],
        **receipt["counts"],
        "strict_pass": receipt["facts"].get("pass_rate", {}),
        "outcomes": receipt["facts"].get("outcomes", {}),
        "systems": {
            name: {f"strict_{decoding}": rate for decoding, rate in rates.items()}
            for name, rates in receipt["facts"].get("systems", {}).items()
        },
        "seconds_by_stage": receipt["facts"].get("seconds_by_stage", {}),
    }
    path = folder / "demo.json"
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"{facts['seconds_after_install']:.0f} s, at most {peak_gib:.2f} GiB; saved to {path}")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
