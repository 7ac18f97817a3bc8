"""How a teacher is reached: addresses of every form, headers, queries, time limits, and a teacher for each purpose."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import TypeAdapter

from schemas.errors import AuthError, SpecError, TeacherError, Unreachable, UsageError
from schemas.records import Message, Sampling
from schemas.spec import Drawing, TeacherSettings, given
from schemas.spec_file import parse
from synth.chat_completions import RefusedError, TimedOutError, base_url, query_of
from synth.endpoint import Endpoint
from synth.teachers import opened
from tests.servers import served

CHAT = (Message(role="user", content="a dog"),)
ANSWER = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}]}
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


def everywhere(serve: Serve) -> AbstractAsyncContextManager[str]:
    """A server on loopback that answers every path, and its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    return served(app)


def reached(path: str, **settings: Any) -> tuple[str, dict[str, str]]:
    """The path with its query, and the headers, of a request to a teacher whose address ends in `path`."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(ANSWER)

    async def once() -> None:
        async with everywhere(answer) as url:
            teacher = TeacherSettings(url=url + path, model="m", **settings)
            async with opened(teacher, print) as endpoint:
                await endpoint.ask(CHAT, Sampling())

    asyncio.run(once())
    return seen[0].path_qs, dict(seen[0].headers)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/inference/chat/completions", "/inference/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
        (
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
            "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_an_address_that_is_written_to_its_end_is_taken_as_it_is(given: str, path: str) -> None:
    """With a version nothing is added, without one `/v1`, and a whole path (GitHub, Perplexity, Databricks, Azure's
    older form) is used letter by letter."""
    assert reached(given)[0] == path


def test_headers_and_query_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Literal headers, those of variables, the organisation, and a query of the spec."""
    monkeypatch.setenv("MY_AZURE_KEY", "s3cr3t")
    path, headers = reached(
        "/openai/deployments/mine/chat/completions",
        headers={"X-Title": "captions"},
        headers_env={"api-key": "MY_AZURE_KEY"},
        organization="org-1",
        query={"api-version": "2024-10-21"},
    )
    assert path.endswith("/chat/completions?api-version=2024-10-21")
    assert (headers["X-Title"], headers["api-key"], headers["OpenAI-Organization"]) == ("captions", "s3cr3t", "org-1")
    assert "Authorization" not in headers


def test_a_header_that_may_hold_a_secret_is_not_written_into_the_spec() -> None:
    """A secret in a file is soon a secret in a repository; the message names the key to use."""
    for name in ("api-key", "Authorization", "X-Auth-Token", "Cookie"):
        with pytest.raises(UsageError, match="headers_env") as caught:
            given(TeacherSettings, "teacher", url="http://h", headers={name: "s3cr3t"})
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "X Title", "X-Title:", ""])
def test_a_header_that_would_break_a_request_is_named(name: str) -> None:
    """Sent beside ours it made every row a refused one."""
    with pytest.raises(AuthError, match=f"The header '{name}' cannot be added"):
        Endpoint("http://h", "m", headers={name: "3"})
    assert Endpoint("http://h", "m", headers={"Connection": "close"})  # it breaks nothing


def test_a_header_with_a_line_break_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pasted line break is found before the first request, and neither sent nor shown."""
    monkeypatch.setenv("MY_AZURE_KEY", "s3cr3t\nX-Evil: 1")
    with pytest.raises(AuthError, match="'api-key'") as caught:
        reached("", headers_env={"api-key": "MY_AZURE_KEY"})
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_of_a_header_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is struck out where the server repeats it, and its variable is named where it is not set."""
    secret = "azure-0123456789abcdef"

    async def refuses(request: web.Request) -> web.Response:
        error = {"error": {"message": f"Access denied: invalid key {request.headers['api-key']}"}}
        return web.json_response(error, status=401)

    async def once() -> None:
        async with everywhere(refuses) as url:
            teacher = TeacherSettings(url=url, model="m", headers_env={"api-key": "MY_AZURE_KEY"})
            async with opened(teacher, print) as endpoint:
                await endpoint.ask(CHAT, Sampling())

    for nothing in ("", " \n"):  # an empty line of a .env file; it was sent as no key at all
        monkeypatch.setenv("MY_AZURE_KEY", nothing)
        with pytest.raises(AuthError, match="MY_AZURE_KEY is not set"):
            asyncio.run(once())
    monkeypatch.setenv("MY_AZURE_KEY", secret)
    with pytest.raises(AuthError) as caught:
        asyncio.run(once())
    assert secret not in str(caught.value)


@pytest.mark.parametrize("query", ["key=abc", "api-version=1&key=abc", "sig=abc"])
def test_a_query_that_may_hold_a_secret_is_refused_in_an_address(query: str) -> None:
    """Addresses are written to the store; only Azure's `api-version` may stand in one."""
    assert query_of("http://h/v1?api-version=1") == {"api-version": "1"}
    with pytest.raises(SpecError, match=r"teacher\.query") as caught:
        base_url(f"http://h/v1?{query}")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("secret", ["AIza-0123456789abcdef", "s3cr-7"])
