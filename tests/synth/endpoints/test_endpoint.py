"""How an endpoint reacts to everything a server can do."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from aiohttp import web

from schemas.errors import AuthError, SpecError, TeacherError, Unreachable
from schemas.ports import free_port
from schemas.records import Message, Sampling, Usage
from synth.chat.completions import (
    Answer,
    BrokenError,
    RefusedError,
    ServerFaultError,
    StoppedError,
    ThrottledError,
    TimedOutError,
    base_url,
)
from synth.chat.listed_models import EndpointCheck
from synth.endpoints.endpoint import Endpoint
from synth.endpoints.host import longest_backoff_s
from synth.endpoints.proxy import proxy_for
from synth.endpoints.rate_limits import retry_after_s
from tests.servers import InThread
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _remove_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def chat(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def ask(teacher: LoopbackTeacher, *, n: int = 1, sampling: Sampling | None = None, **options: object) -> Answer:
    async def once() -> Answer:
        settings = {"backoff_s": 0.001, "retries": 3, **options}
        async with Endpoint(teacher.url, "loopback", **settings) as endpoint:  # type: ignore[arg-type]
            return await endpoint.ask(chat("a dog"), sampling or Sampling(), n)

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000/v1"),
        (" http://h:8000/v1// ", "http://h:8000/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h/api/v1", "https://h/api/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("https://h/V1", "https://h/V1"),
        ("https://h/gateway", "https://h/gateway/v1"),
        ("http://[::1]:8000/", "http://[::1]:8000/v1"),
        ("http://münchen.example", "http://münchen.example/v1"),
    ],
)
def test_the_address_may_be_written_in_every_usual_way(given: str, base: str) -> None:
    """With or without /v1, a trailing slash or the whole path, the address means the same endpoint."""
    assert base_url(given) == base
    assert base_url(base) == base


@pytest.mark.parametrize(
    "given",
    [
        *("localhost:8000", "embeded", "ftp://h/v1", "", "http://", "http://h:99999/v1", "http://me:pw@h:port/v1"),
        *("http://[::1/v1", "http://a..b/v1", f"http://{'a' * 64}.example/v1", "http://\u200bh/v1"),
    ],
)
def test_invalid_address_is_refused_before_anything_is_sent(given: str) -> None:
    """A typo in teacher.url is an error in the spec, not a network failure."""
    with pytest.raises(SpecError, match="not the address") as caught:
        base_url(given)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("given", ["http://me:pw@h/v1", "http://h/v1?key=abc"])
def test_an_address_cannot_carry_a_secret(given: str) -> None:
    """The address is written to the store, so a password or a query in it is rejected, and not quoted in the error."""
    with pytest.raises(SpecError) as caught:
        base_url(given)
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_answer_is_returned_as_received() -> None:
    """Choices in the order of their index, usage with cached tokens, the model that answered, and the response's id."""
    body = (
        b'{"id": "x-1", "model": "big-2026", "choices": [{"index": 1, "message": {"content": "b"}},'
        b' {"index": 0, "message": {"content": "a"}}],'
        b' "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}}'
    )
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        answer = ask(teacher, n=2, sampling=Sampling(temperature=0.5, max_tokens=9, extra={"min_p": 0.1}))
    assert [choice["message"]["content"] for choice in answer.choices] == ["a", "b"]
    assert answer.usage is not None
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=4)
    assert answer.model == "big-2026"
    assert answer.request_id.endswith("/x-1")
    sent = teacher.asked[0].body
    assert sent == answer.request
    assert sent == {
        "model": "loopback",
        "messages": [{"role": "user", "content": "a dog"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "min_p": 0.1,
        "n": 2,
    }


@pytest.mark.parametrize("usage", [b"null", b'{"prompt_tokens": "many"}', b"[]"])
def test_tokens_that_were_not_counted_are_unknown(usage: bytes) -> None:
    """A missing or odd usage is None, never zero tokens or a guess."""
    body = b'{"choices": [{"message": {"content": "a"}}], "usage": ' + usage + b"}"
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        assert ask(teacher).usage is None


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": null}', b""])
def test_a_200_that_is_no_completion_has_no_choices(body: bytes) -> None:
    """The body is kept as text, and the request is not retried here: it may have been paid for."""
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        answer = ask(teacher)
    assert answer.choices == []
    assert answer.body == body.decode()
    assert len(teacher.asked) == 1


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        *((fails(status), "server") for status in (500, 502, 503, 529, 408, 409)),
        (fails(429), "throttled"),
        (cuts(), "broken"),
        pytest.param(Reply(delay_s=120.0), "timeout", marks=pytest.mark.slow),
    ],
)
def test_temporary_fault_is_retried(fault: Reply, word: str) -> None:
    """Throttling, server faults, cut connections and timeouts are retried and counted by kind."""

    async def once() -> None:
        within_s = 3.0 if word == "timeout" else 60.0
        async with Endpoint(teacher.url, "loopback", backoff_s=0.001, retries=3, timeout_s=within_s) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            answer = await endpoint.ask(chat("a dog"), Sampling())
            assert answer.choices
            assert endpoint.sent == 4
            assert endpoint.flow.retries_by_kind == {word: 2}

    with LoopbackTeacher(lambda ask: fault if ask.prompt == "a dog" and ask.nth <= 2 else says()) as teacher:
        asyncio.run(once())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (fails(500), ServerFaultError),
        (fails(429), ThrottledError),
        (cuts(), BrokenError),
        pytest.param(Reply(delay_s=120.0), TimedOutError, marks=pytest.mark.slow),
    ],
)
def test_a_lasting_fault_fails_the_row_after_all_retries(fault: Reply, error: type[Exception]) -> None:
    """A request is sent again `retries` times, and then its row fails with a one-word reason. A rate limit first gets
    time to be renewed."""

    async def once() -> None:
        within_s = 2.0 if error is TimedOutError else 60.0
        async with Endpoint(teacher.url, "loopback", backoff_s=0.001, retries=2, timeout_s=within_s) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            with pytest.raises(error, match=r"^(server|throttled|broken|timeout): "):
                await endpoint.ask(chat("a dog"), Sampling())

    with LoopbackTeacher(lambda ask: fault if ask.prompt == "a dog" else says()) as teacher:
        asyncio.run(once())
    assert teacher.counts()["a dog"] == 3 or (error is ThrottledError and teacher.counts()["a dog"] > 3)


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.4"},
        {"retry-after-ms": "400"},
        {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(days=-1))},
        {"Retry-After": "soon"},
    ],
)
def test_retry_after_is_honoured_in_each_form(headers: dict[str, str]) -> None:
    """Seconds and milliseconds are waited for. A date in the past and nonsense leave the ordinary backoff."""
    with LoopbackTeacher(lambda ask: fails(429, headers=headers) if ask.nth == 1 else says()) as teacher:
        began = time.perf_counter()
        assert ask(teacher).choices
    waited = time.perf_counter() - began
    if "400" in headers.values() or "0.4" in headers.values():
        assert waited >= 0.4
    else:
        assert waited < 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"details": [{"@type": "RetryInfo", "retryDelay": "34.5s"}]', 34.5),
        ("Rate limit reached. Please try again in 20s.", 20),
        ("Please try again in 350ms. Visit", 0.35),
        ("Please retry in 2.5 s", 2.5),
        ("try again in a few seconds", None),
        ("retry in 5 minutes", 300),
    ],
)
def test_wait_in_the_text_of_an_error_is_honoured(text: str, seconds: float | None) -> None:
    """Gemini and OpenAI state the wait in the body. If there is a header, only the header counts."""
    assert retry_after_s({}, text) == seconds
    assert retry_after_s({"Retry-After": "7"}, text) == 7


