"""Responses that providers, gateways and proxies really send: no paid answer is lost, and no run ends because of a
response that does not concern it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from schemas.errors import TeacherError
from schemas.records import Json, Sampling, Usage
from schemas.store import Store
from synth.answers import judged, schema_violation
from synth.chat.completions import UnreadableError, effective_response, read_answer
from synth.chat.error_words import error_body
from synth.chat.http_status import meaning
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Ledger, Question
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.synth.test_ledger import PLAIN, chat, texts, with_ledger

ANSWER = orjson.dumps(
    {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a red dog"}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
)
BROTLI = Reply(body=b"\x0b\x02\x80abc\x03", headers={"Content-Encoding": "br"})


@pytest.mark.parametrize(
    "body",
    [
        ANSWER.decode().encode("utf-16"),
        ANSWER.decode().encode("utf-16-le"),
        b"\xef\xbb\xbf" + ANSWER,
        b")]}'\n" + ANSWER,
        b"\n\n  " + ANSWER + b"\0\0",
        ANSWER + b"\n\nOK",
        b"callback(" + ANSWER + b");",
    ],
)
def test_an_answer_in_an_odd_body_is_read(body: bytes) -> None:
    """Another encoding than UTF-8, and what a gateway adds before or after the object, costs no answer."""
    answer = read_answer(body, 0.1, {})
    assert judged(answer.choices[0], None, {}, {}, 0).text == "a red dog"
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=3)


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html><style>a { b: c }</style></html>", b"{", b"", b"null", b'{"choices": [', b"[]"),
        ANSWER[:-1],
        b"callback(" + ANSWER[:-1],
        ANSWER + ANSWER,
        ANSWER + b"\n" + ANSWER[:40],
        b"[" + ANSWER + b", " + ANSWER[:40],
    ],
)
def test_a_body_without_an_answer_is_none(body: bytes) -> None:
    """A page, an empty body, a part of an answer, or several of which one may be a part is malformed."""
    assert read_answer(body, 0.1, {}).choices == []


def test_unread_compression_buys_one_answer_and_names_the_package() -> None:
    """A gateway that compresses without being asked does so for every answer. Each request used to be sent, and paid
    for, again and again; its cost is unknown, not nothing."""

    async def once() -> int:
        async with Endpoint(teacher.url, "m", retries=5, backoff_s=0.001) as endpoint:
            with pytest.raises(UnreadableError, match=r"compressed as 'br'.*pip install Brotli") as caught:
                await endpoint.ask(chat("a dog"), Sampling())
            assert "Start" not in str(caught.value.fix)
            return endpoint.lost

    with LoopbackTeacher(lambda ask: BROTLI) as teacher:
        assert asyncio.run(once()) == 1
        assert len(teacher.asked) == 1


@pytest.mark.parametrize(("unread", "ends"), [(1, False), (9, True)])
def test_unread_compression_among_answers_is_sent_once_more(unread: int, ends: bool, tmp_path: Path) -> None:
    """A single page of a content delivery network among answers costs no row; if it persists, the run ends before more
    is paid for."""

    def reply(number: int) -> Reply:
        return BROTLI if 2 <= number < 2 + unread else Reply()

    async def ask(ledger: Ledger, store: Store) -> None:
        await ledger.answer(Question(chat("warm up"), PLAIN))
        if ends:
            with pytest.raises(TeacherError, match="compressed as 'br'"):
                await ledger.answer(Question(chat("a dog"), PLAIN))
        else:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) != [None]
        assert ledger.usage_unknown == min(unread, 2)

    with LoopbackTeacher(lambda ask: reply(ask.number)) as teacher:
        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 3


@asynccontextmanager
async def raw_server(respond: Callable[[int], bytes]) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that writes these bytes to each request, whose numbers it counts, and closes the connection."""
    numbers: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        numbers.append(len(numbers) + 1)
        writer.write(respond(numbers[-1]))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", numbers


