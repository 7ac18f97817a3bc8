"""The process of the model that users chat with: who waits for it, and what happens when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from pairsmith.serve import talking
from schemas.errors import TeacherError
from synth.embedded.process import EmbeddedServer
from tests.serve.people import MINE, OTHER, Service
from tests.serve.test_openai import FakeModelServer, add_adapter, model
from tests.servers import handled
from train import local_model

__all__ = ["model"]  # a fixture


def test_an_answer_ends_when_its_client_disconnects(service: Service, model: list[dict[str, Any]]) -> None:
    """Otherwise four clients with a short timeout would keep everybody from chatting for minutes, and the model busy
    with answers that nobody reads."""
    add_adapter(service)
    name = f"ft:smollm2-135m-instruct:{MINE}::aaaaaaaa"
    body = {"model": name, "messages": [{"role": "user", "content": "wait"}]}
    key = service.program("viewer").headers["Authorization"]
    headers = {"host": "127.0.0.1", "authorization": key, "content-type": "application/json"}
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()], "http_version": "1.1"}
    requests = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> dict[str, Any]:
        while not requests and not model:  # noqa: ASYNC110 the model runs in a thread
            await asyncio.sleep(0.01)
        return requests.pop() if requests else {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    FakeModelServer.goes_on.clear()
    try:
        asyncio.run(asyncio.wait_for(service.app(scope, receive, send), 15))
        assert (len(model), service.app.state.limits.running("chat")) == (1, 0)
    finally:
        FakeModelServer.goes_on.set()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[asyncio.Event]]:
    """The starts of a fake model, each with the event that ends its process; its port answers all the time."""
    events = list[asyncio.Event]()
    with handled(FakeModelServer) as url:

        @asynccontextmanager
        async def serving(_: Any, **__: Any) -> AsyncIterator[tuple[EmbeddedServer, str]]:
            events.append(ended := asyncio.Event())
            await asyncio.sleep(0.2)

            def check() -> None:
                if ended.is_set():
                    raise TeacherError("it has ended.")

            yield EmbeddedServer(url, "base", {}, 2048, check), "tuned"

        monkeypatch.setattr(local_model, "serving", serving)
        monkeypatch.setattr(talking, "_load_model", lambda *_: None)
        yield events


def test_a_model_whose_process_was_killed_is_started_again(service: Service, starts: list[asyncio.Event]) -> None:
    """Until nobody had tried to talk to it for ten minutes, every request was refused."""
    tuned = talking.Tuned("ft", MINE, add_adapter(service), service.workspace.folder(MINE), adapter=True, created=0)
    server, question = talking.TunedModelServer(service.workspace), {"messages": [{"role": "user", "content": "x"}]}

    async def scene() -> None:
        for _ in range(2):
            assert (await server.ask(tuned, question))[0] == 200
        assert len(starts) == 1
        starts[0].set()
        assert (await server.ask(tuned, question))[0] == 200
        assert len(starts) == 2

    asyncio.run(scene())


def test_a_client_that_waits_for_less_than_a_start_finds_the_model_later(
    service: Service, starts: list[asyncio.Event]
) -> None:
    """Its start goes on without it, and the model counts as idle afterwards, so that another one may take its place."""
    tuned = talking.Tuned("ft", MINE, add_adapter(service), service.workspace.folder(MINE), adapter=True, created=0)
    server, question = talking.TunedModelServer(service.workspace), {"messages": [{"role": "user", "content": "x"}]}

    async def scene() -> None:
        for _ in range(5):
            with suppress(TimeoutError):
                await asyncio.wait_for(server.ask(tuned, question), 0.05)
        assert (await server.ask(tuned, question))[0] == 200
        assert len(starts) == 1
        other = tuned._replace(folder=service.workspace.folder(OTHER))
        assert (await server.ask(other, question))[0] == 200

    asyncio.run(scene())