def test_a_wait_in_words_of_the_row_is_no_wait() -> None:
    """An error may quote its row. A row about waiting for hours would have ended every run, and one about minutes
    would have paused all others."""
    request = {"messages": [{"role": "user", "content": "Please TRY again in 3 hours"}]}
    quoted = "Internal error while processing 'Please TRY again in 3 hours'"
    assert retry_after_s({}, quoted, request) is None
    assert retry_after_s({}, f"{quoted}. Retry in 2 s.", request) == 2
    assert retry_after_s({"Retry-After": "7"}, quoted, request) == 7


def test_a_wait_of_hours_stops_the_run() -> None:
    """A daily limit is not waited out in silence, and the error says for what the server asks to wait."""
    with (
        LoopbackTeacher(lambda ask: fails(429, "tokens per day", headers={"Retry-After": "266400"})) as teacher,
        pytest.raises(TeacherError, match=r"asks to wait 3d 02h before the next request \(HTTP 429: tokens per day\)"),
    ):
        ask(teacher)


def test_backoff_doubles_up_to_its_cap() -> None:
    """The wait is uniform between zero and a bound that doubles up to 30 s."""
    assert [longest_backoff_s(0.5, tries) for tries in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(
    ("id_of", "temperature", "is_reported"),
    [
        ("{prompt}", 0.7, True),
        ("{prompt}", 0.0, False),
        ("{number}", 0.7, False),
        ("{second}", 0.7, False),
        ("constant", 0.7, False),
    ],
)
def test_cache_that_answers_repeated_requests_is_reported(id_of: str, temperature: float, is_reported: bool) -> None:
    """A gateway's cache returns one answer for all samples of a question. It is reported once, if ids are not constant
    or shared by other requests, as times are, and the answer could have differed: a label may be the same for good
    reasons."""
    lines: list[str] = []

    def reply(ask: Ask) -> Reply:
        choice = {"index": 0, "message": {"role": "assistant", "content": "positive"}, "finish_reason": "stop"}
        id_ = id_of.format(prompt=ask.prompt, number=ask.number, second=ask.number // 2)
        return Reply(body=orjson.dumps({"id": id_, "choices": [choice]}))

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            endpoint.flow.say = lines.append
            for _ in range(3):
                for prompt in ("dog 1", "dog 2"):
                    await endpoint.ask(chat(prompt), Sampling(temperature=temperature))

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(run())
    assert ["A cache" in line for line in lines] == [True] * is_reported


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"Sunset": "Mon, 01 Jun 2027 00:00:00 GMT", "Deprecation": "true"}, "only until Mon, 01 Jun 2027"),
        ({"deprecation": "@1688169599"}, "deprecated as of 2023-06-30"),
        ({"Deprecation": "true"}, "deprecated (the header"),
        ({"Deprecation": "false"}, ""),
        ({}, ""),
    ],
)
def test_announced_end_of_a_model_is_reported_once(headers: dict[str, str], shown: str) -> None:
    """Gateways announce it in the headers of answers (RFC 8594, RFC 9745), which nobody sees. The answers are used."""
    lines: list[str] = []

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            endpoint.flow.say = lines.append
            await asyncio.gather(*(endpoint.ask(chat(f"dog {i}"), Sampling()) for i in range(5)))

    body = b'{"choices": [{"message": {"content": "a dog"}, "finish_reason": "stop"}]}'
    with LoopbackTeacher(lambda ask: Reply(body=body, headers=headers)) as teacher:
        asyncio.run(run())
    assert [shown in line for line in lines] == [True] * bool(shown)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_the_variable_and_never_the_key(status: int) -> None:
    """The variable is what the user can fix. The key stays out of the message even if the server repeats it."""
    message = f"Incorrect API key provided: {KEY}"
    with (
        LoopbackTeacher(lambda ask: fails(status, message)) as teacher,
        pytest.raises(AuthError, match="MY_KEY") as caught,
    ):
        ask(teacher, key=KEY, key_env="MY_KEY")
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)
    assert len(teacher.asked) == 1
    assert teacher.asked[0].headers["Authorization"] == f"Bearer {KEY}"