EVENTS = b"data: " + ANSWER.replace(b'"message"', b'"delta"') + b"\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("body", [ANSWER, EVENTS])
@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n\r\n%x\r\n", b"Content-Length: 9%d\r\n\r\n"])
def test_complete_answer_on_a_connection_that_ends_early_is_used(head: bytes, body: bytes) -> None:
    """The last chunk is missing, or the length was announced too high, but the JSON or the stream is whole: the answer
    was paid for."""

    async def once() -> None:
        response = b"HTTP/1.1 200 OK\r\n" + head % len(body) + body + b"\r\n"
        async with raw_server(lambda number: response) as (url, numbers):
            async with Endpoint(url, "m", retries=2, backoff_s=0.001) as endpoint:
                answer = await endpoint.ask(chat("a dog"), Sampling())
            assert answer.choices[0]["message"]["content"] == "a red dog"
            assert numbers == [1]

    asyncio.run(once())


def test_answer_that_breaks_off_is_asked_again() -> None:
    """Half of an answer is none, even if it ends with a brace."""
    cut = ANSWER[: ANSWER.index(b"}") + 1]

    def respond(number: int) -> bytes:
        body = cut if number == 1 else ANSWER
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), body)

    async def once() -> None:
        async with raw_server(respond) as (url, numbers):
            async with Endpoint(url, "m", retries=2, backoff_s=0.001) as endpoint:
                assert (await endpoint.ask(chat("a dog"), Sampling())).choices
            assert numbers == [1, 2]

    asyncio.run(once())


def test_not_implemented_for_n_is_no_outage() -> None:
    """A server may answer a request for several choices with 501."""

    async def many() -> None:
        async with Endpoint(teacher.url, "m", retries=1, backoff_s=0.001) as endpoint:
            for i in range(3):
                assert (await endpoint.ask(chat(f"dog {i}"), Sampling(), n=4)).choices

    with LoopbackTeacher(lambda ask: fails(501, "not implemented") if ask.n > 1 else says()) as teacher:
        asyncio.run(many())
    assert [ask.n for ask in teacher.asked].count(4) == 2


@pytest.mark.parametrize("word", ["unknown", "FINISH_REASON_UNSPECIFIED", "NO_IMAGE"])
def test_unknown_finish_reason_without_text_ends_no_run(word: str) -> None:
    """Vercel's gateway says "unknown" for an answer that broke off. With a text, the reason decides whether it is
    complete, so the run asks for its meaning; without one there is nothing to decide."""
    assert judged({"finish_reason": word, "message": {"content": ""}}, None, {}, {}, 0).status == "failed"
    assert judged({"finish_reason": word, "message": {"content": "a"}}, None, {}, {}, 0).status == "unknown_finish"


def kind_of(status: int, content: Json | list[Json], *, answered: bool = False) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "a dog"}]}
    status, raw = effective_response(status, orjson.dumps(content), body)
    return meaning(status, error_body(raw)[1], raw.decode(), body, answered=answered).kind


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (1039, "token limit", "throttled"),
        (2045, "rate growth limit", "throttled"),
        (2056, "usage limit exceeded", "quota"),
        (2049, "invalid api key", "key"),
        (2013, "invalid params, unknown model 'abab'", "model"),
        (2013, "invalid params, messages is empty", "refused"),
        (1033, "system error", "server"),
    ],
)
def test_minimax_codes_have_their_documented_meaning(code: int, words: str, kind: str) -> None:
    """All come with HTTP 200. A plan without hours left used to be asked for ten minutes more."""
    assert kind_of(200, {"choices": None, "base_resp": {"status_code": code, "status_msg": words}}) == kind


@pytest.mark.parametrize(
    "message",
    [
        "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
        "Your project has exceeded its monthly spending cap.",
        "Your account [21] has reached the set inference limit for the [doubao] model, and it has been paused.",
        "Your account has exhausted its free quota for the model.",
        "Your account has been locked, please contact customer service to unlock",
        "Daily call limit for this API has been reached.",
        "Tokens per day limit exceeded - too many tokens processed.",
        "Your account org request reached TPD rate limit, current: 1500000, limit: 1500000",
    ],
)
def test_limit_of_a_day_or_an_account_is_not_waited_for(message: str) -> None:
    """They come with 429 and no time, as if waiting a moment helped."""
    assert kind_of(429, {"error": {"message": message}}, answered=True) == "quota"


@pytest.mark.parametrize(
    "message",
    [
        "Tokens per minute limit exceeded - too many tokens processed.",
        "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99900. Please try again in 5m56s.",
        "upstream retry budget exhausted",
        "Your account reached max concurrency: 1, please try again after 1 seconds",
        "Request rate increased too quickly. Please scale requests more smoothly over time.",
    ],
)
def test_limit_that_waiting_lifts_is_waited_for(message: str) -> None:
    """Words that resemble those of a used-up account."""
    assert kind_of(429, {"error": {"message": message}}, answered=True) == "throttled"


