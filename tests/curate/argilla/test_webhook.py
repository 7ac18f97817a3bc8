"""`pull --watch` is notified of answers as they are given if the server can reach it, and leaves nothing behind."""

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
from tests.curate.argilla.answering import answer, change, queue_named
from tests.curate.review.review_project import SCOPE, fill, project

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def argilla(on_each_database: ArgillaServer) -> Iterator[Argilla]:
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    with Argilla(on_each_database.url, on_each_database.api_key, workspace, patience_s=30) as connected:
        for left in hooks(connected):  # left by a test that failed
            connected.call("DELETE", f"webhooks/{left['id']}")
        yield connected


def hooks(argilla: Argilla) -> list[dict[str, Any]]:
    return list(argilla.call("GET", "webhooks")["items"])


def test_new_and_changed_answers_end_the_wait(
    argilla: Argilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting returns True as soon as an answer is given or changed, otherwise False after the timeout. The webhook
    that a killed process of this project left on the server is removed, as is our own at the end; a foreign one
    stays."""
    monkeypatch.setattr(webhook, "_PING_TIMEOUT_S", 500.0)  # for a busy machine
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        push(project_, store, population, argilla, alone=True)
    queue = queue_named(argilla, queue_name(project_))
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
    foreign_hook = argilla.call("POST", "webhooks", json={**asked, "description": "theirs"})
    with listen_for_answers(argilla, own):
        assert len(hooks(argilla)) == 2
    assert [hook["id"] for hook in hooks(argilla)] == [foreign_hook["id"]]
    argilla.call("DELETE", f"webhooks/{foreign_hook['id']}")


def test_without_a_working_webhook_the_listener_is_none(
    argilla: Argilla, on_each_database: ArgillaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin may not create webhooks, and some servers cannot reach this machine. Both cases give None within
    seconds, and nothing is left on the server. The ping was repeated for as long as a server that is down is waited
    for."""
    person = {"first_name": "adam", "username": f"adam-{uuid.uuid4().hex[:6]}", "password": "12345678", "role": "admin"}
    key = argilla.call("POST", "users", json=person)["api_key"]
    with Argilla(on_each_database.url, key, "x") as admin, listen_for_answers(admin, "p") as wait:
        assert wait is None
    assert hooks(argilla) == []

    @contextmanager
    def unreachable_server(*_: Any) -> Iterator[str]:
        yield "http://127.0.0.1:9/nobody"

    monkeypatch.setattr("curate.argilla.webhook._callback_server", unreachable_server)
    sent: list[str] = []
    argilla.sdk.http_client.event_hooks["request"].append(lambda request: sent.append(request.url.path))
    with listen_for_answers(argilla, "p") as wait:
        assert wait is None
    assert sum(path.endswith("/ping") for path in sent) == 1
    assert hooks(argilla) == []


@pytest.mark.parametrize("length", ["abc", "-5", "99999999999", "1_0", "²"])
def test_invalid_call_is_refused_and_ends_no_wait(length: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A request with an invalid or too large content length gets a 404, and nothing is printed on the user's screen."""
    called = threading.Event()
    with webhook._callback_server("127.0.0.1", called) as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=120) as caller:
            caller.sendall(f"POST {where.path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 404 " in caller.recv(100)
    assert not called.is_set()
    assert "Traceback" not in capsys.readouterr().err