def test_a_part_of_the_query_may_be_a_secret_and_is_in_no_message(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's API Management and Google take their key there, and pages of errors repeat the path. It is named by its
    variable, reaches the server, and is neither in a message nor in what is kept of a refusal."""
    monkeypatch.setenv("MY_QUERY_KEY", secret)
    path, _ = reached("/v1", query={"v": "1"}, query_env={"subscription-key": "MY_QUERY_KEY"})
    assert path == f"/v1/chat/completions?v=1&subscription-key={secret}"

    async def once(status: int) -> str:
        async def refuses(request: web.Request) -> web.Response:
            return web.Response(status=status, text=f"<pre>Cannot POST {request.path_qs}</pre>")

        async with everywhere(refuses) as url:
            teacher = TeacherSettings(url=url, model="m", query_env={"key": "MY_QUERY_KEY"}, retries=0)
            async with opened(teacher, print) as endpoint:
                with pytest.raises((TeacherError, RefusedError)) as caught:
                    await endpoint.ask(CHAT, Sampling())
        return str(caught.value) + (caught.value.answer.body if isinstance(caught.value, RefusedError) else "")

    for status in (400, 401, 404, 405, 301):
        sentence = asyncio.run(once(status))
        assert secret not in sentence
        assert "Cannot POST" in sentence
    monkeypatch.delenv("MY_QUERY_KEY")
    with pytest.raises(AuthError, match=r"teacher\.query_env: .*MY_QUERY_KEY is not set"):
        reached("/v1", query_env={"key": "MY_QUERY_KEY"})


@pytest.mark.parametrize("name", ["key", "subscription-key", "access_token", "sig", "password"])
def test_a_query_that_may_hold_a_secret_is_not_written_into_the_spec(name: str) -> None:
    """The spec is copied beside what is exported; the message names the key to use."""
    with pytest.raises(UsageError, match="query_env") as caught:
        given(TeacherSettings, "teacher", url="http://h", query={name: "abc"})
    assert "abc" not in str(caught.value)
    for plain in ("api-version", "design", "key-version", "token_type", "max_tokens", "author", "authority"):
        assert given(TeacherSettings, "teacher", url="http://h", query={plain: "1"}).query


@pytest.mark.parametrize(
    "key",
    [
        "gsk_Ab12Cd34Ef56Gh78Ij90Kl12",
        "f3a91c0b7d2e4f6a8b9c0d1e2f3a4b5c",
        "hf_" + "aB3dE5gH7j" * 3,
        "sk-a-b",
    ],
)
def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown(key: str) -> None:
    """Groq's, Azure's and Hugging Face's would do for a name, and a name is said on the screen, in receipts and in the
    store: "Set the environment variable gsk_... to the key"."""
    for settings in ({"key_env": key}, {"headers_env": {"api-key": key}}, {"query_env": {"key": key}}):
        with pytest.raises(UsageError, match="is not the name of an environment variable") as caught:
            given(TeacherSettings, "teacher", url="http://h", **settings)
        assert key not in str(caught.value)
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY_2", "key2026", "MY_LONGCOMPANYNAME2026_TOKEN", "x" * 64):
        assert given(TeacherSettings, "teacher", url="http://h", key_env=name).key_env == name


@pytest.mark.parametrize("key", ['"sk-abc"', "'sk-abc'"])
def test_a_key_in_quotation_marks_is_named(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An env file of Docker keeps them, and the server's refusal is shown without the key, so without them."""
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(AuthError, match="MY_KEY is in quotation marks") as caught:
        reached("", key_env="MY_KEY")
    assert "sk-abc" not in str(caught.value)


SECRETS = ["api_key", "Authorization", "access_token", "passwd", "client_secret", "x-api-key", "aws_secret_access_key"]


@pytest.mark.parametrize("name", [*SECRETS, "openai_api_key", "aws_session_token", "vertex_credentials"])
def test_extra_holds_no_secret(name: str) -> None:
    """It is sent in the body of every request, and requests are kept; what only sounds so is taken. A library's
    `extra_headers` is no header here, but a part of the body as well."""
    for extra in ({name: "abc"}, {"extra_headers": {name: "abc"}}):
        with pytest.raises(ValueError, match="requests are stored") as caught:
            TypeAdapter(Drawing).validate_python({"extra": extra})
        assert "abc" not in str(caught.value.errors()[0]["msg"])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="requests are stored"):
        TypeAdapter(Drawing).validate_python({"extra": {"extra_headers": {"X-Team-Token": "abc"}}})
    for headers in (5, None, [{"Authorization": "abc"}], {"X-Author": "me"}):
        TypeAdapter(Drawing).validate_python({"extra": {"extra_headers": headers}})
    extra = {"min_tokens": 3, "prompt_cache_key": "a", "stop_token_ids": [1], "eos_token": "b", "metadata": {"key": 1}}
    assert TypeAdapter(Drawing).validate_python({"extra": extra}).extra == extra