def test_missing_key_says_how_to_set_one() -> None:
    """Without key_env, the message names the spec key to set."""
    with LoopbackTeacher(key=KEY) as teacher, pytest.raises(AuthError, match=r"teacher\.key_env"):
        ask(teacher)


def test_a_key_is_not_shown_by_repr() -> None:
    """The repr of an endpoint does not show its key."""
    assert KEY not in repr(Endpoint("http://h", "m", key=KEY, key_env="MY_KEY"))


def test_a_key_that_cannot_be_a_header_is_refused() -> None:
    """A pasted line break is rejected before the first request."""
    with pytest.raises(AuthError, match="MY_KEY") as caught:
        Endpoint("http://h", "m", key="sk-a\nsk-b", key_env="MY_KEY")
    assert "sk-a" not in str(caught.value)


def test_an_unknown_model_lists_those_that_are_served() -> None:
    """The error lists the models to choose from."""
    reply = fails(404, "The model 'loopback' does not exist", code="model_not_found")
    with (
        LoopbackTeacher(lambda ask: reply, models=("qwen3-8b", "qwen3-4b")) as teacher,
        pytest.raises(TeacherError, match=r"serves: qwen3-8b, qwen3-4b"),
    ):
        ask(teacher)


@pytest.mark.parametrize("fault", [fails(429, code="insufficient_quota"), fails(402, "Insufficient Balance")])
def test_an_empty_account_stops_the_run_at_once(fault: Reply) -> None:
    """No retry can help, so there is none."""
    with LoopbackTeacher(lambda ask: fault) as teacher, pytest.raises(TeacherError, match="no quota"):
        ask(teacher)
    assert len(teacher.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_request_fails_only_its_row(status: int) -> None:
    """If a prompt is too long or filtered, the reason is kept and nothing is retried."""
    with (
        LoopbackTeacher(lambda ask: fails(status, "context length exceeded")) as teacher,
        pytest.raises(RefusedError, match=f"^refused: HTTP {status}: context length exceeded") as caught,
    ):
        ask(teacher)
    assert "context length exceeded" in caught.value.answer.body
    assert len(teacher.asked) == 1


def test_setting_that_the_model_rejects_stops_the_run() -> None:
    """Every row would be rejected, so the setting is reported once."""
    reply = fails(400, "Unsupported value", code="unsupported_value", param="temperature")
    with LoopbackTeacher(lambda ask: reply) as teacher, pytest.raises(TeacherError, match="'temperature'"):
        ask(teacher, sampling=Sampling(temperature=0.3))


def test_a_redirect_is_reported_and_not_followed() -> None:
    """A key is never sent to another address."""
    moved = Reply(status=301, body=b"", headers={"Location": "https://elsewhere/v1"})
    with LoopbackTeacher(lambda ask: moved) as teacher, pytest.raises(TeacherError, match="https://elsewhere/v1"):
        ask(teacher)


@pytest.mark.parametrize(
    "refusal",
    [
        fails(400, "n must be 1"),
        fails(422, "Only one completion choice is allowed: 'n'"),
        fails(400, "unknown", param="n"),
        fails(400, "Parameter `n`: 3 is not supported"),
    ],
)
def test_server_that_refuses_n_gets_requests_without_it(refusal: Reply) -> None:
    """The request is repeated without n, and later requests leave it out from the start."""

    async def twice() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            for _ in range(2):
                answer = await endpoint.ask(chat("a dog"), Sampling(), n=3)
                assert len(answer.choices) == 1

    with LoopbackTeacher(lambda ask: refusal if ask.n > 1 else says()) as teacher:
        asyncio.run(twice())
    assert [a.n for a in teacher.asked] == [3, 1, 1]


@pytest.mark.parametrize(
    ("limit", "words", "used"),
    [
        (4, "n must be at most {limit}", 4),
        (9, "Range of n should be [1, {limit}]", 9),
        (4, "n is too large", 4),
        (9, "n is too large", 8),
        (1, "Only n = 1 is supported", 1),
        (1, "n > 1 is not supported with greedy decoding", 1),
        (1, "'n' : number must be at most 1", 1),
    ],
)
def test_server_with_a_limit_of_n_gets_requests_within_it(limit: int, words: str, used: int) -> None:
    """Gemini and DashScope accept n up to a limit. The prompt used to be sent, and paid for, once per choice. A limit
    that the refusal names is used at once: servers that only accept n = 1 used to refuse 16, 8, 4 and 2 first."""
    refusal = fails(400, words.format(limit=limit))

    async def many() -> None:
        async with Endpoint(teacher.url, "loopback", concurrency=4) as endpoint:
            await asyncio.gather(*(endpoint.ask(chat(f"dog {i}"), Sampling(), n=16) for i in range(4)))
            for i in range(5):
                await endpoint.ask(chat(f"cat {i}"), Sampling(), n=16)

    with LoopbackTeacher(lambda ask: refusal if ask.n > limit else says()) as teacher:
        asyncio.run(many())
    assert [ask.n for ask in teacher.asked if ask.n <= limit] == [used] * 9
    refused = {ask.n for ask in teacher.asked if ask.n > limit}
    assert refused == {16} or "too large" in words


def test_a_stray_refusal_does_not_end_the_use_of_n() -> None:
    """A single 400 that does not mention n is no evidence against n, on which the cost of few-shot prompts depends."""

    async def many() -> int:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            for i in range(20):
                await endpoint.ask(chat(f"dog {i}"), Sampling(), n=4)
            return endpoint.sent

    for stray in (1, 7):

        def reply(ask: Ask, stray: int = stray) -> Reply:
            return fails(400, "moderation is down") if ask.number == stray else Reply()

        with LoopbackTeacher(reply) as teacher:
            assert asyncio.run(many()) == 21
        assert [ask.n for ask in teacher.asked].count(4) == 20


@pytest.mark.parametrize(
    "row", ["solve for n", "the only stream in the valley must be a stream", "what is max_completion_tokens?"]
)
def test_a_refusal_that_quotes_its_row_changes_no_other_request(row: str) -> None:
    """A moderated row may mention n, a stream or a setting. All further requests stay as they were: without n, each
    sample would pay for the prompt again, and under another name a limit may be ignored."""

    async def many() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            for text in ("a dog", row, "a cat"):
                with suppress(RefusedError):
                    await endpoint.ask(chat(text), Sampling(max_tokens=64), n=4)

    refusal = fails(400, f"flagged: '{row}'")
    with LoopbackTeacher(lambda ask: refusal if ask.prompt == row else Reply()) as teacher:
        asyncio.run(many())
    assert teacher.asked[-1].n == 4
    assert teacher.asked[-1].body.keys() == teacher.asked[0].body.keys()


@pytest.mark.parametrize(
    ("row", "setting", "message"),
    [
        ("what is max_completion_tokens?", "max_tokens", "Unsupported. Use 'max_completion_tokens' instead."),
        ("all non-streaming is disabled", "stream", "Non-streaming is disabled."),
    ],
)
def test_a_row_with_the_words_of_a_refusal_is_asked_as_the_server_wants_it(
    row: str, setting: str, message: str
) -> None:
    """A row about this very setting would have been refused for good, because the refusal seemed to quote it."""

    async def many() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            for text in (row, "a dog", row):
                assert (await endpoint.ask(chat(text), Sampling(max_tokens=64))).choices

    def reply(ask: Ask) -> Reply:
        is_wrong = "max_tokens" in ask.body if setting == "max_tokens" else not ask.body.get("stream")
        return fails(400, message) if is_wrong else Reply()

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(many())
    assert len(teacher.asked) == 5, "twice until another row has shown it"


def test_refusals_that_do_not_mention_n_end_its_use_in_the_end() -> None:
    """After two refusals with n, two answers without it and never several choices, n is left out."""

    async def many() -> None:
        async with Endpoint(teacher.url, "loopback") as endpoint:
            for i in range(5):
                await endpoint.ask(chat(f"dog {i}"), Sampling(), n=3)

    with LoopbackTeacher(lambda ask: fails(400, "bad request") if ask.n > 1 else says("a")) as teacher:
        asyncio.run(many())
    assert [ask.n for ask in teacher.asked] == [3, 1, 3, 1, 1, 1, 1]


def test_extra_never_replaces_the_question() -> None:
    """Model, messages and n are those in the ledger's key, whatever an old store or a caller puts into `extra`."""
    with LoopbackTeacher() as teacher:
        extra = {"model": "other", "messages": [], "min_p": 0.1}
        assert ask(teacher, sampling=Sampling(extra=extra)).choices
    assert teacher.asked[0].body["model"] == "loopback"
    assert teacher.asked[0].prompt == "a dog"
    assert teacher.asked[0].body["min_p"] == 0.1


@pytest.mark.parametrize("proxy", ["socks5://me:s3cr3t@h:1080", "http://me:s3cr3t@h:99999", "http://me:s3cr3t@:1"])
def test_unusable_proxy_is_an_error_naming_its_variable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with an unsupported protocol or an invalid address is not contacted, and its password is not shown."""

    async def once(*, checks: bool) -> None:
        async with Endpoint("https://teacher.invalid/v1", "m", retries=0) as endpoint:
            await (endpoint.check() if checks else endpoint.ask(chat("a dog"), Sampling()))

    monkeypatch.setenv("HTTPS_PROXY", proxy)
    for checks in (False, True):
        with pytest.raises(TeacherError, match="HTTPS_PROXY") as caught:
            asyncio.run(once(checks=checks))
        assert "s3cr3t" not in str(caught.value)


def test_all_proxy_is_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ALL_PROXY` is used if there is no variable for the scheme, as in curl. The error names the variable that was
    read."""
    monkeypatch.setenv("ALL_PROXY", "http://every.test:3128")
    assert proxy_for("https://teacher.invalid/v1") == "http://every.test:3128"
    assert proxy_for("http://127.0.0.1:1/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.test:3128")
    assert proxy_for("https://teacher.invalid/v1") == "http://secure.test:3128"
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "socks5://me:s3cr3t@h:1080")
    with pytest.raises(TeacherError, match="ALL_PROXY"):
        proxy_for("https://teacher.invalid/v1")


