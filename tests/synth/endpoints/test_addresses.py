"""How a teacher is reached: addresses of every form, headers, queries, timeouts, and a teacher for each purpose."""

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
from synth.chat.completions import RefusedError, TimedOutError, base_url, query_of
from synth.endpoints.endpoint import Endpoint
from synth.teachers import opened
from tests.servers import served

CHAT = (Message(role="user", content="a dog"),)
ANSWER = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}]}
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve_all_paths(serve: Serve) -> AbstractAsyncContextManager[str]:
    """A loopback server that answers every path. Yields its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    return served(app)


def request_to(path: str, **settings: Any) -> tuple[str, dict[str, str]]:
    """Path with query, and headers, of a request to a teacher whose address ends in `path`."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(ANSWER)

    async def once() -> None:
        async with serve_all_paths(answer) as url:
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
def test_address_is_completed_only_if_needed(given: str, path: str) -> None:
    """An address with a version stays, one without gets `/v1`, and a complete path (GitHub, Perplexity, Databricks,
    Azure's older form) is used unchanged."""
    assert request_to(given)[0] == path


def test_headers_and_query_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Literal headers, headers from variables, the organisation, and the query of the spec."""
    monkeypatch.setenv("MY_AZURE_KEY", "s3cr3t")
    path, headers = request_to(
        "/openai/deployments/mine/chat/completions",
        headers={"X-Title": "captions"},
        headers_env={"api-key": "MY_AZURE_KEY"},
        organization="org-1",
        query={"api-version": "2024-10-21"},
    )
    assert path.endswith("/chat/completions?api-version=2024-10-21")
    assert (headers["X-Title"], headers["api-key"], headers["OpenAI-Organization"]) == ("captions", "s3cr3t", "org-1")
    assert "Authorization" not in headers


def test_secret_header_is_refused_in_the_spec() -> None:
    """A secret in a file soon ends up in a repository. The message names the key to use."""
    for name in ("api-key", "Authorization", "X-Auth-Token", "Cookie"):
        with pytest.raises(UsageError, match="headers_env") as caught:
            given(TeacherSettings, "teacher", url="http://h", headers={name: "s3cr3t"})
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "X Title", "X-Title:", ""])
def test_header_that_would_break_a_request_is_refused(name: str) -> None:
    """Sent in addition to the default one, such a header used to make every row fail as refused."""
    with pytest.raises(AuthError, match=f"The header '{name}' cannot be added"):
        Endpoint("http://h", "m", headers={name: "3"})
    assert Endpoint("http://h", "m", headers={"Connection": "close"})  # this one does no harm


def test_header_with_a_line_break_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pasted line break is rejected before the first request, and neither sent nor shown."""
    monkeypatch.setenv("MY_AZURE_KEY", "s3cr3t\nX-Evil: 1")
    with pytest.raises(AuthError, match="'api-key'") as caught:
        request_to("", headers_env={"api-key": "MY_AZURE_KEY"})
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_of_a_header_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is redacted if the server repeats it, and the message names its variable if that is not set."""
    secret = "azure-0123456789abcdef"

    async def refuses(request: web.Request) -> web.Response:
        error = {"error": {"message": f"Access denied: invalid key {request.headers['api-key']}"}}
        return web.json_response(error, status=401)

    async def once() -> None:
        async with serve_all_paths(refuses) as url:
            teacher = TeacherSettings(url=url, model="m", headers_env={"api-key": "MY_AZURE_KEY"})
            async with opened(teacher, print) as endpoint:
                await endpoint.ask(CHAT, Sampling())

    for nothing in ("", " \n"):  # an empty line of a .env file; it used to be sent as an empty key
        monkeypatch.setenv("MY_AZURE_KEY", nothing)
        with pytest.raises(AuthError, match="MY_AZURE_KEY is not set"):
            asyncio.run(once())
    monkeypatch.setenv("MY_AZURE_KEY", secret)
    with pytest.raises(AuthError) as caught:
        asyncio.run(once())
    assert secret not in str(caught.value)


@pytest.mark.parametrize("query", ["key=abc", "api-version=1&key=abc", "sig=abc"])
def test_a_query_that_may_hold_a_secret_is_refused_in_an_address(query: str) -> None:
    """Addresses are written to the store, so only Azure's `api-version` is allowed in their query."""
    assert query_of("http://h/v1?api-version=1") == {"api-version": "1"}
    with pytest.raises(SpecError, match=r"teacher\.query") as caught:
        base_url(f"http://h/v1?{query}")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("secret", ["AIza-0123456789abcdef", "s3cr-7"])
