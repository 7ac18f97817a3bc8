"""When a running server is killed, its disk is full or its Redis is gone, nothing is lost or duplicated on either side,
and the error says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from curate.argilla import server
from curate.argilla.client import Argilla
from curate.argilla.probe import identify_program
from curate.argilla.pull import pull
from curate.argilla.push import SHARED, PushResult, draw_batch, push, queue_name
from curate.argilla.venv import SERVER_CODE
from curate.review.population import Population, read_population
from schemas.errors import ReviewError
from schemas.ports import free_port
from schemas.progress import unseen
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store
from tests.curate.argilla.answering import answer, queue_named
from tests.curate.argilla.conftest import START_S, argilla_client, child, wait_until
from tests.curate.argilla.small_disk import fill_up, small_disk
from tests.curate.argilla.webhook_listener import listener
from tests.curate.review.review_project import SCOPE, fill, project
from tests.cutting_proxy import Proxy

rg = argilla_client()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, so that a push of few rows can be interrupted in the middle."""
    monkeypatch.setattr("curate.argilla.client._BULK", 50)


class Cats:
    """A project with a batch of `batch` drawn rows, and a connection to a running server."""

    def __init__(self, folder: Path, running: server.ArgillaServer, batch: int, patience_s: float) -> None:
        tag = uuid.uuid4().hex[:8]
        project_ = project(folder, f"cats-{tag}", workspace=f"w-{tag}")
        review = project_.spec.review.model_copy(update={"batch": batch})
        self.project = Project(folder, project_.spec.model_copy(update={"review": review}))
        self.running = running
        self.store = Store.open(Store.url_for(self.project))
        self.argilla = Argilla(running.url, running.api_key, f"w-{tag}", patience_s=patience_s)
        fill(self.project, self.store, inputs=batch // 2)
        self.population: Population = read_population(self.project, self.store, [SCOPE])
        draw_batch(self.project, self.store, self.population)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.argilla.close()
        self.store.close()

    def push(self, progress: Any = unseen) -> PushResult:
        return push(self.project, self.store, self.population, self.argilla, progress)

    def records(self, suffix: str = "") -> list[Json]:
        queue = queue_named(self.argilla, queue_name(self.project) + suffix)
        return list(self.argilla.records(queue, responses=True)) if queue else []

    def has_each_row_once(self) -> bool:
        """Whether the queues hold exactly the drawn rows."""
        counts = Counter(record["external_id"] for suffix in ("", SHARED) for record in self.records(suffix))
        return counts == Counter(dict.fromkeys(self.store.sampled(), 1))


def test_server_killed_during_a_push(tmp_path: Path, argilla_server: server.ArgillaServer) -> None:
    """After kill -9 in the middle of a push, the push waits for the restart and continues; each row is sent once."""
    before = child(argilla_server, "server")
    assert before.pid is not None

    def kill(_stage: str, numbers: Json) -> None:
        if numbers["done"] == 100:
            os.kill(before.pid or 0, signal.SIGKILL)  # the next rows find no server

    with Cats(tmp_path, argilla_server, 300, patience_s=900) as cats:
        sent = cats.push(kill).sent
        assert child(argilla_server, "server").restarts == before.restarts + 1
        assert sent == len(cats.store.sampled()) > 200
        assert cats.has_each_row_once()
        assert cats.push().sent == 0


@pytest.mark.parametrize("what", ["requests", "answers"])
def test_connections_lost_during_push_and_pull(what: str, tmp_path: Path, argilla_server: server.ArgillaServer) -> None:
    """Connections are cut in the middle of requests, or after the server processed a request but before it responded.
    Push and pull retry; each row is sent once and each answer stored once."""
    with Proxy(argilla_server.url) as proxy:
        running = replace(argilla_server, url=proxy.url)
        # Each connection ends after that many bytes, including the one over which `Cats` signs in.
        proxy.bytes, proxy.loses = (60_000, None) if what == "requests" else (None, b"PUT ")
        with Cats(tmp_path, running, 300, patience_s=600) as cats:
            sent = cats.push().sent
            assert proxy.cut
            assert (proxy.lost > 1) == (what == "answers")
            proxy.bytes, proxy.loses = None, None
            assert sent == len(cats.store.sampled()) > 200
            assert cats.has_each_row_once()
            assert cats.push().sent == 0
            records = cats.records()[:20]
            for record in records:
                answer(cats.argilla.sdk, record["id"], "accept")
            proxy.loses, before = b"GET ", proxy.lost
            assert pull(cats.project, cats.store, cats.argilla).new == len(records)
            assert proxy.lost > before
            assert pull(cats.project, cats.store, cats.argilla).news == 0
            assert {id_: len(own) for id_, own in cats.store.reviews().items()} == {
                record["external_id"]: 1 for record in records
            }


def test_server_killed_during_a_pull(tmp_path: Path, argilla_server: server.ArgillaServer) -> None:
    """After kill -9 in the middle of a pull, the pull waits for the restart and continues; each answer is stored
    once."""
    before = child(argilla_server, "server")
    with Cats(tmp_path, argilla_server, 24, patience_s=900) as cats:
        cats.push()
        records = [*cats.records(), *cats.records(SHARED)]
        for record in records:
            answer(cats.argilla.sdk, record["id"], "edit", edited=f"Mended {record['external_id']}.")
        killed = []

        def kill(_stage: str, _numbers: Json) -> None:
            if not killed:
                killed.append(before.pid)
                os.kill(before.pid or 0, signal.SIGKILL)

        pulled = pull(cats.project, cats.store, cats.argilla, kill)
        assert child(argilla_server, "server").restarts == before.restarts + 1
        assert pulled.new == len(records)
        assert {id_: len(own) for id_, own in cats.store.reviews().items()} == {r["external_id"]: 1 for r in records}
        assert pull(cats.project, cats.store, cats.argilla).news == 0
        assert sum(len(record["responses"]) for suffix in ("", SHARED) for record in cats.records(suffix)) == len(
            records
        )


class Redis:
    """A Redis for this test only, which can be killed and restarted."""

    def __init__(self, venv: Path, folder: Path) -> None:
        done = subprocess.run(
            [venv / "bin" / "python", SERVER_CODE / "serve.py", "where-valkey"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.port = free_port()
        self.command = [
            done.stdout.strip(),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
        ]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        wait_until(lambda: identify_program("127.0.0.1", self.port) is not None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def fragile_server(
    venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[server.ArgillaServer, Path, Redis]]:
    """A server on its own small disk and with a Redis that the test can kill."""
    redis = Redis(venv, tmp_path_factory.mktemp("redis"))
    with small_disk("200m") as disk:
        redis.start()
        try:
            where = f"redis://127.0.0.1:{redis.port}/0"
            running = server.up(disk / "home", port=free_port(), redis_url=where, venv=venv, start_timeout_s=START_S)
            yield running, disk, redis
        finally:
            server.down(disk / "home")
            redis.kill()


def test_disk_full_during_a_push(tmp_path: Path, fragile_server: tuple[server.ArgillaServer, Path, Redis]) -> None:
    """Push and `status` report the full disk, even if the server dies of it. Once there is space the server is
    restarted, the rest is sent, and each row exists once."""
    running, disk, _ = fragile_server
    port = int(running.url.rpartition(":")[2])

    def full(_stage: str, numbers: Json) -> None:
        if numbers["done"] == 50:
            fill_up(disk / "filler")

    with Cats(tmp_path, running, 160, patience_s=1) as cats:
        with pytest.raises(ReviewError, match=r"the disk of its database is full.*continues where it stopped"):
            cats.push(full)
        there = len(cats.records()) + len(cats.records(SHARED))
        assert 50 <= there < len(cats.store.sampled())
        os.kill(child(running, "server").pid or 0, signal.SIGKILL)
        wait_until(lambda: identify_program("127.0.0.1", port) is None)
        seen = server.status(running.home)
        assert (seen.state, "its disk is full" in (seen.reason or "")) == ("unhealthy", True)
        (disk / "filler").unlink()
        wait_until(lambda: identify_program("127.0.0.1", port) == "Argilla 2.8.0")
        assert cats.push().sent == len(cats.store.sampled()) - there
        assert cats.has_each_row_once()
        assert server.status(running.home).state == "running"
        assert child(running, "server").restarts > 0  # more, if it started again before there was space


def test_redis_gone_during_a_push(tmp_path: Path, fragile_server: tuple[server.ArgillaServer, Path, Redis]) -> None:
    """With an active webhook Argilla cannot work without Redis: push reports it, and later requests do not wait. Once
    Redis is back, the rest is sent, each row once, and the worker works again."""
    running, _, redis = fragile_server

    def gone(_stage: str, numbers: Json) -> None:
        if numbers["done"] == 50:
            redis.kill()

    with Cats(tmp_path, running, 160, patience_s=1) as cats, listener() as (url, events):
        hook = rg.Webhook(url=url, events=["record.created"], _client=cats.argilla.sdk).create()
        with pytest.raises(ReviewError, match=r"its Redis does not answer.*continues where it stopped"):
            cats.push(gone)
        queue = queue_named(cats.argilla, queue_name(cats.project))
        assert queue
        asked = {"url": f"/api/v1/datasets/{queue.id}", "json": {"guidelines": queue.guidelines}}
        refused = cats.argilla.sdk.http_client.patch(**asked, timeout=120)
        assert (refused.status_code, "redis.exceptions" in refused.text) == (500, True)
        assert refused.elapsed.total_seconds() < 10  # only the first request of an outage waits
        redis.start()
        seen = len(events)
        assert cats.push().sent > 0
        assert cats.has_each_row_once()
        wait_until(lambda: len(events) > seen)
        hook.delete()
        assert server.status(running.home).state == "running"