def test_the_password_of_a_proxy_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's message has the proxy's whole URL, and messages go to the store, receipts and the screen."""

    async def once() -> None:
        async with Endpoint("https://teacher.invalid/v1", "m", retries=0, backoff_s=0.001) as endpoint:
            await endpoint.ask(chat("a dog"), Sampling())

    with LoopbackTeacher() as proxy:  # it answers CONNECT with an error, like a proxy with a wrong password
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cr3t@{proxy.url.removeprefix('http://')}")
        with pytest.raises((BrokenError, TeacherError)) as caught:
            asyncio.run(once())
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(caught.value.__cause__)


@pytest.mark.parametrize("url", ["http://teacher.invalid/v1", "https://teacher.invalid/v1"])
def test_proxy_that_requires_a_password_ends_the_run_with_its_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is contacted once and named: neither the teacher's address nor its key is at fault. Credentials that it
    repeats are not shown."""
    password, seen = "s3cr3tPassw0rd", list[str]()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def once() -> None:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        address = f"me:{password}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv(f"{url.partition(':')[0].upper()}_PROXY", f"http://{address}")
        async with server, Endpoint(url, "m", retries=3, backoff_s=0.001) as endpoint:
            with pytest.raises(AuthError, match=r"The proxy 'http://\*\*\*@.*\(HTTP 407\)"):
                await endpoint.ask(chat("a dog"), Sampling())
            with pytest.raises(AuthError, match="The proxy"):
                await endpoint.check()
            sent = base64.b64encode(f"me:{password}".encode()).decode()
            refusal = await endpoint.failure(403, {}, f"denied for Basic {sent}".encode(), {}, 0)
            assert sent not in str(refusal)

    asyncio.run(once())
    assert len(seen) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_cannot_be_reached_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error named the proxy's port as if it were the teacher's, and recommended to correct teacher.url."""

    async def once() -> None:
        async with Endpoint(f"{scheme}://teacher.invalid/v1", "m", retries=1, backoff_s=0.001) as endpoint:
            await endpoint.ask(chat("a dog"), Sampling())

    port = free_port()
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:s3cr3tPassw0rd@127.0.0.1:{port}")
    with pytest.raises(Unreachable, match=rf"no connection to the proxy 'http://\*\*\*@127.0.0.1:{port}'") as caught:
        asyncio.run(once())
    assert "its environment variable" in caught.value.fix
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.slow
def test_a_silent_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that never answers a tunnel was reported as a teacher's address at which nothing answers. This one has a
    plain port, and is asked for TLS."""

    async def once() -> None:
        limits = {"timeout_s": 0.5, "token_s": 60.0}
        async with Endpoint("https://teacher.invalid/v1", "m", retries=1, backoff_s=0.001, **limits) as endpoint:
            await endpoint.ask(chat("a dog"), Sampling(max_tokens=10))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"https://me:s3cr3tPassw0rd@127.0.0.1:{port}")
        with pytest.raises(
            Unreachable, match=rf"no connection within .* s through the proxy 'https://.*:{port}'"
        ) as caught:
            asyncio.run(once())
    assert "s3cr3t" not in str(caught.value)


