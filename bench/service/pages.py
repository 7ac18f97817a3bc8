"""How fast pages are: 100,000 rows with 8 concurrent readers, and 50 event streams.

    python -m bench.service.pages

Measured against a server in a separate process: p95 of a fixed mix of pages (`p95_ms_rows_100k`), its memory at the end
(`rss_mb`), the seconds until the first page of a store that is new to it (`view_built_s`), p95 of the start page with
fifty projects (`p95_ms_start_50_projects`, and just after they were created), and the share of a core used by 50 open
streams (`streams_50_cpu`), alone and, in a separate service, during three runs (`streams_50_runs_3_cpu`), with its
memory then and the age of a state when a reader receives it. The keys are merged into bench/results/service.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.harness import answers, ask, cpu_s_of, keep, until
from bench.service.kills import SPEC, WORDS
from bench.service.make_store import make
from tests.synth.loopback import LoopbackTeacher, says

# What users do with rows: page on, filter, search, sort, open one, and look at the project's other pages.
MIX = (
    "/p/many/rows", "/p/many/rows?state=accepted", "/p/many/rows?state=rejected&reason=short",
    "/p/many/rows?q=lighthouse", "/p/many/rows?q=lighthouse+fog&state=accepted", "/p/many/rows?q=harb",
    "/p/many/rows?sort=best&state=accepted", "/p/many/rows?sort=worst", "/p/many/rows?sort=longest&split=test",
    "/p/many/rows?reviewed=yes", "/p/many", "/p/many/run", "/",
)  # fmt: skip
AT_ONCE, STREAMS, STREAM_S, RUNS, PROJECTS = 8, 50, 20, 3, 50
PORT, SETTLED_S = 8690, 4


def main(arguments: Sequence[str] | None = ()) -> None:
    """Measure and store the figures; `arguments` None reads the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--project", type=Path, help="a project made by bench.service.make_store, to save making one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "projects").mkdir()
        if options.project:
            (root / "projects" / "many").symlink_to(options.project.resolve(), target_is_directory=True)
        else:
            make(root / "projects" / "many", options.rows)
        latencies = _measure(root, options.pages)
    keep("service", latencies)


