"""`pull --watch` hears of answers as they are given, where the server can reach it, and leaves nothing behind."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from curate.argilla import webhook
from curate.argilla.client import Argilla
from curate.argilla.push import draw_batch, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.argilla.webhook import listen_for_answers
from curate.review.population import read_population
from schemas.store import Store
from tests.curate.argilla.answering import answer, change
from tests.curate.review.review_project import SCOPE, fill, project

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def argilla(on_each_database: ArgillaServer) -> Iterator[Argilla]:
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    with Argilla(on_each_database.url, on_each_database.api_key, workspace, patience_s=30) as connected:
        for left in hooks(connected):  # by a test that failed
            connected.call("DELETE", f"webhooks/{left['id']}")
        yield connected


def hooks(argilla: Argilla) -> list[dict[str, Any]]:
    return list(argilla.call("GET", "webhooks")["items"])


def test_an_answer_and_a_change_of_mind_are_heard(
    argilla: Argilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting ends because somebody answers or changes the answer, and is told so; without either it lasts. What a
    killed process left on the server for this project is taken away, and so is ours in the end."""
    monkeypatch.setattr(webhook, "_PING_TIMEOUT_S", 500.0)  # of a busy machine
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        push(project_, store, population, argilla, alone=True)
    queue = argilla.queue(queue_name(project_))
    assert queue is not None
    row = next(iter(argilla.records(queue)))
    own = uuid.uuid4().hex
    with listen_for_answers(argilla, own) as wait:
        assert wait is not None
        (left,) = hooks(argilla)
        asked = {name: left[name] for name in ("url", "events", "description")}
        assert not wait(0.2)
        given = answer(argilla.sdk, row["id"], "accept")
        assert wait(500)
        change(argilla.sdk, given["id"], "reject")
        assert wait(500)
        assert httpx.post(asked["url"] + "x", json={}, timeout=120).status_code == 404
        assert not wait(0.2)
    assert hooks(argilla) == []
    argilla.call("POST", "webhooks", json=asked)
    somebody_elses = argilla.call("POST", "webhooks", json={**asked, "description": "theirs"})
    with listen_for_answers(argilla, own):
        assert len(hooks(argilla)) == 2
    assert [hook["id"] for hook in hooks(argilla)] == [somebody_elses["id"]]
    argilla.call("DELETE", f"webhooks/{somebody_elses['id']}")


def test_where_nobody_calls_or_may_ask_it_goes_on_looking(
    argilla: Argilla, on_each_database: ArgillaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin may make no webhook, and a server that cannot reach this machine never calls: both are told as None
    within seconds, and nothing is left behind."""
    person = {"first_name": "adam", "username": f"adam-{uuid.uuid4().hex[:6]}", "password": "12345678", "role": "admin"}
    key = argilla.call("POST", "users", json=person)["api_key"]
    with Argilla(on_each_database.url, key, "x") as admin, listen_for_answers(admin, "p") as wait:
        assert wait is None
    assert hooks(argilla) == []

    @contextmanager
    def behind_a_wall(*_: Any) -> Iterator[str]:
        yield "http://127.0.0.1:9/nobody"

    monkeypatch.setattr("curate.argilla.webhook._callback_server", behind_a_wall)
    with listen_for_answers(argilla, "p") as wait:
        assert wait is None
    assert hooks(argilla) == []


@pytest.mark.parametrize("length", ["abc", "-5", "99999999999", "1_0", "²"])
def test_a_call_that_is_none_wakes_nobody(length: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever finds the address and sends a length that is none, or too long, gets a 404, and nothing is said on the
    screen of the person who watches."""
    called = threading.Event()
    with webhook._callback_server("127.0.0.1", called) as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=120) as caller:
            caller.sendall(f"POST {where.path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 404 " in caller.recv(100)
    assert not called.is_set()
    assert "Traceback" not in capsys.readouterr().err