def test_redirect_to_another_host_is_an_error_of_the_address() -> None:
    """`doctor` found that a project could run whose every request would be redirected. The key goes nowhere else."""

    async def check(url: str) -> EndpointCheck:
        async with Endpoint(url, "loopback", key="sk-0123456789abcdef") as endpoint:
            return await endpoint.check()

    with LoopbackTeacher() as other:
        moved = web.Application()
        moved.router.add_get("/v1/models", _redirect(f"{other.url}/v1/models"))
        moved.router.add_get("/slash/v1/models", _redirect("/slash/v1/models/"))
        with InThread(moved) as server:
            with pytest.raises(TeacherError, match=rf"HTTP 308. It points to {other.url}") as caught:
                asyncio.run(check(server.address))
            assert "Redirects are not followed, since the key would go along" in caught.value.fix
            assert asyncio.run(check(f"{server.address}/slash/v1")).models is None, "only a list that is elsewhere"
    assert not other.asked


def _redirect(to: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": to})

    return handler


def test_server_that_closes_each_connection_may_speak_tls() -> None:
    """Requests in plain HTTP to a TLS port are reset, which looked like a server that is not ready."""

    async def once() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server, Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "m", backoff_s=0) as one:
            await one.ask(chat("a dog"), Sampling())

    with pytest.raises(Unreachable, match="begins with https:// if the server speaks TLS"):
        asyncio.run(once())