def late(delays: list[float], **settings: Any) -> Endpoint:
    """Ask a server that takes these delays, one a request."""
    waits = iter(delays)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(next(waits))
        return web.json_response(ANSWER)

    async def once() -> Endpoint:
        async with everywhere(answer) as url, Endpoint(url, "m", backoff_s=0.001, **settings) as endpoint:
            try:
                await endpoint.ask(CHAT, Sampling(max_tokens=100))
            finally:
                last.append(endpoint)
            return endpoint

    last: list[Endpoint] = []
    try:
        return asyncio.run(once())
    except TimedOutError as error:
        last[0].error = str(error)  # type: ignore[attr-defined]
        return last[0]


def test_what_is_late_is_counted_and_the_key_is_named() -> None:
    """A cold model answers the second time, which is given twice as long; what is lost may have been paid for."""
    cold = late([60.0, 0.0], timeout_s=5)
    assert (cold.sent, cold.lost, cold.answered) == (2, 1, True)
    dead = late([60.0] * 9, timeout_s=1)
    assert (dead.sent, dead.lost, dead.answered) == (3, 3, False)
    assert "raise teacher.timeout_s" in dead.error  # type: ignore[attr-defined]
    assert "4 s" in dead.error  # type: ignore[attr-defined]
    assert "address" not in dead.error  # type: ignore[attr-defined]


def test_time_grows_with_the_tokens_of_an_answer() -> None:
    """`token_s` for each of `max_tokens`, beside what every answer is given."""
    assert late([3.0], timeout_s=2, token_s=0.5).sent == 1


def test_a_server_must_begin_within_its_time() -> None:
    """`first_byte_s` is over long before the answer is late, and its name is told."""
    dead = late([60.0] * 9, timeout_s=600, first_byte_s=0.1)
    assert (dead.sent, dead.lost) == (3, 3)
    assert "teacher.first_byte_s" in dead.error  # type: ignore[attr-defined]


def test_a_connection_that_takes_long_is_not_a_server_that_does() -> None:
    """`first_byte_s` counts from when the request was sent: nobody is told to raise it where none could be."""

    async def once(url: str) -> None:
        limits = {"timeout_s": 0.5, "token_s": 60.0, "first_byte_s": 0.05}
        async with Endpoint(url, "m", backoff_s=0.001, **limits) as endpoint:
            await endpoint.ask(CHAT, Sampling(max_tokens=10))

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="no connection within"):
        asyncio.run(once(f"https://127.0.0.1:{silent.getsockname()[1]}"))


SPEC = """
[task]
name = "t"
style = "s"
[teacher]
url = "http://h"
model = "plain"
[teachers.strong]
url = "http://s"
model = "big"
"""


def test_a_direction_and_the_evaluation_name_their_teacher() -> None:
    """`[generate.forward] teacher = "strong"` asks `[teachers.strong]`; what names none asks `[teacher]`."""
    spec = parse(SPEC + '[generate.forward]\nteacher = "strong"', Path()).spec
    asked = {purpose: spec.teacher_for(purpose).model for purpose in ("forward", "backward", "evaluate")}
    assert asked == {"forward": "big", "backward": "plain", "evaluate": "big"}
    assert parse(SPEC, Path(), ["evaluate.teacher=strong"]).spec.teacher_for("evaluate").model == "big"
    with pytest.raises(SpecError, match=r"no \[teachers.weak\] \(defined: strong\)"):
        parse(SPEC + '[generate.backward]\nteacher = "weak"', Path())
    with pytest.raises(SpecError, match=r"unknown key 'teachers.strong.urll'.*Did you mean 'url'"):
        parse(SPEC + "urll = 1", Path())


def test_a_default_can_be_unset() -> None:
    """Reasoning models refuse a temperature: "unset" leaves it out of the request, in the file and with --set."""
    by_set = parse(SPEC, Path(), ["generate.forward.sampling.temperature=unset"]).spec.generate.forward.sampling
    assert by_set.body() == {"max_tokens": 512}
    text = '[generate.forward]\nsampling = { temperature = "unset", max_tokens = 9 }'
    assert parse(SPEC + text, Path()).spec.generate.forward.sampling.body() == {"max_tokens": 9}


def test_the_message_of_a_refused_setting_can_be_followed() -> None:
    """The remedy that it names is one that the spec takes."""

    async def refuses(request: web.Request) -> web.Response:
        error = {
            "message": "Unsupported value: 'temperature' does not support 0.9 with this model.",
            "param": "temperature",
        }
        return web.json_response({"error": {**error, "code": "unsupported_value"}}, status=400)

    async def once() -> None:
        async with everywhere(refuses) as url, Endpoint(url, "m") as endpoint:
            await endpoint.ask(CHAT, Sampling(temperature=0.9))

    with pytest.raises(TeacherError, match='temperature = "unset"'):
        asyncio.run(once())
