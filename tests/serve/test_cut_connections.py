"""A proxy cuts every connection after a while, as many do after 30 s: here after a tenth of a second, or in the middle
of a body. What was cut is sent or requested again; nothing is stored partially, and no event is delivered twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from pairsmith.serve.workspace import Workspace
from tests.cutting_proxy import Proxy
from tests.pairsmith.conftest import answer
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

SUBJECTS = tuple(f"a lamp of {n} arms" for n in range(30))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Proxy, Workspace]]:
    workspace = Workspace(tmp_path_factory.mktemp("cut") / "space")
    with Served(workspace.root) as server, Proxy(server.url) as proxy:
        yield server, proxy, workspace


def read_events(url: str, stop: Callable[[dict[str, Any]], bool]) -> list[tuple[str, dict[str, Any]]]:
    """Read events with their ids until `stop` is true of one, as a browser does: after a cut it reconnects with the id
    of the last complete event."""
    events: list[tuple[str, dict[str, Any]]] = []
    until = time.monotonic() + 240
    while not (events and stop(events[-1][1])):
        states = [(at, event["data"]["state"], event["data"]["problem"]) for at, event in events[-4:]]
        assert time.monotonic() < until, states
        assert "failed" not in {state for _, state, _ in states}, states
        headers = {"Last-Event-ID": events[-1][0]} if events else {}
        with suppress(httpx.TransportError), httpx.stream("GET", f"{url}/api/v1/events", headers=headers) as stream:
            for event in _events(stream.iter_lines()):
                assert event["event"] == "job"
                events.append((event["id"], json.loads(event["data"])))
                if stop(events[-1][1]):
                    break
    return events


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "data" in event:
            yield event
            event = {}


@pytest.mark.timeout(420)
def test_cut_stream_continues_where_it_was(served: tuple[Served, Proxy, Workspace]) -> None:
    """A client that is cut off repeatedly receives every state at most once, in order, and certainly the last ones: the
    ends of both jobs. An event id of another hub or an invalid one starts from the current state."""
    server, proxy, workspace = served
    before, ended = proxy.cut, set[str]()

    def more_after_each_cut(ask: Ask) -> Reply:  # some reports are dropped if they come faster than four per second
        return replace(answer(ask), delay_s=0.5, when=lambda: ask.number <= 8 * (proxy.cut - before + 1))

    def is_last(state: dict[str, Any]) -> bool:
        if state["data"]["state"] == "done":
            ended.add(state["data"]["id"])
        return ended >= set(started)  # jobs of other projects end too

    with LoopbackTeacher(more_after_each_cut) as teacher:
        for slug in ("one", "two"):
            write_project(workspace, slug, teacher.url, SUBJECTS)
        server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
        proxy.seconds = 0.1
        jobs = (server.ask(f"/api/v1/projects/{slug}/jobs", {"command": "generate"}) for slug in ("one", "two"))
        started = [job["id"] for job in jobs]
        events = read_events(proxy.url, is_last)
    proxy.seconds = None
    assert proxy.cut - before >= 3
    numbers = [state["number"] for _, state in events]
    assert numbers == sorted(set(numbers)), "out of order, or one twice"
    for job in started:
        done = [progress(state) for _, state in events if state["data"]["id"] == job]
        assert done == sorted(done)
    new = server.ask("/api/v1/projects/one/jobs", {"command": "curate"})["id"]
    server.job(new, "done", "failed")
    names, job = first_events(server.url, events[-1][0], 1)
    assert (names, job) == (["job"], new), "an old event was sent again"
    assert first_events(server.url, "", 2)[0] == ["job", "job"]
    for known in ("0123456789abcdef.7", "nonsense", events[-1][0].partition(".")[0]):
        assert first_events(server.url, known, 2)[0] == ["anew", "job", "job"], "the current state is sent again"


def progress(state: dict[str, Any]) -> int:
    return int((((state["data"]["progress"] or {}).get("numbers")) or {}).get("done") or 0)


def first_events(url: str, known: str, jobs: int) -> tuple[list[str], str]:
    """Return the names of the first events, up to this number of job events, and the job of the last one."""
    names = []
    headers = {"Last-Event-ID": known} if known else {}
    with httpx.stream("GET", f"{url}/api/v1/events", headers=headers, timeout=60) as stream:
        for event in _events(stream.iter_lines()):
            names.append(event["event"])
            if names.count("job") == jobs:
                break
    return names, json.loads(event["data"])["data"]["id"]


@pytest.mark.parametrize("form", ["file", "text"])
def test_cut_off_upload_is_not_stored(
    served: tuple[Served, Proxy, Workspace], teacher: LoopbackTeacher, form: str
) -> None:
    """A partial file of seeds, or a partial text with an Idempotency-Key, is neither listed nor left on disk; sent
    again, it is stored once."""
    (server, proxy, workspace), lines = served, 10_000 if form == "file" else 1_000
    folder = write_project(workspace, f"upload-{form}", teacher.url)
    server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
    big = "".join(f'{{"text": "a lamp of {n} arms, {"and so on " * 40}"}}\n' for n in range(lines)).encode()

    def upload() -> httpx.Response:
        ours, path = {"Sec-Fetch-Site": "same-origin"}, f"{proxy.url}/api/v1/projects/upload-{form}/seeds"
        if form == "file":
            return httpx.post(path, files={"file": ("big.jsonl", big)}, headers=ours, timeout=120)
        return httpx.post(path, data={"text": big.decode()}, headers={**ours, "Idempotency-Key": "big"}, timeout=120)

    before = list_files(workspace.root)
    proxy.bytes = len(big) // 2
    with pytest.raises(httpx.TransportError):
        upload()
    proxy.bytes = None
    until = time.monotonic() + 60
    while list_files(workspace.root) != before:  # the server notices the cut a moment later
        assert time.monotonic() < until, list_files(workspace.root) - before
        time.sleep(0.1)
    taken = upload()
    assert taken.status_code == 201, taken.text
    (stored,) = (folder / "seeds").iterdir()
    assert len(stored.read_bytes().splitlines()) == lines
    assert "Traceback" not in server.output()


def list_files(root: Path) -> set[str]:
    """The files of a workspace, without the side files of its databases and without jobs and views."""
    paths = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    others = tuple(f".serve/{name}/" for name in ("jobs", "views"))
    return {name for name in paths if not name.endswith(("-wal", "-shm", "-journal")) and not name.startswith(others)}


def test_cut_off_download_is_detected_and_can_be_resumed(
    served: tuple[Served, Proxy, Workspace], teacher: LoopbackTeacher
) -> None:
    """A partial download raises an error, whichever way it is sent, and a dataset file can be resumed at any byte."""
    server, proxy, workspace = served
    write_project(workspace, "dataset", teacher.url, SUBJECTS)
    server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
    for command in ("generate", "curate"):
        job = server.ask("/api/v1/projects/dataset/jobs", {"command": command})["id"]
        assert server.job(job, "done", "failed")["state"] == "done"
    (dataset,) = server.ask("/api/v1/projects/dataset/artifacts")["items"]
    artifact = f"/api/v1/projects/dataset/artifacts/{dataset['id']}/download"
    for path in (f"{artifact}?format=jsonl", artifact, "/api/v1/projects/dataset/rows/download?format=parquet"):
        whole = httpx.get(server.url + path, timeout=120).content
        proxy.bytes = len(whole) // 2
        with pytest.raises(httpx.TransportError):
            httpx.get(proxy.url + path, timeout=120)
        proxy.bytes = None
    path = f"{artifact}?format=jsonl"
    whole, first = httpx.get(server.url + path, timeout=120), 1_000
    part = {"Range": f"bytes={first}-", "If-Range": whole.headers["etag"]}
    rest = httpx.get(proxy.url + path, headers=part, timeout=120)
    assert rest.status_code == 206
    assert whole.content[:first] + rest.content == whole.content