def test_proxy_that_answers_instead_of_the_teacher_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy does not know the user's own hosts and answers with a status of its own. Without the proxy's
    name in the message the user would look for the fault at the server."""

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n<html>no such host</html>")
        writer.close()

    async def once() -> None:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cr3t@127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server, Endpoint("http://gpu-box.invalid/v1", "m", retries=0, backoff_s=0.001) as endpoint:
            with pytest.raises(ServerFaultError, match=r"HTTP 503 through the proxy 'http://\*\*\*@127.*no such host"):
                await endpoint.ask(chat("a dog"), Sampling())
            with pytest.raises(Unreachable, match="through the proxy"):
                await endpoint.check()

    asyncio.run(once())


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("http://gpu-box:8000/v1", True),
        ("http://gpu-box:9000/v1", False),
        ("http://other/v1", True),
        ("http://10.1.2.3:8000/v1", True),
        ("http://11.1.2.3/v1", False),
        ("http://[fd00::5]:8000/v1", True),
        ("http://a.lab.example/v1", True),
        ("http://a.wild.example/v1", True),
        ("http://mild.example/v1", False),
        ("http://[2001:db8::1]:8000/v1", True),
        ("http://[2001:db8::2]:8000/v1", True),
        ("http://[2001:db8::2]:9000/v1", False),
        ("http://web/v1", True),
        ("http://web:8080/v1", False),
    ],
)
def test_no_proxy_is_read_with_ports_and_networks(url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key and prompts for a server of one's own must not go through the company's proxy because an entry of NO_PROXY
    was not understood."""
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    own = "gpu-box:8000, other,a/b,10.0.0.0/8,fd00::/8,.lab.example *.wild.example"
    monkeypatch.setenv("NO_PROXY", f"{own} [2001:db8::1],[2001:db8::2]:8000,web:80")
    assert proxy_for(url) == (None if direct else "http://proxy:3128")


