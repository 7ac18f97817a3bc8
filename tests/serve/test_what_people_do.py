"""Users start, stop and continue jobs, edit the spec and use the command line, in random order."""

from __future__ import annotations

import random
import re
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.workspace import Workspace
from schemas.spec_file import SPEC_NAME, set_keys
from tests.pairsmith.conftest import SUBJECTS, Project, answer
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

_ACTIONS = ("start", "start", "start", "stop", "stop", "continue", "edit", "command", "forget", "wait")
_ENDED = ("stopped", "done", "failed", "waits_for_people")
_PAGES = ("/p/tiny", "/p/tiny/run", "/p/tiny/rows", "/p/tiny/review", "/p/tiny/setup")
_SUM = re.compile(r'id="rows-line">([\d,]+) rows in = ([\d,]+) accepted \+ ([\d,]+) rejected \+ ([\d,]+) waiting \+ '
                  r"([\d,]+) failed")  # fmt: skip


class UserSimulator:
    """Performs actions on one project, and checks its pages after each."""

    def __init__(self, server: Served, folder: Path, chance: random.Random) -> None:
        self.server, self.folder, self.chance = server, folder, chance
        self.line = Project(folder)
        self.actions: list[str] = []

    def act(self, action: str) -> None:
        self.actions.append(action)
        job = next(iter(self.server.ask("/api/v1/jobs?limit=1")["items"]), None)
        if action == "start":
            command = self.chance.choice(("generate", "curate"))
            self.actions[-1] += f" {command}: {self.post('/api/v1/projects/tiny/jobs', {'command': command})}"
        elif action in ("stop", "continue") and job:
            path = f"/api/v1/jobs/{job['id']}/{'cancel' if action == 'stop' else 'continue'}"
            self.actions[-1] += f": {self.post(path, {})}"
        elif action == "edit":
            spec = self.folder / SPEC_NAME
            most = self.chance.choice((16, 20, 60))
            spec.write_text(set_keys(spec.read_text(), {"curate.gates.length.max_words": most}))
        elif action == "command":
            done = self.line.run(self.chance.choice(("generate", "curate")))
            assert "Traceback" not in done.stderr
            self.actions[-1] += f": {done.returncode}"
        elif action == "forget":
            (self.folder.parents[1] / ".serve" / "views" / "tiny.db").unlink(missing_ok=True)
        elif action == "wait":
            self.wait_until_idle()

    def post(self, path: str, body: Any) -> int:
        """POST and return the status: an action that is impossible now gets 409, never a server error."""
        status = 200
        try:
            self.server.ask(path, body)
        except urllib.error.HTTPError as refused:
            refused.close()
            status = refused.code
        assert status in (200, 409), self.actions
        return status

    def wait_until_idle(self) -> None:
        """Wait until no job is running."""
        for job in self.server.ask("/api/v1/jobs")["items"]:
            self.server.job(job["id"], *_ENDED)

    def check_pages(self) -> list[int]:
        """Check that the row counts on every page add up, and return those of the last page."""
        sums = [0] * 5
        for path in _PAGES:
            with urllib.request.urlopen(self.server.url + path, timeout=60) as answer:
                page = answer.read().decode()
            assert "no activity for" not in page
            if match := _SUM.search(page):
                sums = [int(number.replace(",", "")) for number in match.groups()]
                assert sums[0] == sum(sums[1:]), (path, self.actions)
        return sums


def test_counts_match_the_store_after_random_actions(tmp_path: Path) -> None:
    """After each action the row counts of every page add up. When nothing is running, pages and `status --json` show
    the same counts. Every failed job has a reason, and a final run sends no request again."""

    def slowly(ask: Ask) -> Reply:
        return replace(answer(ask), delay_s=0.1)

    workspace = Workspace(tmp_path / "space")
    with LoopbackTeacher(slowly) as teacher:
        folder = write_project(workspace, "tiny", teacher.url)
        with Served(workspace.root) as server:
            server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
            users = UserSimulator(server, folder, random.Random(162))
            for _ in range(12):
                users.act(users.chance.choice(_ACTIONS))
                users.check_pages()
            users.wait_until_idle()
            for command in ("generate", "curate"):
                job = server.ask("/api/v1/projects/tiny/jobs", {"command": command})["id"]
                ended = server.job(job, *_ENDED)
                assert ended["state"] == "done", (users.actions, ended)
            page_counts = users.check_pages()
            status = users.line.json("status")
            counts = {stage["stage"]: stage["counts"] for stage in status["stages"]}["curate"]
            parts = [counts[name] for name in ("rows_in", "accepted", "rejected", "waiting", "failed")]
            assert page_counts == parts, users.actions
            assert page_counts[0] == 2 * len(SUBJECTS)
            jobs = server.ask("/api/v1/jobs")["items"]
            assert {job["state"] for job in jobs} <= {"done", "stopped", "failed"}
            assert all(job["problem"] for job in jobs if job["state"] == "failed"), jobs
        assert len(teacher.asked) == status["ledger"]["requests"], "a request was sent twice or not recorded"
    print(f"{len(users.actions)} acts, {len(jobs)} jobs, {len(teacher.asked)} requests")
