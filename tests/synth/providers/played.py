"""A loopback server that plays a provider: its address, its authentication, its models, its answers and its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from tests.servers import InThread

KEY = "sk-conformance-0123456789"
KEY_ENV = "CONFORMANCE_KEY"
Body = dict[str, Any]


class Response(NamedTuple):
    """A provider's response."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}  # read only


def error(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An error in OpenAI's format."""
    return Response(status, {"error": {"message": message, **more}}, headers or {})


def choice(text: str | None, index: int = 0, finish: str | None = "stop", **message: Any) -> Body:
    """A choice in OpenAI's format."""
    return {"index": index, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}


def completion(*choices: Body, **more: Any) -> Response:
    """A chat completion."""
    counted = {"prompt_tokens": 20, "completion_tokens": 8 * len(choices), "total_tokens": 20 + 8 * len(choices)}
    usage = {**counted, **more.pop("usage", {})}
    return Response(
        200, {"id": "chatcmpl-1", "object": "chat.completion", **more, "choices": list(choices), "usage": usage}
    )


def text_of(body: Body) -> str:
    """The prompt: the last message."""
    return str(body["messages"][-1]["content"])


def several(body: Body) -> Response:
    """As many choices as requested."""
    return completion(*(choice(f"{text_of(body)} {i}", i) for i in range(body.get("n", 1))), model=body["model"])


def single(body: Body) -> Response:
    """One choice, whatever n is."""
    return completion(choice(f"{text_of(body)} 0"), model=body["model"])


NO_KEY = error(401, "Incorrect API key provided", code="invalid_api_key")


@dataclass(frozen=True)
class Provider:
    """`documented` is the address of the provider's description. `path` ends the provider's address, `teacher` has
    further keys of `[teacher]` that it needs, `unauthorized` is its response to a request without its key, `refuses`
    rejects some requests in any case, and `answer` gives an ordinary answer. `says` maps each documented behaviour to
    its response."""

    name: str
    documented: str
    says: Mapping[str, Response]
    path: str = "/v1"
    model: str = "model-1"
    models: tuple[str, ...] = ("model-1", "model-2")
    key_header: str | None = "Authorization"
    unauthorized: Response = NO_KEY
    teacher: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.7, "max_tokens": 64})
    refuses: Callable[[Body], Response | None] = lambda body: None
    answer: Callable[[Body], Response] = several
    lists: Callable[[Provider], Any] = lambda self: {"object": "list", "data": [{"id": name} for name in self.models]}


class Played(InThread):
    """`with Played(provider, reply) as server:` serves the provider at `server.url` until the block ends.

    `reply(body, nth)` may answer the nth request for a prompt instead of the provider's ordinary answer.
    """

    def __init__(
        self, provider: Provider, reply: Callable[[Body, int], Response | None] = lambda body, nth: None
    ) -> None:
        self.provider = provider
        self.asked: list[Body] = []
        self._reply = reply
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        super().__init__(app)

    @property
    def url(self) -> str:
        return f"{self.address}{self.provider.path}"

    async def _serve(self, request: web.Request) -> web.Response:
        reply = self._respond(request.method, request.path_qs, request.headers, await request.read())
        content = reply.body if isinstance(reply.body, bytes) else orjson.dumps(reply.body)
        return web.Response(status=reply.status, body=content, headers=reply.headers)

    def _respond(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> Response:
        provider = self.provider
        base, _, query = provider.path.partition("?")
        base = base.removesuffix("/chat/completions")
        suffix = f"?{query}" if query else ""
        if provider.key_header and headers.get(provider.key_header, "").removeprefix("Bearer ") != KEY:
            return provider.unauthorized
        if (method, path) == ("GET", f"{base}/models{suffix}"):
            return Response(200, provider.lists(provider))
        if (method, path) != ("POST", f"{base}/chat/completions{suffix}"):
            return error(404, f"no such path: {method} {path}")
        body: Body = orjson.loads(content)
        self.asked.append(body)
        nth = sum(text_of(one) == text_of(body) for one in self.asked)
        return self._reply(body, nth) or provider.refuses(body) or provider.answer(body)