def test_max_tokens_is_sent_under_its_newer_name() -> None:
    """The limit is sent under the name that newer models expect. The setting in the spec stays max_tokens."""

    def reply(ask: Ask) -> Reply:
        if "max_tokens" in ask.body:
            return fails(400, "Unsupported parameter: use 'max_completion_tokens'", code="unsupported_parameter")
        return says()

    with LoopbackTeacher(reply) as teacher:
        assert ask(teacher, sampling=Sampling(max_tokens=7)).choices
        assert teacher.asked[-1].body["max_completion_tokens"] == 7
        # If it is set in `extra` by that name, as the provider documents, it takes precedence over max_tokens.
        assert ask(teacher, sampling=Sampling(max_tokens=7, extra={"max_completion_tokens": 4000})).choices
        assert teacher.asked[-1].body["max_completion_tokens"] == 4000


@pytest.mark.parametrize("retries", [0, 1, 50])
@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
@pytest.mark.slow
def test_an_address_where_nothing_answers_fails_within_seconds(host: str, retries: int) -> None:
    """A first request that cannot connect is tried only a few times, whatever `retries` is. The error concerns the
    address, not the row."""

    async def once() -> None:
        url = f"http://{host}:{free_port()}"
        async with Endpoint(url, "m", retries=retries) as endpoint:
            await endpoint.ask(chat("a dog"), Sampling())

    began = time.perf_counter()
    with pytest.raises(Unreachable, match="Nothing answers"):
        asyncio.run(once())
    assert time.perf_counter() - began < 60  # for a name server that does not answer; fifty retries take minutes


@pytest.mark.slow
def test_an_outage_stops_the_run_instead_of_failing_every_row() -> None:
    """A server that answered before and then fails many requests in a row is reported once."""

    async def many() -> int:
        failed = 0
        async with Endpoint(teacher.url, "m", retries=1, backoff_s=0.0002, concurrency=2) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            while True:
                try:
                    await endpoint.ask(chat("a dog"), Sampling())
                except ServerFaultError:
                    failed += 1
                except Unreachable:
                    return failed

    with LoopbackTeacher(lambda ask: says() if ask.number == 1 else fails(503)) as teacher:
        assert asyncio.run(many()) == 9


