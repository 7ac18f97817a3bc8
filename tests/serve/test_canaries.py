"""A search for leaked secrets: canaries in the server's environment, after a real job with a teacher that repeats its
key."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

from pairsmith.commands import start
from pairsmith.serve.workspace import Workspace
from tests.pairsmith.conftest import SUBJECTS, answer
from tests.serve.collector import Collector
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails

CANARIES = {
    "TEACHER_OF_MINE": "canary-teacher-61d2",  # named by the spec; its name does not look like a key
    "AWS_SECRET_ACCESS_KEY": "canary-aws-90ab",  # named by no spec
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=canary-collector-77f0",
}
HIDDEN = ("canary-teacher-61d2", "canary-aws-90ab", "canary-collector-77f0")


def repeats_its_key(ask: Ask) -> Reply:
    """A teacher that answers the second time, and whose errors contain the key that it was sent."""
    text = f"no: {ask.headers['Authorization']} is too fast, {ask.headers['Authorization'].removeprefix('Bearer ')}"
    if ask.prompt.endswith(SUBJECTS[0]):
        return fails(400, text)
    return answer(ask) if ask.nth > 1 else fails(429 if ask.number % 2 else 500, text, {"Retry-After": "0.1"})


def fetch_all(server: Served, project: str, job: str) -> dict[str, bytes]:
    """The response of each GET of the API and each page, including refusals."""
    paths = json.loads(_read(f"{server.url}/api/v1/openapi.json"))["paths"]
    asked = [path for path, methods in paths.items() if "get" in methods and not path.endswith("/events")]
    pages = ("", "/run", "/rows", "/prompts", "/review", "/training", "/evaluation", "/downloads", "/setup")
    asked += [f"/p/{{project}}{page}" for page in pages] + [f"/p/{{project}}/run/{job}/log"]
    asked += ["/", "/new", "/settings", "/people", "/keys", "/audit"]
    filled = (path.replace("{project}", project).replace("{job}", job) for path in asked)
    return {path: _read(server.url + re.sub(r"\{[^}]+\}", "none", path)) for path in filled}


def _read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.read()


def test_no_secret_leaks_anywhere(tmp_path: Path) -> None:
    """Store, job files and logs, server log, pages, API, traces, report and backup contain no secret of the server, of
    the spec's teacher or of the collector, although the teacher repeats its key in every error."""
    workspace, slug = Workspace(tmp_path / "space"), "mine"
    with LoopbackTeacher(repeats_its_key) as teacher, Collector() as collector:
        folder = write_project(workspace, slug, teacher.url)
        spec = (folder / "pairsmith.toml").read_text()
        named = spec.replace("concurrency = 4", 'concurrency = 4\nkey_env = "TEACHER_OF_MINE"')
        (folder / "pairsmith.toml").write_text(named)
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Served(workspace.root, "--json-logs", **CANARIES, **traced) as server:
            server.ask("/api/v1/teachers/allowed", {"url": teacher.url, "key_env": "TEACHER_OF_MINE"})
            tested = server.ask("/api/v1/teachers/test", {"url": teacher.url, "key_env": "TEACHER_OF_MINE"})
            jobs = []
            for command in ("generate", "curate"):
                jobs.append(server.ask(f"/api/v1/projects/{slug}/jobs", {"command": command})["id"])
                assert server.job(jobs[-1], "done", "failed")["state"] == "done"
            bodies = fetch_all(server, slug, jobs[0])
            server.wait_for_output(f"job {jobs[-1]} of {slug} is done")
            bodies["log"], bodies["tested"] = server.stop().encode(), json.dumps(tested).encode()
        assert {ask.headers["Authorization"] for ask in teacher.asked} == {"Bearer canary-teacher-61d2"}
        bodies["traces"] = b"".join(collector.sent)
    assert start(["report", "--project", str(folder)]) == 0
    assert start(["serve", "backup", str(tmp_path / "saved"), "--workspace", str(workspace.root)]) == 0
    files = [path for top in (workspace.root, tmp_path / "saved") for path in top.rglob("*") if path.is_file()]
    bodies |= {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}
    assert b"gen_ai.request.model" in bodies["traces"]
    assert any(b"is too fast" in body for name, body in bodies.items() if name.endswith("pairsmith.db")), "not stored"
    leaks = [(place, canary) for place, body in bodies.items() for canary in HIDDEN if canary.encode() in body]
    assert leaks == []
    print(f"{len(HIDDEN)} canaries, {len(bodies)} places, 0 found")
