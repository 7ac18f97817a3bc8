"""One loopback server that plays a provider: its address, its way to take a key, its models, its answers and errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from aiohttp import web

KEY = "sk-conformance-0123456789"
KEY_ENV = "CONFORMANCE_KEY"
Body = dict[str, Any]


class Said(NamedTuple):
    """What a provider answers."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}  # read only


def error(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Said:
    """An error in OpenAI's form."""
    return Said(status, {"error": {"message": message, **more}}, headers or {})


def choice(text: str | None, index: int = 0, finish: str | None = "stop", **message: Any) -> Body:
    """A choice in OpenAI's form."""
    return {"index": index, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}


def completion(*choices: Body, **more: Any) -> Said:
    """A chat completion."""
    counted = {"prompt_tokens": 20, "completion_tokens": 8 * len(choices), "total_tokens": 20 + 8 * len(choices)}
    usage = {**counted, **more.pop("usage", {})}
    return Said(
        200, {"id": "chatcmpl-1", "object": "chat.completion", **more, "choices": list(choices), "usage": usage}
    )


def text_of(body: Body) -> str:
    """The prompt: the last message."""
    return str(body["messages"][-1]["content"])


def several(body: Body) -> Said:
    """As many choices as are asked for."""
    return completion(*(choice(f"{text_of(body)} {i}", i) for i in range(body.get("n", 1))), model=body["model"])


def single(body: Body) -> Said:
    """One choice, whatever n is."""
    return completion(choice(f"{text_of(body)} 0"), model=body["model"])


NO_KEY = error(401, "Incorrect API key provided", code="invalid_api_key")


@dataclass(frozen=True)
class Provider:
    """`documented` is where the provider describes it. `path` ends its address, `teacher` are further keys of
    `[teacher]` that it needs, `unauthorized` what it says to a request without its key, `refuses` what it has against a
    request whatever is asked, `answer` an ordinary answer. `says` is behaviour -> what it says then, for the behaviours
    that it documents."""

    name: str
    documented: str
    says: Mapping[str, Said]
    path: str = "/v1"
    model: str = "model-1"
    models: tuple[str, ...] = ("model-1", "model-2")
    key_header: str | None = "Authorization"
    unauthorized: Said = NO_KEY
    teacher: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.7, "max_tokens": 64})
    refuses: Callable[[Body], Said | None] = lambda body: None
    answer: Callable[[Body], Said] = several
    lists: Callable[[Provider], Any] = lambda self: {"object": "list", "data": [{"id": name} for name in self.models]}


class Played:
    """`with Played(provider, reply) as server:` serves it at `server.url` until the block ends.

    `reply(body, nth)` may answer the nth request for a prompt in place of the provider's ordinary answer.
    """

    def __init__(self, provider: Provider, reply: Callable[[Body, int], Said | None] = lambda body, nth: None) -> None:
        self.provider = provider
        self.asked: list[Body] = []
        self._reply = reply
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self.provider.path}"

    def __enter__(self) -> Played:
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        reply = self._said(request.method, request.path_qs, request.headers, await request.read())
        content = reply.body if isinstance(reply.body, bytes) else orjson.dumps(reply.body)
        return web.Response(status=reply.status, body=content, headers=reply.headers)

    def _said(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Said:
        provider = self.provider
        base, _, query = provider.path.partition("?")
        base = base.removesuffix("/chat/completions")
        suffix = f"?{query}" if query else ""
        if provider.key_header and headers.get(provider.key_header, "").removeprefix("Bearer ") != KEY:
            return provider.unauthorized
        if (method, path) == ("GET", f"{base}/models{suffix}"):
            return Said(200, provider.lists(provider))
        if (method, path) != ("POST", f"{base}/chat/completions{suffix}"):
            return error(404, f"no such path: {method} {path}")
        body: Body = orjson.loads(content)
        self.asked.append(body)
        nth = sum(text_of(one) == text_of(body) for one in self.asked)
        return self._reply(body, nth) or provider.refuses(body) or provider.answer(body)