def test_draining_ends_a_wait_at_once() -> None:
    """A request that waits for its retry is given up when the run stops: Ctrl-C does not wait for a Retry-After."""

    async def stopped() -> None:
        async with Endpoint(teacher.url, "m") as endpoint:
            asked = asyncio.create_task(endpoint.ask(chat("a dog"), Sampling()))
            await asyncio.to_thread(teacher.wait_for, 1)
            await asyncio.sleep(0.05)
            endpoint.drain()
            with pytest.raises(StoppedError):
                await asked
            with pytest.raises(StoppedError):
                await endpoint.ask(chat("another"), Sampling())

    began = time.perf_counter()
    with LoopbackTeacher(lambda ask: fails(429, headers={"Retry-After": "120"})) as teacher:
        asyncio.run(stopped())
    assert time.perf_counter() - began < 100
    assert len(teacher.asked) == 1


def test_check_spends_nothing_and_reports_models_and_errors() -> None:
    """`doctor` uses it: it reports the models, a wrong model, a wrong key or an unreachable server, and requests no
    completion."""

    async def check(model: str, key: str | None = None, url: str = "") -> object:
        async with Endpoint(url or teacher.url, model, key=key, key_env="MY_KEY") as endpoint:
            return await endpoint.check()

    with LoopbackTeacher(models=("loopback", "llama3:latest"), key=KEY) as teacher:
        assert asyncio.run(check("loopback", KEY)).models == ("loopback", "llama3:latest")  # type: ignore[attr-defined]
        asyncio.run(check("llama3", KEY))
        with pytest.raises(TeacherError, match="serves: loopback"):
            asyncio.run(check("other", KEY))
        with pytest.raises(AuthError, match="MY_KEY"):
            asyncio.run(check("loopback", "wrong"))
    with pytest.raises(Unreachable):
        asyncio.run(check("loopback", KEY, f"http://127.0.0.1:{free_port()}"))
    with LoopbackTeacher(models=None) as teacher:
        assert asyncio.run(check("loopback")).models is None  # type: ignore[attr-defined]
    assert teacher.asked == []


def test_server_is_started_only_by_the_first_request() -> None:
    """`start` runs once, with the first requests, however many there are. Its failure is raised by each of them."""
    started = []

    async def run(fault: Exception | None, asks: int) -> list[object]:
        async def start() -> tuple[str, str | None]:
            started.append(1)
            await asyncio.sleep(0.01)
            if fault:
                raise fault
            return teacher.url, "right"

        async with Endpoint("embedded", "loopback", start=start) as endpoint:
            every = [endpoint.ask(chat(str(i)), Sampling()) for i in range(asks)]
            return list(await asyncio.gather(*every, return_exceptions=True))

    with LoopbackTeacher(key="right") as teacher:
        assert asyncio.run(run(None, 0)) == []
        assert started == []
        answers = asyncio.run(run(None, 3))
        assert all(isinstance(answer, Answer) for answer in answers)
        assert len(started) == 1
        fault = TeacherError("it does not start")
        assert asyncio.run(run(fault, 3)) == [fault] * 3
        assert len(started) == 2


def test_closing_cancels_a_start_in_progress() -> None:
    """A run that is cancelled while the server starts leaves nothing behind that continues to start."""
    ended = []

    async def run() -> None:
        begun = asyncio.Event()

        async def start() -> tuple[str, str | None]:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(1)
            return "http://127.0.0.1:9", None

        async with Endpoint("embedded", "m", start=start) as endpoint:
            asked = asyncio.create_task(endpoint.ask(chat("x"), Sampling()))
            await begun.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(run())
    assert ended == [1]


def test_closed_endpoint_opens_no_connections_again() -> None:
    """One of several concurrent requests ended a run; those that woke up later opened a session that nobody closed."""

    async def run(teacher: LoopbackTeacher) -> None:
        async with Endpoint(teacher.url, "loopback", concurrency=1) as endpoint:
            await endpoint.ask(chat("a dog"), Sampling())
        with pytest.raises(StoppedError):
            await endpoint.ask(chat("a dog"), Sampling())
        assert not endpoint.open_directly()

    with LoopbackTeacher() as teacher:
        asyncio.run(run(teacher))
    assert len(teacher.asked) == 1