def test_refusal_that_quotes_an_answer_about_an_account_stops_no_run() -> None:
    """The words are those of a used-up account, but the answer was about one."""
    quoted = "The response was not valid JSON: 'Your account has been locked, until the spending cap is raised.'"
    assert kind_of(400, {"error": {"message": quoted}}, answered=True) == "refused"


def test_error_object_inside_a_200_has_its_own_status() -> None:
    """vLLM's older format has no `error` field; a load balancer in front of it passes it on with 200."""
    error = {"object": "error", "message": "The model does not support Chat Completions", "param": None, "code": 400}
    assert kind_of(200, error) == "refused"


TEXT = "a red dog stands on the hill at dawn and looks at the sea"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id_", "text", "hit", "used"),
    [
        ("chatcmpl-0123456789abcdef", TEXT, "", 1),
        ("chatcmpl-0123456789abcdef", "positive", "", 6),
        ("chatcmpl-123", TEXT, "", 6),
        ("chatcmpl-{number}", "positive", "SEMANTIC HIT", 1),
        ("chatcmpl-{number}", "positive", "HIT", 6),
    ],
)
def test_answer_of_a_semantic_cache_to_another_question_is_not_used(
    id_: str, text: str, hit: str, used: int, tmp_path: Path
) -> None:
    """LiteLLM's semantic cache answered every question with the answer to the first (BerriAI/litellm#12234), and such
    pairs were used. Equal labels, and ids that a server gives to several answers, are no such sign, but
    Portkey's header is, also with new ids."""
    lines: list[str] = []
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    copied = {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}

    def reply(asked: Ask) -> Reply:
        body = orjson.dumps({"id": id_.format(number=asked.number), **copied})
        return Reply(body=body, headers={"x-portkey-cache-status": hit if asked.number > 1 else "MISS"})

    async def ask(ledger: Ledger, store: Store) -> None:
        ledger.endpoint.flow.say = lines.append
        answers = [texts(await ledger.answer(Question(chat(f"dog {i}"), PLAIN)))[0] for i in range(6)]
        assert answers.count(text) == used
        if used == 1:
            key = ledger.keys(Question(chat("dog 5"), PLAIN))[0]
            assert "copy of the answer to another question" in store.calls(key)[0].reason
        # The same question again is answered from a cache of requests, which is reported in other words.
        assert sum("semantic cache" in line for line in lines) == (used == 1)

        assert sum("as it says" in line for line in lines) == (hit == "HIT")

    with LoopbackTeacher(reply) as teacher:
        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(("other", "tokens"), [("a cat sits in the evening sun and sleeps", (7, 7)), (TEXT, (7, 8))])
def test_equal_answers_of_a_server_whose_ids_repeat_are_used(
    other: str, tokens: tuple[int, int], tmp_path: Path
) -> None:
    """A long id may be constant, or be made from the text. Once it was that of a different answer, or of one to a
    longer question, the same refusal or the same JSON for two questions is no copy."""

    def reply(number: int) -> Reply:
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": (TEXT, other)[number % 2]}}
        usage = {"prompt_tokens": tokens[number % 2], "completion_tokens": 9}
        return Reply(body=orjson.dumps({"id": "chatcmpl-0123456789abcdef", "choices": [choice], "usage": usage}))

    async def ask(ledger: Ledger, store: Store) -> None:
        numbers = (0, 1, 2, 4, 6)
        assert None not in [texts(await ledger.answer(Question(chat(f"dog {i}"), PLAIN)))[0] for i in numbers]

    with LoopbackTeacher(lambda ask: reply(int(ask.prompt.removeprefix("dog ")))) as teacher:
        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 5