def _measure(root: Path, pages: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as apart, _serving(Path(apart)) as (url, pid):
        beside_runs = _measure_streams_beside_runs(Path(apart), url, pid)
    with _serving(root) as (url, pid):
        began_s = time.monotonic()
        ask(f"{url}/p/many/rows")
        built_s, built_cpu_s = time.monotonic() - began_s, cpu_s_of(pid)
        for path in MIX:
            ask(url + path)
        before_s = cpu_s_of(pid)
        latencies_ms = _load(url, [MIX[number % len(MIX)] for number in range(pages)])
        cpu_ms = 1000 * (cpu_s_of(pid) - before_s) / pages
        rss = _rss_mb(pid)
        cpu = _streams(url, pid)
        new_ms, start_ms = _start_page(root, url, pages)
    every = sorted(ms for times in latencies_ms.values() for ms in times)
    return {
        "p95_ms_rows_100k": _quantile(every, 0.95),
        "p50_ms_rows_100k": _quantile(every, 0.5),
        "pages_p95_ms": {path: _quantile(sorted(times), 0.95) for path, times in sorted(latencies_ms.items())},
        "pages_at_once": AT_ONCE,
        "p95_ms_start_50_projects": start_ms,
        "p95_ms_start_50_new_projects": new_ms,
        "cpu_ms_a_page": round(cpu_ms, 1),
        "rss_mb": round(rss, 1),
        "view_built_s": round(built_s, 1),
        "view_built_cpu_s": round(built_cpu_s, 1),
        "streams_50_cpu": round(cpu, 3),
        **beside_runs,
        "pages_machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
    }


@contextmanager
def _serving(root: Path) -> Iterator[tuple[str, int]]:
    """Start a new service as a user does; yield its URL and process id."""
    (root / "projects").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pairsmith", "serve", str(root), "--no-auth", "--port", str(PORT)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{PORT}"
    try:
        until(lambda: answers(f"{url}/healthz"), "the server to answer")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _load(url: str, paths: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each page, requested in shuffled order, 8 at a time."""
    random.Random(0).shuffle(paths)
    latencies_ms, lock = defaultdict[str, list[float]](list), threading.Lock()

    def one(path: str) -> None:
        began_s = time.perf_counter()
        ask(url + path)
        with lock:
            latencies_ms[path].append(1000 * (time.perf_counter() - began_s))

    with ThreadPoolExecutor(AT_ONCE) as several:
        list(several.map(one, paths))
    return latencies_ms


def _start_page(root: Path, url: str, pages: int) -> tuple[float, float]:
    """p95 of the page that lists fifty projects, 8 at a time: just after they were created, when every file is too
    recent to be assumed unchanged and stores are read again, and later."""
    for nth in range(1, PROJECTS):
        make(root / "projects" / f"small-{nth}", 40)
    ask(url)
    (new,) = _load(url, ["/"] * pages).values()
    time.sleep(SETTLED_S)
    ask(url)
    (settled,) = _load(url, ["/"] * pages).values()
    return _quantile(sorted(new), 0.95), _quantile(sorted(settled), 0.95)


def _streams(url: str, pid: int) -> float:
    """The share of a core that the server uses with 50 open streams."""
    opened = [urllib.request.urlopen(f"{url}/api/v1/events", timeout=60) for _ in range(STREAMS)]
    time.sleep(1)
    began_s, before_s = time.monotonic(), cpu_s_of(pid)
    time.sleep(STREAM_S)
    share = (cpu_s_of(pid) - before_s) / (time.monotonic() - began_s)
    for stream in opened:
        stream.close()
    return share


def _measure_streams_beside_runs(root: Path, url: str, pid: int) -> dict[str, float]:
    """The cost of 50 streams during three runs that report four times a second, and the age of a state, in seconds
    after its report, when a reader receives it."""
    ages, lock = list[float](), threading.Lock()

    def read(stream: Any) -> None:
        for line in stream:
            if line.startswith(b"data: ") and (progress := json.loads(line[6:])["data"]["progress"]):
                with lock:
                    ages.append(time.time() - progress["at"])

    with LoopbackTeacher(lambda ask: says(f"a rich rewrite of {ask.prompt[-40:]}", delay_s=0.2)) as teacher:
        for nth in range(RUNS):
            (folder := root / "projects" / f"run-{nth}").mkdir()
            spec = SPEC.format(name=f"run-{nth}", url=teacher.url, concurrency=4, samples=1)
            (folder / "pairsmith.toml").write_text(spec)
            seeds = (json.dumps({"text": f"{word} {n} in run {nth}"}) for n in range(40) for word in WORDS)
            (folder / "seeds.jsonl").write_text("\n".join(seeds))
        ask(f"{url}/api/v1/teachers/allowed", {"url": teacher.url})
        jobs = [
            json.loads(ask(f"{url}/api/v1/projects/run-{nth}/jobs", {"command": "generate"}))["id"]
            for nth in range(RUNS)
        ]
        while not all(json.loads(ask(f"{url}/api/v1/jobs/{job}"))["progress"] for job in jobs):
            time.sleep(0.2)  # until each job has done its imports and sends requests
        opened = [urllib.request.urlopen(f"{url}/api/v1/events", timeout=60) for _ in range(STREAMS)]
        for stream in opened:
            threading.Thread(target=read, args=(stream,), daemon=True).start()
        time.sleep(1)
        with lock:
            ages.clear()  # the first ones are the states before the measurement
        began_s, before_s = time.monotonic(), cpu_s_of(pid)
        time.sleep(STREAM_S)
        share = (cpu_s_of(pid) - before_s) / (time.monotonic() - began_s)
        with lock:
            sorted_ages = sorted(ages)
        running = [json.loads(ask(f"{url}/api/v1/jobs/{job}"))["state"] for job in jobs]
        assert running == ["running"] * RUNS, running
        for job in jobs:
            ask(f"{url}/api/v1/jobs/{job}/cancel", {})
        while {json.loads(ask(f"{url}/api/v1/jobs/{job}"))["state"] for job in jobs} != {"stopped"}:
            time.sleep(0.2)
    return {
        "streams_50_runs_3_cpu": round(share, 3),
        "streams_50_runs_3_rss_mb": round(_rss_mb(pid), 1),
        "streams_50_runs_3_states": len(sorted_ages),
        "streams_50_runs_3_state_age_p95_s": round(sorted_ages[int(0.95 * len(sorted_ages))], 3),
    }


def _quantile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(share * len(values)))], 1)


def _rss_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


if __name__ == "__main__":
    main(None)
