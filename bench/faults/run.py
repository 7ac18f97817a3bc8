"""What `pairsmith generate` loses, requests twice and costs under faults and kills.

`python -m bench.faults.run [--prompts 2000] [--rounds 3] [--kills 40]`. See README.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.generation.run import IN_FLIGHT, LATENCY_S, stats, write_project
from bench.harness import ENVIRONMENT, keep, served

FEW_FAULTS = {"429": 0.02, "500": 0.02}
MANY_FAULTS = {"429": 0.05, "500": 0.05, "cut": 0.03, "empty": 0.02, "sticky": 0.01}
TIMEOUT_S = 300


def teacher(shares: dict[str, float]) -> AbstractContextManager[str]:
    return served("-m", "bench.faults.server", str(LATENCY_S), json.dumps(shares))


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pairsmith", "generate", "--project", str(folder), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)


def generated(folder: Path) -> dict[str, Any] | None:
    """The JSON printed by the command; None if it hung."""
    process = start(folder)
    try:
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    outcome: dict[str, Any] = json.loads(printed)
    return outcome


def window_s(base: str, count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        write_project(Path(name), base, count)
        outcome = generated(Path(name))
        assert outcome is not None
        assert outcome["failed"] == 0, outcome["reasons"]
    seen = stats(base)
    return float(seen["last"] - seen["first"])


def query_column(folder: Path, sql: str) -> list[str]:
    with sqlite3.connect(folder / "pairsmith.db") as db:
        return [row[0] for row in db.execute(sql)]


def storm(base: str, count: int) -> dict[str, int]:
    """One run under faults of every kind. A lost row is one without a pair at its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, base, count)
        outcome = generated(folder)
        if outcome is None:
            return {"hung": 1, "rows_lost": count, "reported_failed": 0, "sticky_lost": 0, "empty_exported": 0}
        pairs = [json.loads(body) for body in query_column(folder, "SELECT body FROM pairs")]
        inputs = {pair["input"] for pair in pairs}
        sticky = {p for p in stats(base)["prompts"] if random.Random(p).random() < MANY_FAULTS["sticky"]}
        lost = [f"lighthouse number {i}" for i in range(count) if f"lighthouse number {i}" not in inputs]
        return {
            "hung": 0,
            "rows_lost": len(lost),
            "reported_failed": outcome["failed"],
            "sticky_lost": sum(any(prompt.endswith(seed) for prompt in sticky) for seed in lost),
            "empty_exported": sum(not pair["output"].strip() for pair in pairs),
        }


def killed(base: str, count: int, kills: int) -> dict[str, int]:
    """kill -9 at random moments, then the same command to its end. Confirmed answers are those that another process can
    read after the kill; a request was sent again if its prompt was requested once more."""
    moments = random.Random(1)
    lost = resent = hung = midway = 0
    with tempfile.TemporaryDirectory() as name:
        write_project(Path(name), base, count)
        began = time.monotonic()
        generated(Path(name))
        whole_s = time.monotonic() - began
        stats(base)
    for _ in range(kills):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_project(folder, base, count)
            process = start(folder)
            time.sleep(whole_s * moments.uniform(0.3, 1))
            process.kill()
            process.communicate()
            has_calls = (folder / "pairsmith.db").exists() and "calls" in query_column(
                folder, "SELECT name FROM sqlite_master"
            )
            before = set(query_column(folder, "SELECT key FROM calls")) if has_calls else set()
            hung += generated(folder) is None
            midway += bool(before)
            lost += len(before - set(query_column(folder, "SELECT key FROM calls")))
            again = sum(times - 1 for times in stats(base)["prompts"].values())
            resent = max(resent, again)
    return {"kills": kills, "killed_midway": midway, "confirmed_lost": lost, "resent_max": resent, "hung": hung}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=40)
    options = parser.parse_args()
    clean, faulty = [], []
    with teacher({}) as clean_url, teacher(FEW_FAULTS) as faulty_url:
        for _ in range(options.rounds):
            clean.append(window_s(clean_url, options.prompts))
            faulty.append(window_s(faulty_url, options.prompts))
        stats(clean_url)
        after_kills = killed(clean_url, 400, options.kills)
    with teacher(MANY_FAULTS) as storm_url:
        stormed = storm(storm_url, options.prompts)
    # The minimum of the rounds: other programs can only add time.
    result = {
        **stormed,
        **after_kills,
        "hung": stormed["hung"] + after_kills["hung"],
        "wall_ratio": min(faulty) / min(clean),
        "in_flight": IN_FLIGHT,
        "load": os.getloadavg()[0],
        "clean_s": clean,
        "faulty_s": faulty,
    }
    keep("faults", result, whole=True)


if __name__ == "__main__":
    main()
