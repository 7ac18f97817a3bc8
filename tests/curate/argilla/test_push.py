"""Sending rows to a real Argilla: each exactly once, whatever fails on the way. A loopback proxy cuts connections."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from curate.argilla.client import Argilla
from curate.argilla.push import SHARED, draw_batch, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.review.population import read_population
from curate.review.status import review_status
from schemas.errors import ReviewError
from schemas.ports import free_port
from schemas.project import Project
from schemas.reviews import Review
from schemas.store import Store
from tests.curate.argilla.answering import answer, queue_named
from tests.curate.review.review_project import SCOPE, fill, project
from tests.servers import Handler, handled

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cats(tmp_path: Path) -> Project:
    """A project with its own queue name."""
    return project(tmp_path, f"cats-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def argilla(argilla_server: ArgillaServer) -> Iterator[Argilla]:
    with Argilla(argilla_server.url, argilla_server.api_key, "pairsmith", patience_s=30) as client:
        yield client


@pytest.fixture
def store(cats: Project) -> Iterator[Store]:
    with Store.open(Store.url_for(cats)) as opened:
        yield opened


def proxy(target: str, cut: Callable[[str, str], str | None]) -> AbstractContextManager[str]:
    """Forward HTTP to the server. `cut(method, path)` decides what happens: None (forward), "before" (respond with 503,
    forward nothing) or "after" (forward, then drop the connection without a response)."""
    host = urlsplit(target)

    class Forwarding(Handler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.body()
            fate = cut(self.command, self.path)
            if fate == "before":
                self.send_error(503)
                return
            upstream = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
            upstream.request(self.command, self.path, body, {**dict(self.headers), "Accept-Encoding": "identity"})
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if fate == "after":
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = forward

    return handled(Forwarding)


def on_server(argilla: Argilla, project: Project) -> list[str]:
    """The pair ids in both queues, with repetitions."""
    ids = []
    for suffix in ("", SHARED):
        queue = queue_named(argilla, queue_name(project) + suffix)
        if queue:
            ids += [record["external_id"] for record in argilla.records(queue, responses=True)]
    return ids


def test_drawn_rows_are_sent_once(cats: Project, store: Store, argilla: Argilla) -> None:
    """A batch is drawn once and each of its rows is sent once, with its reason; repeating both draws and sends nothing.
    About half of the candidates at most are sent."""
    pairs = fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    drawn = draw_batch(cats, store, population)
    assert draw_batch(cats, store, population) == []
    first = push(cats, store, population, argilla)
    sampled = store.sampled()
    assert first.sent == len(sampled) == len({record.pair_id for record in drawn}) < len(pairs) / 2 + 3
    again = push(cats, store, population, argilla)
    assert (again.sent, again.there) == (0, first.sent)
    assert Counter(on_server(argilla, cats)) == Counter(dict.fromkeys(sampled, 1))
    for record in argilla.records(queue_named(argilla, queue_name(cats)), responses=True):  # type: ignore[arg-type]
        why = sampled[record["external_id"]]
        assert set(record["metadata"]["chosen_for"]) == {"certify" if r.reason == "gold" else r.reason for r in why}


def test_shared_rows_need_two_answers(cats: Project, store: Store, argilla: Argilla) -> None:
    """A row drawn for the overlap is still pending after one answer; other rows are then completed."""
    fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    draw_batch(cats, store, population)
    push(cats, store, population, argilla)
    for suffix, needed in (("", 1), (SHARED, 2)):
        queue = queue_named(argilla, queue_name(cats) + suffix)
        assert queue is not None
        assert argilla.call("GET", f"datasets/{queue.id}")["distribution"]["min_submitted"] == needed
        first = next(argilla.records(queue, responses=True))
        answer(argilla.sdk, first["id"], "accept")
        after = next(record for record in argilla.records(queue, responses=True) if record["id"] == first["id"])
        assert after["status"] == ("completed" if needed == 1 else "pending")


ROWS = ("/records", "/records/bulk")  # our server's own route, and that of every Argilla


@pytest.mark.parametrize("ours", [True, False], ids=["our route", "Argilla's route"])
def test_lost_response_duplicates_nothing(
    cats: Project, store: Store, argilla: Argilla, argilla_server: ArgillaServer, ours: bool
) -> None:
    """The server stores the rows, the connection drops before the response, and then the server is unavailable for a
    while. Push waits and sends them again, and each exists once. The same holds for creating the queue."""
    seen: Counter[str] = Counter()

    def cut(method: str, path: str) -> str | None:
        kind = "bulk" if path.endswith(ROWS) else "publish" if path.endswith("/publish") else ""
        if method != "PUT" or not kind:
            return None
        seen[kind] += 1
        return {1: "after", 2: "before"}.get(seen[kind])

    fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    draw_batch(cats, store, population)
    with (
        proxy(argilla_server.url, cut) as url,
        Argilla(url, argilla_server.api_key, "pairsmith", patience_s=60) as cutting,
    ):
        assert cutting._is_pairsmith_server
        cutting.__dict__["_is_pairsmith_server"] = ours
        push(cats, store, population, cutting)
    assert seen["bulk"] >= 3
    assert seen["publish"] >= 2
    assert Counter(on_server(argilla, cats)) == Counter(dict.fromkeys(store.sampled(), 1))


def test_unreachable_server_is_reported_and_the_next_push_resumes(
    cats: Project, store: Store, argilla: Argilla, argilla_server: ArgillaServer
) -> None:
    """When its patience is over, push says what to do; nothing is lost, and the next push sends the rest."""
    fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    draw_batch(cats, store, population)
    away: list[bool] = []

    def cut(method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith(ROWS):
            away.append(True)
        return "before" if len(away) > 1 else None

    with (
        proxy(argilla_server.url, cut) as url,
        Argilla(url, argilla_server.api_key, "pairsmith", patience_s=1) as cutting,
        pytest.raises(ReviewError, match="continues where it stopped"),
    ):
        push(cats, store, population, cutting)
    before = len(on_server(argilla, cats))
    assert 0 < before < len(store.sampled())
    rest = push(cats, store, population, argilla)
    assert rest.sent == len(store.sampled()) - before
    assert Counter(on_server(argilla, cats)) == Counter(dict.fromkeys(store.sampled(), 1))


PUSH = """
import sys
from pathlib import Path
from curate.review.population import read_population
from curate.argilla.push import push
from curate.argilla.client import Argilla
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.review.review_project import SCOPE
project = load(Path(sys.argv[1]))
with Store.open(Store.url_for(project)) as store, Argilla(sys.argv[2], sys.argv[3], "pairsmith") as argilla:
    print(push(project, store, read_population(project, store, [SCOPE]), argilla).sent)
