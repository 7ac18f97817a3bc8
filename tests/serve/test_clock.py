"""The machine's clock is set forward and back while people work: what was promised by the hour counts in hours that
passed, and nothing that happened is lost or happens twice."""

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
    """What a stream of events tells of jobs."""
    for line in stream:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])["data"]


def test_a_job_and_its_stream_outlive_every_clock(tmp_path: Path, clock: Clock) -> None:
    """Two days forward and three back while a job asks: its stream goes on telling, its server dies and the next one
    adopts it, every row is asked for once. What is started a day ago is the project's job from then on, a second one
    is refused meanwhile, and one that is stopped as the clock jumps ends in order, with what it had."""
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
                    time.sleep(0.5)  # of reports that come faster than four a second some are not written
                    answered[0] = requests
                    at_least(progress, job, 2 * requests - 1)  # of two in a moment the second may not be told
            server.process.kill()
            server.process.wait()
        with Served(workspace.root, **clock.environment) as server:
            answered[0] = 12
            done = server.job(job, "done", "failed", "stopped")
            assert (done["state"], done["answer"]["waiting"]) == ("done", 24)
            assert len(teacher.asked) == 12, "two samples of each of twelve seeds in one request, and nothing twice"
            write_seeds(folder, tuple(f"a lamp of {n} arms" for n in range(40)))
            clock.set(-2 * DAY_S)
            again = server.ask(jobs, {"command": "generate"})["id"]
            server.job(again, "running")
            assert "project_busy" in refused(server, jobs, {"command": "curate"})
            assert again[-8:] in page(server, "/p/tiny/run")
            server.ask(f"/api/v1/jobs/{again}/cancel", {})
            clock.set(DAY_S)
            answered[0] = 999
            stopped = server.job(again, "stopped", "failed", "done")
            assert (stopped["state"], stopped["exit_code"]) == ("stopped", 130), stopped
            assert "Traceback" not in server.stop()


def at_least(states: Iterator[dict[str, Any]], job: str, done: int) -> None:
    """Hear so many rows of a job on a stream."""
    for state in states:
        assert state["id"] == job
        if ((state["progress"] or {}).get("numbers") or {}).get("done", 0) >= done:
            return
    raise AssertionError("the stream has ended")


def refused(server: Served, path: str, body: Any) -> str:
    answer = httpx.post(server.url + path, json=body, timeout=60)
    assert answer.status_code == 409, answer.text
    return answer.text


def page(server: Served, path: str) -> str:
    return httpx.get(server.url + path, headers={"Accept": "text/html"}, timeout=60).text


def test_stages_that_ran_on_another_day_are_done(workspace: Workspace, teacher: LoopbackTeacher, clock: Clock) -> None:
    """A stage that ran a day before the one it follows, by the clock, is neither stale nor older: what counts is what
    it was made of."""
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


def test_people_stay_signed_in_and_rates_count_what_passes(tmp_path: Path, clock: Clock) -> None:
    """An hour more or less signs nobody out, and no jump gives a guesser of passwords new tries or takes the tries of
    everybody else for good."""
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

            def tries() -> int:
                return guesser.post("/sign-in", data=wrong).status_code

            while True:
                asked_s = time.monotonic()
                if tries() == 429:
                    break
            clock.set(2 * DAY_S)
            assert tries() == 429 or time.monotonic() - asked_s >= 12, "a try comes every twelve seconds"
            clock.set(-2 * DAY_S)
            until = time.monotonic() + 120
            while tries() == 429:
                assert time.monotonic() < until, "the next try comes twelve seconds later, by whatever clock"
                time.sleep(1)
