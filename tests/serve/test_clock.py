"""The system clock is set forward and back during use: periods such as sessions and rate limits count elapsed time, and
nothing is lost or happens twice."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pairsmith.serve.workspace import Workspace
from tests.pairsmith.conftest import ROOT, Project, answer, write_seeds
from tests.serve.clock import Clock
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

DAY_S = 86_400.0


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock", ROOT)


def states(stream: Any) -> Iterator[dict[str, Any]]:
    """The job states in a stream of events."""
    for line in stream:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])["data"]


def test_job_and_its_stream_survive_clock_changes(tmp_path: Path, clock: Clock) -> None:
    """While a job runs, the clock is set two days forward and three back: its stream continues, its server is killed
    and the next one adopts it, and every row is requested once. A job started with a clock two days back is the
    project's current job, and a second one is refused. A job that is stopped while the clock jumps ends normally and
    keeps its rows."""
    workspace, answered, jobs = Workspace(tmp_path / "space"), [0], "/api/v1/projects/tiny/jobs"

    def as_allowed(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number <= answered[0], delay_s=0.5)

    with LoopbackTeacher(as_allowed) as teacher:
        folder = write_project(workspace, "tiny", teacher.url)
        with Served(workspace.root, **clock.environment) as server:
            server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
            job = server.ask(jobs, {"command": "generate"})["id"]
            with urllib.request.urlopen(f"{server.url}/api/v1/events", timeout=120) as stream:
                progress = states(stream)
                for offset_s, requests in ((0, 1), (2 * DAY_S, 2), (-DAY_S, 3)):
                    clock.set(offset_s)
                    time.sleep(0.5)  # some reports are dropped if they come faster than four per second
                    answered[0] = requests
                    wait_for_rows(progress, job, 2 * requests - 1)  # of two close together the second may be dropped
            server.process.kill()
            server.process.wait()
        with Served(workspace.root, **clock.environment) as server:
            answered[0] = 12
            done = server.job(job, "done", "failed", "stopped")
            assert (done["state"], done["answer"]["waiting"]) == ("done", 24)
            assert len(teacher.asked) == 12, "not one request for each of twelve seeds"
            write_seeds(folder, tuple(f"a lamp of {n} arms" for n in range(40)))
            clock.set(-2 * DAY_S)
            again = server.ask(jobs, {"command": "generate"})["id"]
            server.job(again, "running")
            assert "project_busy" in expect_busy(server, jobs, {"command": "curate"})
            assert again[:12] in page(server, "/p/tiny/run")
            server.ask(f"/api/v1/jobs/{again}/cancel", {})
            clock.set(DAY_S)
            answered[0] = 999
            stopped = server.job(again, "stopped", "failed", "done")
            assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130), stopped
            assert "Traceback" not in server.stop()


def wait_for_rows(states: Iterator[dict[str, Any]], job: str, done: int) -> None:
    """Wait until the stream reports this number of rows for the job."""
    for state in states:
        assert state["id"] == job
        if ((state["progress"] or {}).get("numbers") or {}).get("done", 0) >= done:
            return
    raise AssertionError("the stream has ended")


def expect_busy(server: Served, path: str, body: Any) -> str:
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == 409, answer.text
    return answer.text


def page(server: Served, path: str) -> str:
    return httpx.get(server.url + path, headers={"Accept": "text/html"}, timeout=60).text


def test_stage_order_does_not_depend_on_the_clock(workspace: Workspace, teacher: LoopbackTeacher, clock: Clock) -> None:
    """A stage whose receipt is dated a day later than that of its successor is not stale: what counts is what the
    artifact was made from."""
    project = Project(write_project(workspace, "tiny", teacher.url))
    clock.set(DAY_S)
    assert project.run("generate", **clock.environment).returncode == 0
    clock.set(-DAY_S)
    assert project.run("curate", **clock.environment).returncode == 0
    stages = {stage["stage"]: stage for stage in project.json("status", **clock.environment)["stages"]}
    assert stages["generate"]["done"], stages
    assert stages["curate"]["done"], stages
    began = {receipt["command"]: datetime.fromisoformat(receipt["started"]) for receipt in project.receipts()}
    assert began["generate"] > began["curate"]


def test_sessions_and_rate_limits_survive_clock_changes(tmp_path: Path, clock: Clock) -> None:
    """One hour more or less signs no user out, and a clock change neither gives a password guesser extra attempts nor
    blocks attempts for good."""
    with Served(tmp_path / "space", no_auth=False, **clock.environment) as server:
        link = next(word for word in server.output().split() if "token=" in word)
        form = {"token": link.partition("token=")[2], "name": "ann", "password": "four words are good"}
        with httpx.Client(base_url=server.url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=60) as ann:
            assert ann.post("/redeem", data=form).status_code == 303
            for offset_s in (3600, -3600, 0):
                clock.set(offset_s)
                assert ann.get("/api/v1/me").status_code == 200
        with httpx.Client(base_url=server.url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=60) as guesser:
            wrong = {"name": "ann", "password": "not the right one"}

            def attempt_status() -> int:
                return guesser.post("/sign-in", data=wrong).status_code

            while True:
                asked_s = time.monotonic()
                if attempt_status() == 429:
                    break
            clock.set(2 * DAY_S)
            assert attempt_status() == 429 or time.monotonic() - asked_s >= 12, "an attempt was allowed too early"
            clock.set(-2 * DAY_S)
            until = time.monotonic() + 120
            while attempt_status() == 429:
                assert time.monotonic() < until, "the next attempt stays blocked"
                time.sleep(1)