def test_secret_of_a_query_is_in_no_message(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's API Management and Google expect their key in the query, and error pages repeat the path. The key comes
    from a variable, reaches the server, and is neither in a message nor in the stored refusal."""
    monkeypatch.setenv("MY_QUERY_KEY", secret)
    path, _ = request_to("/v1", query={"v": "1"}, query_env={"subscription-key": "MY_QUERY_KEY"})
    assert path == f"/v1/chat/completions?v=1&subscription-key={secret}"

    async def once(status: int) -> str:
        async def refuses(request: web.Request) -> web.Response:
            return web.Response(status=status, text=f"<pre>Cannot POST {request.path_qs}</pre>")

        async with serve_all_paths(refuses) as url:
            teacher = TeacherSettings(url=url, model="m", query_env={"key": "MY_QUERY_KEY"}, retries=0)
            async with opened(teacher, print) as endpoint:
                with pytest.raises((TeacherError, RefusedError)) as caught:
                    await endpoint.ask(CHAT, Sampling())
        return str(caught.value) + (caught.value.answer.body if isinstance(caught.value, RefusedError) else "")

    for status in (400, 401, 404, 405, 301):
        message = asyncio.run(once(status))
        assert secret not in message
        assert "Cannot POST" in message
    monkeypatch.delenv("MY_QUERY_KEY")
    with pytest.raises(AuthError, match=r"teacher\.query_env: .*MY_QUERY_KEY is not set"):
        request_to("/v1", query_env={"key": "MY_QUERY_KEY"})


@pytest.mark.parametrize("name", ["key", "subscription-key", "access_token", "sig", "password"])
def test_secret_query_is_refused_in_the_spec(name: str) -> None:
    """The spec is copied into exports. The message names the key to use."""
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
def test_key_instead_of_its_variable_is_refused_and_not_shown(key: str) -> None:
    """Keys of Groq, Azure and Hugging Face could be variable names, and such names appear on the screen, in receipts
    and in the store: "Set the environment variable gsk_... to the key"."""
    for settings in ({"key_env": key}, {"headers_env": {"api-key": key}}, {"query_env": {"key": key}}):
        with pytest.raises(UsageError, match="is not the name of an environment variable") as caught:
            given(TeacherSettings, "teacher", url="http://h", **settings)
        assert key not in str(caught.value)
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY_2", "key2026", "MY_LONGCOMPANYNAME2026_TOKEN", "x" * 64):
        assert given(TeacherSettings, "teacher", url="http://h", key_env=name).key_env == name


@pytest.mark.parametrize("settings", [{"url": "http://u:pw77@[::1"}, {"urls": ["http://h", "http://u:pw77@[::1"]}])
def test_address_with_an_open_bracket_is_refused_without_its_password(settings: dict[str, Any]) -> None:
    """It ended in a traceback of urllib, where prices are looked up by host."""
    with pytest.raises(UsageError, match="is not the address of an endpoint") as caught:
        given(TeacherSettings, "teacher", **settings)
    assert "pw77" not in str(caught.value)


@pytest.mark.parametrize("key", ['"sk-abc"', "'sk-abc'"])
def test_key_in_quotation_marks_is_an_error(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An env file of Docker keeps quotation marks. In the server's error the key, and with it the marks, would be
    redacted."""
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(AuthError, match="MY_KEY is in quotation marks") as caught:
        request_to("", key_env="MY_KEY")
    assert "sk-abc" not in str(caught.value)


SECRETS = ["api_key", "Authorization", "access_token", "passwd", "client_secret", "x-api-key", "aws_secret_access_key"]


@pytest.mark.parametrize("name", [*SECRETS, "openai_api_key", "aws_session_token", "vertex_credentials"])
def test_extra_must_not_contain_a_secret(name: str) -> None:
    """`extra` is sent in the body of every request, and requests are stored. Keys that only sound similar are accepted.
    A library's `extra_headers` sets no header here, but is part of the body as well."""
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


def ask_slow_server(delays: list[float], **settings: Any) -> Endpoint:
    """The endpoint after a question to a server with these delays, one per request."""
    waits = iter(delays)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(next(waits))
        return web.json_response(ANSWER)

    async def once() -> Endpoint:
        async with serve_all_paths(answer) as url, Endpoint(url, "m", backoff_s=0.001, **settings) as endpoint:
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


def test_late_responses_are_counted_and_the_timeout_key_is_named() -> None:
    """A cold model answers the second request, which gets twice the time. Lost requests are counted, because they may
    have been paid for."""
    cold = ask_slow_server([60.0, 0.0], timeout_s=5)
    assert (cold.sent, cold.lost, cold.answered) == (2, 1, True)
    dead = ask_slow_server([60.0] * 9, timeout_s=1)
    assert (dead.sent, dead.lost, dead.answered) == (3, 3, False)
    assert "raise teacher.timeout_s" in dead.error  # type: ignore[attr-defined]
    assert "4 s" in dead.error  # type: ignore[attr-defined]
    assert "address" not in dead.error  # type: ignore[attr-defined]


def test_timeout_grows_with_max_tokens() -> None:
    """`token_s` is added to the timeout for each of `max_tokens`."""
    assert ask_slow_server([3.0], timeout_s=2, token_s=0.5).sent == 1


def test_server_must_start_its_response_within_first_byte_s() -> None:
    """`first_byte_s` ends long before the whole timeout, and the message names it."""
    dead = ask_slow_server([60.0] * 9, timeout_s=600, first_byte_s=0.1)
    assert (dead.sent, dead.lost) == (3, 3)
    assert "teacher.first_byte_s" in dead.error  # type: ignore[attr-defined]


def test_first_byte_s_excludes_connecting() -> None:
    """`first_byte_s` counts from when the request was sent, so a failed connection does not suggest raising it."""

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


def test_directions_and_evaluation_may_have_their_own_teacher() -> None:
    """`[generate.forward] teacher = "strong"` uses `[teachers.strong]`, also for the evaluation. Without it `[teacher]`
    is used."""
    spec = parse(SPEC + '[generate.forward]\nteacher = "strong"', Path()).spec
    asked = {purpose: spec.teacher_for(purpose).model for purpose in ("forward", "backward", "evaluate")}
    assert asked == {"forward": "big", "backward": "plain", "evaluate": "big"}
    assert parse(SPEC, Path(), ["evaluate.teacher=strong"]).spec.teacher_for("evaluate").model == "big"
    with pytest.raises(SpecError, match=r"no \[teachers.weak\] \(defined: strong\)"):
        parse(SPEC + '[generate.backward]\nteacher = "weak"', Path())
    with pytest.raises(SpecError, match=r"unknown key 'teachers.strong.urll'.*Did you mean 'url'"):
        parse(SPEC + "urll = 1", Path())


def test_a_default_can_be_unset() -> None:
    """Reasoning models reject a temperature: "unset" leaves it out of the request, in the file and with --set."""
    by_set = parse(SPEC, Path(), ["generate.forward.sampling.temperature=unset"]).spec.generate.forward.sampling
    assert by_set.body() == {"max_tokens": 512}
    text = '[generate.forward]\nsampling = { temperature = "unset", max_tokens = 9 }'
    assert parse(SPEC + text, Path()).spec.generate.forward.sampling.body() == {"max_tokens": 9}


def test_the_message_of_a_refused_setting_can_be_followed() -> None:
    """The fix in the message is a value that the spec accepts."""

    async def refuses(request: web.Request) -> web.Response:
        error = {
            "message": "Unsupported value: 'temperature' does not support 0.9 with this model.",
            "param": "temperature",
        }
        return web.json_response({"error": {**error, "code": "unsupported_value"}}, status=400)

    async def once() -> None:
        async with serve_all_paths(refuses) as url, Endpoint(url, "m") as endpoint:
            await endpoint.ask(CHAT, Sampling(temperature=0.9))

    with pytest.raises(TeacherError, match='temperature = "unset"'):
        asyncio.run(once())