def test_semantic_cache_ends_the_run(tmp_path: Path) -> None:
    """Repeating a question that was answered well before decides nothing here: the cache answers it."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}
    copied = orjson.dumps({"id": "chatcmpl-0123456789abcdef", "choices": [choice]})

    async def ask(ledger: Ledger, store: Store) -> None:
        with pytest.raises(TeacherError, match=r"None of the last 20 answers can be used; .*semantic cache"):
            await asyncio.gather(*(ledger.answer(Question(chat(f"dog {number}"), PLAIN)) for number in range(60)))

    with LoopbackTeacher(lambda ask: Reply(body=copied)) as teacher:
        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) < 50


@pytest.mark.parametrize(
    ("text", "finish", "ends"),
    [
        ("a red dog END", "stop", "a red dog"),
        ("a red dog\nEND a cat END a bird", "length", "a red dog"),
        ("a red dog\n\nQ: a cat", "stop", "a red dog"),
        ("a red dog", "stop", "a red dog"),
        ("\n\na red dog\n\na cat", "stop", "a red dog"),
        ("<think>\n\nEND?</think>a red dog END", "stop", "a red dog"),
    ],
)
def test_answer_ends_at_its_stop_text(text: str, finish: str, ends: str) -> None:
    """TGI keeps the stop text, and MLX servers ignore the setting: what they wrote after it became training data, or
    the answer was lost because it ran into its limit."""
    choice = {"finish_reason": finish, "message": {"content": text}}
    verdict = judged(choice, None, {}, {"messages": [], "stop": ["END", "\n\n"]}, 0)
    assert (verdict.status, verdict.text.strip()) == ("ok", ends)
    nothing = {"finish_reason": "stop", "message": {"content": "END"}}
    assert judged(nothing, None, {}, {"messages": [], "stop": "END"}, 0).status == "empty"
    assert judged(choice, None, {}, {"messages": []}, 0).status == ("truncated" if finish == "length" else "ok")


@pytest.mark.parametrize(
    ("text", "ends"), [('{"a": "x\\n\\ny"}', None), ('{\n\n"a": 1}', None), ('{"a": 1}\n\nIt is', '{"a": 1}')]
)
def test_stop_text_does_not_cut_whole_json(text: str, ends: str | None) -> None:
    """A server that ignores the setting writes a stop text inside the JSON too, which is complete only with it."""
    choice, request = {"finish_reason": "stop", "message": {"content": text}}, {"messages": [], "stop": "\n\n"}
    verdict = judged(choice, schema_violation({"type": "object"}), {}, request, 0)
    assert (verdict.status, verdict.text) == ("ok", ends or text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stray",
    [
        fails(404, "no Route matched with those values"),
        fails(404, "The model `m` does not exist"),
        fails(405, "Method Not Allowed"),
        fails(421, "Misdirected Request"),
        fails(400, "The engine is currently overloaded, please try again later"),
        Reply(status=400, body=b"<html><title>400 Bad Request</title></html>"),
    ],
)
def test_stray_response_that_no_row_can_cause_is_sent_once_more(stray: Reply, tmp_path: Path) -> None:
    """One of several gateways lacks a route for a moment, while it is deployed again. Its row used to be refused for
    good."""

    async def ask(ledger: Ledger, store: Store) -> None:
        answers = [texts(await ledger.answer(Question(chat(f"dog {i}"), PLAIN)))[0] for i in range(4)]
        assert None not in answers
        await ledger.settle_refusals()

    with LoopbackTeacher(lambda ask: stray if ask.number == 3 else says()) as teacher:
        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 5


def test_row_that_is_too_long_for_a_gateway_is_sent_once(tmp_path: Path) -> None:
    """nginx answers with a page; the row itself is the reason."""
    page = Reply(status=413, body=b"<html><title>413 Request Entity Too Large</title></html>")

    async def ask(ledger: Ledger, store: Store) -> None:
        for number in range(3):
            await ledger.answer(Question(chat(f"dog {number}"), PLAIN))

    with LoopbackTeacher(lambda ask: page if ask.prompt == "dog 1" else says()) as teacher:
        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 3


@pytest.mark.parametrize(
    ("words", "status"), [(("length", "stop"), "truncated"), (("stop", "stop"), "ok"), (("not_finished", "stop"), "ok")]
)
def test_last_event_of_a_gateway_does_not_complete_a_cut_answer(words: tuple[str, str], status: str) -> None:
    """Some close every stream with "stop", which used to replace the reason of the server behind them."""
    first = {"choices": [{"index": 0, "delta": {"content": "a red"}, "finish_reason": words[0]}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": words[1]}]}
    (choice,) = read_answer(
        b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in (first, last)), 0, {}
    ).choices
    assert judged(choice, None, {}, {}, 0).status == status
