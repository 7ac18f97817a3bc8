"""A real HTTP teacher on 127.0.0.1: it serves chat completions, misbehaves on request and counts its requests.

It runs in a thread of the test's process, so its counts survive when the client, another process, is killed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.servers import InThread


@dataclass(frozen=True)
class Ask:
    """One request as the teacher received it. `number` counts all requests, `nth` those with this `prompt`, both from
    1."""

    number: int
    nth: int
    prompt: str
    n: int
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """The teacher's reaction. Without `texts` it returns one text for each requested choice; `body` replaces the whole
    response."""

    texts: tuple[str | None, ...] | None = None
    finish: str = "stop"
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    when: Callable[[], bool] | None = None
    """The response is sent as soon as this returns true."""
    cut: bool = False
    usage: bool = True


def says(*texts: str | None, finish: str = "stop", delay_s: float = 0.0, usage: bool = True) -> Reply:
    """A response with these choices."""
    return Reply(texts=texts or None, finish=finish, delay_s=delay_s, usage=usage)


def fails(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    """An error response in OpenAI's format."""
    return Reply(status=status, body=orjson.dumps({"error": {"message": message, **error}}), headers=headers or {})


def cuts() -> Reply:
    """The connection is cut instead of a response."""
    return Reply(cut=True)


class LoopbackTeacher(InThread):
    """`with LoopbackTeacher(reply) as teacher:` serves at `teacher.url` until the block ends.

    `reply` chooses the reaction to each Ask; the default is a plain response. `asked` holds every request in order,
    `busiest` is the highest number of simultaneously open requests. `honours_n=False` returns one choice whatever n is.
    """

    def __init__(
        self,
        reply: Callable[[Ask], Reply] | None = None,
        *,
        models: tuple[str, ...] | None = ("loopback",),
        key: str | None = None,
        latency_s: float = 0.0,
        honours_n: bool = True,
    ) -> None:
        self.asked: list[Ask] = []
        self._counts = Counter[str]()
        self.busiest = 0
        self._open = 0
        self._reply = reply or (lambda ask: Reply())
        self._models, self._key, self._latency_s, self._honours_n = models, key, latency_s, honours_n
        self._arrived = threading.Condition()
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._complete)
        super().__init__(app)

    @property
    def url(self) -> str:
        return self.address

    def counts(self) -> Counter[str]:
        """The number of requests with each prompt (the last user message)."""
        return Counter(ask.prompt for ask in self.asked)

    def wait_for(self, count: int, timeout_s: float = 120) -> None:
        """Block until `count` requests have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.asked) >= count, timeout_s), "too few requests arrived"

    def _refuses(self, request: web.Request) -> bool:
        return self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}"

    async def _list(self, request: web.Request) -> web.Response:
        if self._refuses(request):
            return _json(401, {"error": {"message": "wrong key"}})
        if self._models is None:
            return _json(404, {"error": {"message": "no such path"}})
        return _json(200, {"data": [{"id": model} for model in self._models]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        prompt = body["messages"][-1]["content"]
        self._counts[prompt] += 1
        headers = dict(request.headers)
        ask = Ask(len(self.asked) + 1, self._counts[prompt], prompt, body.get("n", 1), body, headers)
        with self._arrived:
            self.asked.append(ask)
            self._arrived.notify_all()
        if self._refuses(request):
            sent = request.headers.get("Authorization", "")
            return _json(401, {"error": {"message": f"wrong key: {sent}"}})
        self._open += 1
        self.busiest = max(self.busiest, self._open)
        try:
            reply = self._reply(ask)
            await asyncio.sleep(self._latency_s + reply.delay_s)
            while reply.when is not None and not reply.when():  # noqa: ASYNC110 tests set no event of this loop
                await asyncio.sleep(0.05)
        finally:
            self._open -= 1
        if reply.cut:
            if request.transport is not None:  # otherwise the client has disconnected
                request.transport.abort()
            return web.Response()
        if reply.body is not None:
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        return _json(200, self._answer(ask, reply))

    def _answer(self, ask: Ask, reply: Reply) -> dict[str, Any]:
        count = ask.n if self._honours_n else 1
        texts = reply.texts or tuple(f"{ask.prompt}, at length ({ask.number}.{i})" for i in range(count))
        choices = [
            {"index": i, "finish_reason": reply.finish, "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]
        answer: dict[str, Any] = {"id": f"chat-{ask.number}", "model": ask.body["model"], "choices": choices}
        if reply.usage:
            answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices)}
        return answer


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
