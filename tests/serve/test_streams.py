"""Many event streams during several runs."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import LoopbackTeacher

STREAMS, RUNS = 50, 3


@pytest.mark.timeout(400)
def test_fifty_streams_follow_three_runs(tmp_path: Path, slow_teacher: LoopbackTeacher) -> None:
    """Each stream receives the progress of every run in order, and its end, while a page is served; afterwards no
    stream is counted as open. bench.service.pages measures the cost."""
    workspace = Workspace(tmp_path / "space")
    slugs = [f"run-{nth}" for nth in range(RUNS)]
    for slug in slugs:
        write_project(workspace, slug, slow_teacher.url, tuple(f"a lamp of {n} arms" for n in range(12)))
    with Served(workspace.root) as server:
        server.ask("/api/v1/teachers/allowed", {"url": slow_teacher.url})
        with ThreadPoolExecutor(STREAMS) as several:
            reading = [several.submit(read_states, server.url, len(slugs)) for _ in range(STREAMS)]
            jobs = [server.ask(f"/api/v1/projects/{slug}/jobs", {"command": "generate"})["id"] for slug in slugs]
            assert httpx.get(f"{server.url}/p/run-0/run", timeout=60).status_code == 200
            every = [future.result(300) for future in reading]
        for states in every:
            assert {state["id"] for state in states if state["state"] == "done"} == set(jobs)
            for job in jobs:
                done = [rows_of(state) for state in states if state["id"] == job]
                assert done == sorted(done)
        until = time.monotonic() + 100
        while (counted := streams(server.url)) > 0:
            assert time.monotonic() < until, counted
            time.sleep(0.5)


def streams(url: str) -> float:
    """The number of open streams, as the server counts them."""
    lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("pairsmith_streams "))


def read_states(url: str, ends: int) -> list[dict[str, Any]]:
    """Read one stream until this number of jobs are done."""
    states: list[dict[str, Any]] = []
    with httpx.stream("GET", f"{url}/api/v1/events", timeout=300) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line[6:])["data"])
                if len({state["id"] for state in states if state["state"] == "done"}) == ends:
                    break
    return states


def rows_of(state: dict[str, Any]) -> int:
    return int(((state["progress"] or {}).get("numbers") or {}).get("done") or 0)