"""


def test_killed_push_is_resumed(cats: Project, argilla: Argilla, argilla_server: ArgillaServer) -> None:
    """After SIGKILL when some rows were stored, the second run sends the others and none twice."""
    with Store.open(Store.url_for(cats)) as store:
        fill(cats, store)
        draw_batch(cats, store, read_population(cats, store, [SCOPE]))
    command = [sys.executable, "-c", PUSH, str(cats.folder), argilla_server.url, argilla_server.api_key]
    environment = {**os.environ, "PAIRSMITH_FAILPOINT": "mid_push:1"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    before = len(on_server(argilla, cats))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Store.open(Store.url_for(cats)) as store:
        sampled = store.sampled()
    assert 0 < before < len(sampled)
    assert int(done.stdout.split()[-1]) == len(sampled) - before
    assert Counter(on_server(argilla, cats)) == Counter(dict.fromkeys(sampled, 1))


def test_older_queue_accepts_rows_that_now_have_other_candidates(cats: Project, store: Store, argilla: Argilla) -> None:
    """A queue created when no input had several candidates accepts rows that now do, without showing the others."""
    pairs = fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    draw_batch(cats, store, population)
    rows = {pair.id: population.rows[pair.id] for pair in pairs[::4]}
    alone = replace(population, rows=rows, inputs={pair_id: (pair_id,) for pair_id in rows}, rejected={})
    push(cats, store, alone, argilla)
    assert 0 < len(on_server(argilla, cats)) < len(store.sampled())
    push(cats, store, population, argilla)
    assert Counter(on_server(argilla, cats)) == Counter(dict.fromkeys(store.sampled(), 1))
    queue = queue_named(argilla, queue_name(cats))
    assert queue is not None
    assert "candidates" not in queue.fields


def test_dataset_with_other_questions_is_left_alone(cats: Project, store: Store, argilla: Argilla) -> None:
    """A dataset with the queue's name and other questions is not touched; the error names the missing questions."""
    import argilla as rg

    fill(cats, store)
    population = read_population(cats, store, [SCOPE])
    draw_batch(cats, store, population)
    argilla.workspace_id(make=True)
    theirs = rg.Settings(
        fields=[rg.TextField(name="text", client=argilla.sdk)],
        questions=[rg.TextQuestion(name="note", client=argilla.sdk)],
    )
    rg.Dataset(queue_name(cats), workspace="pairsmith", settings=theirs, client=argilla.sdk).create()
    with pytest.raises(ReviewError, match="does not ask for edited, reasons, verdict"):
        push(cats, store, population, argilla)
    queue = queue_named(argilla, queue_name(cats))
    assert queue is not None
    assert list(queue.questions) == ["note"]


def test_wrong_key_and_unreachable_address_are_reported(argilla_server: ArgillaServer) -> None:
    """A wrong API key and an address without a server each raise a ReviewError, not an exception of the client."""
    with pytest.raises(ReviewError, match="refuses the API key"):
        Argilla(argilla_server.url, "wrong", "pairsmith")
    with pytest.raises(ReviewError, match="No Argilla answers"):
        Argilla(f"http://127.0.0.1:{free_port()}", "any", "pairsmith")


def test_no_more_rows_are_drawn_once_the_interval_is_narrow(cats: Project, store: Store) -> None:
    """When every drawn row is decided and the share is known as precisely as requested, the advice is to stop and
    nothing more is drawn; `more` still draws."""
    wide = cats.spec.review.model_copy(
        update={"margin_of_error": 0.3, "accept_at_least": 0.0, "overlap": 0.0, "gold": None}
    )
    project_ = Project(cats.folder, cats.spec.model_copy(update={"review": wide}))
    fill(project_, store)
    population = read_population(project_, store, [SCOPE])
    for record in draw_batch(project_, store, population):
        store.write(Review(pair_id=record.pair_id, reviewer="ann", decision="accept", seconds=12))
    now = review_status(project_, store, population)
    assert now.waiting == 0
    assert now.rates.passed is not None
    assert now.advice is not None
    assert now.advice.stop
    assert now.seconds == 12
    assert draw_batch(project_, store, population) == []
    more = draw_batch(project_, store, population, more=True)
    assert more
    assert not {(r.pair_id, r.reason) for r in more} & {
        (r.pair_id, r.reason) for records in store.sampled().values() for r in records if r.at < more[0].at
    }
