"""Nothing paid for is lost and nothing is sent twice: the ledger against a real store and a real HTTP teacher."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas import time_limit
from schemas.errors import AuthError, TeacherError
from schemas.money import total
from schemas.records import Message, Sampling, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat.completions import StoppedError
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.ledger_rows import call_index
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says

KEY = "sk-very-secret-0123456789"
PLAIN = Sampling(temperature=0.7)


def chat(text: str) -> tuple[Message, ...]:
    return (Message(role="system", content="Write."), Message(role="user", content=text))


@asynccontextmanager
async def opened(
    teacher: LoopbackTeacher, folder: Path, *, retry_failed: bool = False, key: str | None = None, **settings: Any
) -> AsyncIterator[tuple[Ledger, Store]]:
    spec = TeacherSettings(**{"url": teacher.url, "model": "loopback", "retries": 1, "concurrency": 4, **settings})
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        endpoint = Endpoint(
            spec.url,
            spec.model,
            key=key,
            key_env="MY_KEY",
            timeout_s=spec.timeout_s,
            retries=spec.retries,
            concurrency=spec.concurrency,
            backoff_s=0.001,
        )
        async with endpoint:
            yield Ledger(store, endpoint, spec, retry_failed=retry_failed), store


def with_ledger(
    teacher: LoopbackTeacher, folder: Path, work: Callable[[Ledger, Store], Awaitable[Any]], **settings: Any
) -> Any:
    async def run() -> Any:
        async with opened(teacher, folder, **settings) as (ledger, store):
            return await work(ledger, store)

    return asyncio.run(run())


def texts(answers: list[Completion | FailedSample]) -> list[str | None]:
    return [answer.text if isinstance(answer, Completion) else None for answer in answers]


def test_an_answer_is_bought_once_and_then_comes_from_the_store(tmp_path: Path) -> None:
    """When a question is asked again, in the same process or the next, with a larger n, only what is missing is
    sent."""

    async def ask(n: int, ledger: Ledger) -> list[str | None]:
        return texts(await ledger.answer(Question(chat("a dog"), PLAIN), n))

    with LoopbackTeacher() as teacher:

        async def first(ledger: Ledger, store: Store) -> list[str | None]:
            once = await ask(3, ledger)
            assert await ask(3, ledger) == once
            assert (ledger.sent, ledger.reused) == (1, 3)
            assert ledger.usage.completion_tokens == 15
            return once

        once = with_ledger(teacher, tmp_path, first)

        async def second(ledger: Ledger, store: Store) -> None:
            grown = await ask(5, ledger)
            assert grown[:3] == once
            assert (ledger.sent, ledger.reused) == (1, 3)

        with_ledger(teacher, tmp_path, second)
    assert [ask.n for ask in teacher.asked] == [3, 2]
    assert len(set(once)) == 3


def test_key_covers_only_what_changes_the_answer(tmp_path: Path) -> None:
    """Another address, concurrency or timeout is a hit. Other words, sampling, model, revision or schema are not."""

    async def ask(ledger: Ledger, store: Store) -> int:
        await ledger.answer(Question(chat("a dog"), PLAIN))
        return ledger.sent

    with LoopbackTeacher() as teacher:
        assert with_ledger(teacher, tmp_path, ask) == 1
    with LoopbackTeacher() as other:
        assert with_ledger(other, tmp_path, ask, concurrency=9, timeout_s=7.0, retries=0) == 0
        assert with_ledger(other, tmp_path, ask, model="alias", identity="loopback") == 0
        assert with_ledger(other, tmp_path, ask, model="another") == 1
        assert with_ledger(other, tmp_path, ask, revision="r2") == 1

        async def vary(ledger: Ledger, store: Store) -> int:
            schema = {"type": "string"}
            await ledger.answer(Question(chat("a cat"), PLAIN))
            await ledger.answer(Question(chat("a dog"), Sampling(temperature=0.8)))
            await ledger.answer(Question(chat("a dog"), Sampling(temperature=0.7, extra={"min_p": 0.1})))
            await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            return ledger.sent

        # The plain text does not match the schema, so that key uses both attempts.
        assert with_ledger(other, tmp_path, vary) == 5


@pytest.mark.parametrize("spelt", [0, 0.0])
def test_int_and_equal_float_give_one_key(tmp_path: Path, spelt: float) -> None:
    """`min_p = 0` and `0.0` are one setting, and answers that earlier versions stored under either of two keys are
    found."""

    def question(text: str, min_p: float) -> Question:
        return Question(chat(text), Sampling(temperature=0.7, extra={"min_p": min_p, "nested": [{"on": True}]}))

    async def ask(ledger: Ledger, store: Store) -> int:
        for min_p in (0, 0.0, spelt):
            (answer,) = await ledger.answer(question("a dog", min_p))
            assert texts([answer]) != [None]
        sent = ledger.sent
        body = {"temperature": 0.7, "min_p": spelt, "nested": [{"on": True}]}
        old_key = content_id("question", ["loopback", None, [["system", "Write."], ["user", "a cat"]], body, None])
        (kept,) = store.calls(ledger.keys(question("a dog", 0))[0])
        store.write(kept.model_copy(update={"key": content_id("sample", [old_key, 0]), "request_id": "of before"}))
        return sent

    async def count_sent(ledger: Ledger, store: Store) -> int:
        for min_p in (0, 0.0):
            await ledger.answer(question("a cat", min_p))
        return ledger.sent

    with LoopbackTeacher() as teacher:
        assert with_ledger(teacher, tmp_path, ask) == 1
        assert with_ledger(teacher, tmp_path, count_sent) == 0


BAD = {
    "empty": says(""),
    "blank": says("  \n"),
    "null": says(None),
    "truncated": says("a dog in the", finish="length"),
    "malformed": Reply(body=b"<html>"),
    "no choices": Reply(body=b'{"choices": []}'),
    "no message": Reply(body=b'{"choices": [{"text": "a"}]}'),
    "odd content": Reply(body=b'{"choices": [{"message": {"content": 7}}]}'),
    "refused": Reply(body=b'{"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}'),
    "filtered": says("", finish="content_filter"),
    "only quotes": says('""'),
    "only a fence": says("```\n\n```"),
    "model_length": says("a dog in the", finish="model_length"),
    "MAX_TOKENS": says("a dog in the", finish="MAX_TOKENS"),
    "error": says("a dog in the", finish="error"),
    "no resource": says("a dog in the", finish="insufficient_system_resource"),
    "abort": says("a dog in the", finish="abort"),
    "SAFETY": says("a dog in the", finish="SAFETY"),
    "RECITATION": says("a dog in the", finish="RECITATION"),
    "tool_calls": says("a dog in the", finish="tool_calls"),
}
WORD = {
    "only quotes": "empty",
    "only a fence": "empty",
    "model_length": "truncated",
    "MAX_TOKENS": "truncated",
    "error": "failed",
    "no resource": "failed",
    "abort": "failed",
    "SAFETY": "refused",
    "RECITATION": "refused",
    "tool_calls": "malformed",
    "blank": "empty",
    "null": "empty",
    "no choices": "malformed",
    "no message": "malformed",
    "odd content": "malformed",
    "filtered": "refused",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_bad_answer_is_stored_and_requested_again(kind: str, tmp_path: Path) -> None:
    """A bad answer was paid for, so it is stored, but it is no hit: the next one may be good."""
    with LoopbackTeacher(lambda ask: BAD[kind] if ask.nth == 1 else says("good")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, Completion)
            assert (answer.text, answer.attempt) == ("good", 2)
            assert [call.status for call in store.calls(answer.key)] == [WORD.get(kind, kind), "ok"]
            assert [call.attempt for call in store.calls(answer.key)] == [1, 2]

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_exhausted_attempts_stay_a_miss_without_retry_failed(kind: str, tmp_path: Path) -> None:
    """`attempts` counts the answers over all runs. After that nothing is sent, unless retry_failed grants as many
    again."""
    with LoopbackTeacher(lambda ask: BAD[kind] if ask.nth <= 3 else says("good")) as teacher:

        async def miss(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            assert answer.reason.startswith(f"{WORD.get(kind, kind)}: ")
            return ledger.sent

        assert with_ledger(teacher, tmp_path, miss, attempts=2) == 2
        assert with_ledger(teacher, tmp_path, miss, attempts=2) == 0

        async def hit(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, Completion)
            assert answer.attempt == 4
            return ledger.sent

        assert with_ledger(teacher, tmp_path, hit, attempts=2, retry_failed=True) == 2


def test_a_schema_binds_the_answer(tmp_path: Path) -> None:
    """A schema is sent to the server, and an answer that violates it, or is not JSON, is bad."""
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "why": {"type": "string", "maxLength": 5}},
        "required": ["yes"],
    }
    answers = ["yes", '{"why": "so"}', '{"yes": "true"}', '{"yes": true, "why": "because"}', '{"yes": true}']
    with LoopbackTeacher(lambda ask: says(answers[ask.nth - 1])) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            assert isinstance(answer, Completion)
            assert answer.text == '{"yes": true}'
            assert [call.status for call in store.calls(answer.key)] == ["schema"] * 4 + ["ok"]

        with_ledger(teacher, tmp_path, ask, attempts=5)
    assert teacher.asked[0].body["response_format"]["json_schema"]["schema"] == schema


def test_non_binding_schema_rejects_no_answer(tmp_path: Path) -> None:
    """With `binding=False` any answer is accepted. The key is the same as with a binding schema."""
    schema = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
    with LoopbackTeacher(lambda ask: says("A.")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema, binding=False))
            assert isinstance(answer, Completion)
            assert answer.text == "A."
            (bound,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            assert bound.key == answer.key
            assert isinstance(bound, FailedSample)

        with_ledger(teacher, tmp_path, ask, attempts=1)
    assert len(teacher.asked) == 1


def test_rejected_schema_is_left_out_from_then_on(tmp_path: Path) -> None:
    """A server that rejects the schema once is asked without it from then on. Answers are still checked against it."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}

    def answer(ask: Ask) -> Reply:
        if "response_format" in ask.body:
            return fails(400, "response_format is not supported by this model", param="response_format")
        return says('{"yes": true}' if ask.prompt == "a dog" else "maybe")

    with LoopbackTeacher(answer) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (good,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            (bad,) = await ledger.answer(Question(chat("a cat"), PLAIN, schema))
            assert isinstance(good, Completion)
            assert isinstance(bad, FailedSample)
            assert bad.reason.startswith("schema:")

        with_ledger(teacher, tmp_path, ask, attempts=1)
    assert ["response_format" in ask.body for ask in teacher.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("more", "strict"),
    [({"additionalProperties": False, "required": ["a"]}, True), ({"required": ["a"]}, False), ({}, False)],
)
def test_strict_is_sent_only_with_a_closed_schema(more: dict[str, Any], strict: bool, tmp_path: Path) -> None:
    """OpenAI rejects a strict schema with an optional key. Without `strict` it accepts it."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}, **more}
    with LoopbackTeacher(lambda ask: says('{"a": 1}')) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            await ledger.answer(Question(chat("a dog"), PLAIN, schema))

        with_ledger(teacher, tmp_path, ask)
    assert teacher.asked[0].body["response_format"]["json_schema"]["strict"] is strict


def test_n_answers_are_one_request_and_one_group_of_rows(tmp_path: Path) -> None:
    """Each sample is a row. The request's tokens and cost are on the first row only, so that sums are right."""
    prices = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 2.0}
    with LoopbackTeacher() as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat("a dog"), PLAIN), 3)
            rows = [store.calls(a.key)[0] for a in answers if isinstance(a, Completion)]
            assert [row.sample for row in rows] == [0, 1, 2]
            assert len({row.request_id for row in rows}) == 1
            assert [row.usage.prompt_tokens for row in rows] == [10, 0, 0]
            assert rows[0].usd == pytest.approx(10e-6 + 2 * 15e-6)
            assert total(ledger.costs).total == rows[0].usd
            assert rows[1].usd == 0
            spent = store.spent()
            assert (spent.usage.completion_tokens, spent.requests) == (15, 1)
            assert spent.total == pytest.approx(total(ledger.costs).total)
            assert ledger.served == {"loopback": 1}

        with_ledger(teacher, tmp_path, ask, **prices)


def test_tokens_that_the_server_does_not_count_are_unknown(tmp_path: Path) -> None:
    """A response without token counts is counted as one of unknown usage, and no number is invented for it."""
    with LoopbackTeacher(lambda ask: says(usage=False)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            await ledger.answer(Question(chat("a dog"), PLAIN), 2)
            assert (ledger.usage_unknown, ledger.usage.completion_tokens, total(ledger.costs).total) == (1, 0, None)

        with_ledger(teacher, tmp_path, ask, usd_per_million_completion_tokens=5.0)


def test_a_server_that_ignores_n_is_asked_for_the_rest(tmp_path: Path) -> None:
    """Fewer choices than requested are stored, and the missing samples come from further requests."""
    with LoopbackTeacher(honours_n=False) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = texts(await ledger.answer(Question(chat("a dog"), PLAIN), 3))
            assert None not in answers
            assert len(set(answers)) == 3

        with_ledger(teacher, tmp_path, ask)
    assert [ask.n for ask in teacher.asked] == [3, 2, 1]


def test_bad_choice_is_requested_again_alone(tmp_path: Path) -> None:
    """The good samples of a request are stored, and only the empty one is requested again."""
    with LoopbackTeacher(lambda ask: says("a", "", "c") if ask.nth == 1 else says("b")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN), 3)) == ["a", "b", "c"]

        with_ledger(teacher, tmp_path, ask)
    assert [ask.n for ask in teacher.asked] == [3, 1]


def test_each_sample_has_its_own_seed(tmp_path: Path) -> None:
    """Sample i is drawn with seed + i, whichever request brings it. A further attempt uses another seed."""

    def reply(ask: Ask) -> Reply:
        seed = ask.body["seed"]
        return says(*("" if ask.nth == 1 and i in (1, 3) else f"drawn with {seed + i}" for i in range(ask.n)))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = texts(await ledger.answer(Question(chat("a dog"), Sampling(seed=100)), 4))
            assert answers[0] == "drawn with 100"
            assert answers[2] == "drawn with 102"
            assert len(set(answers)) == 4
            other = texts(await ledger.answer(Question(chat("a dog"), Sampling(seed=200))))
            assert other == ["drawn with 200"]

        with_ledger(teacher, tmp_path, ask)
    seeds = [(a.body["seed"], a.n) for a in teacher.asked]
    assert seeds[0] == (100, 4)
    # Samples 1 and 3 are not adjacent, so they take two requests, with seeds that no sample used.
    assert [n for _, n in seeds[1:3]] == [1, 1]
    assert not {seeds[1][0], seeds[2][0]} & set(range(100, 104))


def test_the_same_question_at_the_same_time_is_sent_once(tmp_path: Path) -> None:
    """Nine concurrent callers, whose samples overlap, get one answer per sample."""
    with LoopbackTeacher(latency_s=0.05) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await asyncio.gather(
                *(ledger.answer(Question(chat("a dog"), PLAIN), 1 + i % 3) for i in range(9))
            )
            by_sample = [{texts(a)[i] for a in answers if len(a) > i} for i in range(3)]
            assert [len(answers) for answers in by_sample] == [1, 1, 1]

        with_ledger(teacher, tmp_path, ask)
    assert sum(a.n for a in teacher.asked) == 3


def test_cancelled_caller_leaves_its_question_to_the_next(tmp_path: Path) -> None:
    """A caller that waits for the same key sends the question itself."""
    with LoopbackTeacher(latency_s=0.2) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            first = asyncio.create_task(ledger.answer(Question(chat("a dog"), PLAIN)))
            second = asyncio.create_task(ledger.answer(Question(chat("a dog"), PLAIN)))
            await asyncio.sleep(0.05)
            first.cancel()
            assert texts(await second) != [None]
            assert ledger.in_flight == 0

        with_ledger(teacher, tmp_path, ask)


def test_unanswered_question_fails_its_row_and_is_sent_by_the_next_run(tmp_path: Path) -> None:
    """Without a response there is nothing to store: the row fails now, and the next run sends the question again."""
    with LoopbackTeacher(lambda ask: cuts() if ask.nth <= 2 else says("good")) as teacher:

        async def miss(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat("a dog"), PLAIN), 2)
            assert all(isinstance(a, FailedSample) and a.reason.startswith("broken: ") for a in answers)
            assert call_index(store) == {}
            assert ledger.endpoint.flow.retries_by_kind == {"broken": 1}

        with_ledger(teacher, tmp_path, miss)

        async def hit(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) == ["good"]

        with_ledger(teacher, tmp_path, hit)


def test_requests_in_flight_and_answers_not_yet_durable_are_bounded(tmp_path: Path) -> None:
    """At most `concurrency` requests are at the server, at most twice that are sent and not durable, and none at the
    end."""
    with LoopbackTeacher(latency_s=0.01) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = asyncio.gather(*(ledger.answer(Question(chat(f"dog {i}"), PLAIN)) for i in range(60)))
            peak = 0
            while not answers.done():
                peak = max(peak, ledger.in_flight)
                await asyncio.sleep(0)
            assert 4 <= peak <= 8
            assert ledger.in_flight == 0

        with_ledger(teacher, tmp_path, ask)
    assert teacher.busiest <= 4


def test_an_answer_is_durable_before_it_is_used(tmp_path: Path) -> None:
    """Another connection to the store sees the row as soon as complete() returns."""
    with LoopbackTeacher() as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for i in range(20):
                (answer,) = await ledger.answer(Question(chat(f"dog {i}"), PLAIN))
                assert isinstance(answer, Completion)
                with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as reader:
                    assert [call.text for call in reader.calls(answer.key)] == [answer.text]

        with_ledger(teacher, tmp_path, ask)


def test_draining_keeps_requests_in_flight(tmp_path: Path) -> None:
    """Answers in flight become durable. Questions that wait for a place in flight are not sent."""
    drained = threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=drained.is_set)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            asked = [asyncio.create_task(ledger.answer(Question(chat(f"dog {i}"), PLAIN))) for i in range(10)]
            await asyncio.to_thread(teacher.wait_for, 4)
            ledger.drain()
            drained.set()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(result, StoppedError) for result in done) == 6
            assert len(call_index(store)) == 4

        with_ledger(teacher, tmp_path, ask)
    assert len(teacher.asked) == 4


def test_an_error_that_concerns_every_row_reaches_every_caller(tmp_path: Path) -> None:
    """Callers that wait for a key requested by another one also get its AuthError."""
    with LoopbackTeacher(key=KEY, latency_s=0.05) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            calls = (ledger.answer(Question(chat("a dog"), PLAIN)) for _ in range(3))
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, AuthError) for result in done)

        with_ledger(teacher, tmp_path, ask, key="sk-wrong")


def test_the_key_is_nowhere_in_the_store(tmp_path: Path) -> None:
    """The API key is not in stored requests, error bodies or failures, even if the server repeats it."""
    replies = [
        fails(400, f"bad {KEY}"),
        Reply(body=b'{"message": "Incorrect API key provided: ' + KEY.encode() + b'"}'),
    ]
    with LoopbackTeacher(lambda ask: replies[ask.nth - 1], key=KEY) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for _ in replies:
                (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
                assert isinstance(answer, FailedSample)
                assert KEY not in answer.reason
            assert [call.status for call in store.calls(answer.key)] == ["unsettled", "malformed"]
            assert all("***" in str(call.raw) for call in store.calls(answer.key))

        with_ledger(teacher, tmp_path, ask, key=KEY, attempts=1)
    files = list(tmp_path.iterdir())
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize("key", ["test", "1", "a", "EMPTY", '"', "content", KEY])
def test_a_key_never_rewrites_an_answer(key: str, tmp_path: Path) -> None:
    """Local servers are given dummy keys such as `test` or `1`. The teacher's text is data and is never redacted."""
    text = f'Put it to the test: 1 EMPTY "content" and {KEY}.'
    with LoopbackTeacher(lambda ask: says(text)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, Completion)
            assert answer.text == text
            (call,) = store.calls(answer.key)
            assert call.raw["message"]["content"] == text

        with_ledger(teacher, tmp_path, ask, key=key)


def test_short_key_is_redacted_only_where_an_error_names_it(tmp_path: Path) -> None:
    """A short key is removed from an error body only where the body names it as a key, as in "Bearer test"."""
    with LoopbackTeacher(lambda ask: fails(400, "Put it to the test, said Bearer test. Key: test")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            assert "Put it to the test, said Bearer ***. Key: ***" in answer.reason
            assert "Put it to the test" in store.calls(answer.key)[0].raw["body"]

        with_ledger(teacher, tmp_path, ask, key="test", attempts=1)


def test_logprobs_and_finish_are_returned(tmp_path: Path) -> None:
    """A judge needs both beside the text, from a new response and from the store."""
    body = b'{"choices": [{"finish_reason": "stop", "logprobs": {"content": [1]}, "message": {"content": "a"}}]}'
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for _ in range(2):
                (answer,) = await ledger.answer(Question(chat("a dog"), Sampling(extra={"logprobs": True})))
                assert isinstance(answer, Completion)
                assert (answer.logprobs, answer.finish) == ({"content": [1]}, "stop")
            assert ledger.reused == 1

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(
    "finish", ["stop", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE", "STOP", "", "FINISH_REASON_STOP"]
)
def test_every_known_finish_reason_of_a_complete_answer_is_accepted(finish: str, tmp_path: Path) -> None:
    """Each of them marks a good answer, which is bought once."""
    with LoopbackTeacher(lambda ask: says("a dog", finish=finish)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) == ["a dog"]

        with_ledger(teacher, tmp_path, ask)
    assert len(teacher.asked) == 1


def test_unknown_finish_reason_stops_the_run_until_it_is_declared(tmp_path: Path) -> None:
    """The answer may be incomplete, so it is stored, neither bought again nor used, and used at once when the reason is
    declared good."""
    with LoopbackTeacher(lambda ask: says("a dog", finish="Done_Deal")) as teacher:

        async def stopped(ledger: Ledger, store: Store) -> None:
            with pytest.raises(TeacherError, match=r"'Done_Deal'.*teacher\.finish_reasons = \[\"Done_Deal\"\]"):
                await ledger.answer(Question(chat("a dog"), PLAIN))
            ((rows,),) = [call_index(store).values()]
            assert rows == ((1, "unknown_finish"),)

        for settings in ({}, {}, {"retry_failed": True}):
            with_ledger(teacher, tmp_path, stopped, **settings)
        assert len(teacher.asked) == 1

        async def used(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) == ["a dog"]
            assert (ledger.sent, ledger.reused) == (0, 1)

        with_ledger(teacher, tmp_path, used, finish_reasons=["done_deal"])

        async def failed(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            assert answer.reason.startswith("truncated: ")

        with_ledger(teacher, tmp_path, failed, finish_reasons={"Done_Deal": "truncated"}, attempts=1)
        assert len(teacher.asked) == 1


def choices(*raw: str) -> bytes:
    """A response body with these choices, given as JSON text."""
    usage = '"usage": {"prompt_tokens": 7, "completion_tokens": 9}'
    return ('{"choices": [' + ", ".join(raw) + "], " + usage + "}").encode("utf-8", "surrogateescape")


def choice(text: str, more: str = "") -> str:
    return '{"finish_reason": "stop", "message": {"content": ' + text + "}" + more + "}"


@pytest.mark.parametrize(
    ("odd", "good"),
    [
        (choice(r'"half \ud83d"'), False),
        (choice('"Latin \udce9"'), False),
        (choice("[" * 300 + "]" * 300), False),
        (choice('"b"', ', "deep": ' + "[" * 300 + "]" * 300), False),
        (choice('"b"', ', "logprobs": {"content": [{"logprob": -Infinity}, {"logprob": NaN}]}'), True),
        (choice('"b"', r', "logprobs": {"content": [{"token": "\udc00"}]}'), True),
    ],
    ids=["surrogate", "latin-1", "deep text", "deep", "not finite", "surrogate in a logprob"],
)
def test_malformed_choice_does_not_affect_the_others(odd: str, good: bool, tmp_path: Path) -> None:
    """The other choices and the token counts are kept as paid for, and so is its own text if that is intact."""
    body = choices(choice('"a"'), odd, choice('"c"'))
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat("a dog"), PLAIN), 3)
            assert texts(answers) == ["a", "b" if good else None, "c"]
            assert (ledger.usage.completion_tokens, ledger.usage_unknown) == (9, 0)
            if not good:
                assert isinstance(answers[1], FailedSample)
                assert answers[1].reason.startswith("malformed: ")
            assert all(len(store.calls(answer.key)) == 1 for answer in answers)

        with_ledger(teacher, tmp_path, ask, attempts=1)


def test_byte_order_mark_before_the_json_is_accepted(tmp_path: Path) -> None:
    """Some servers and proxies send one."""
    with LoopbackTeacher(lambda ask: Reply(body=b"\xef\xbb\xbf" + choices(choice('"a"')))) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) == ["a"]

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.slow
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strnig"},
        {"type": "string", "pattern": "("},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://127.0.0.1:9/none.json"},
        {"type": "string", "maxLength": "x"},
        {"$schema": 7, "type": "string"},
    ],
)
def test_answer_is_stored_before_it_is_checked(schema: dict[str, Any], tmp_path: Path) -> None:
    """An error in the schema, or anything else that breaks the check, loses no answer that was paid for."""
    with LoopbackTeacher(lambda ask: says('"a dog"')) as teacher:

        async def ask(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            assert isinstance(answer, FailedSample)
            calls = store.calls(answer.key)
            assert [call.raw["message"]["content"] for call in calls] == ['"a dog"'] * 2
            assert {call.status for call in calls} == {"malformed"}
            assert all("could not be judged" in call.reason for call in calls)
            return ledger.sent

        assert with_ledger(teacher, tmp_path, ask) == 2
        assert with_ledger(teacher, tmp_path, ask) == 0


def test_catastrophic_pattern_is_time_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema's pattern may take practically forever. The check is cut off, the answers are stored, and the sample
    fails with the reason."""
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.05)
    monkeypatch.setattr(time_limit, "_slow", Counter())
    schema = {"type": "string", "pattern": "^(a+)+$", "maxLength": 100}
    with LoopbackTeacher(lambda ask: says(f'"{"a" * 60}!"')) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN, schema))
            assert isinstance(answer, FailedSample)
            assert "took more than 0.05 s" in answer.reason
            assert len(store.calls(answer.key)) == 2

        with_ledger(teacher, tmp_path, ask)


def test_unchecked_answer_is_checked_by_the_next_run(tmp_path: Path) -> None:
    """If a process dies between storing and checking an answer, the next run uses the row without a new request."""
    with LoopbackTeacher(lambda ask: says("a dog")) as teacher:

        async def buy(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            (call,) = store.calls(answer.key)
            await store.judge(call.model_copy(update={"status": "received", "text": ""}))

        with_ledger(teacher, tmp_path, buy)

        async def use(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, Completion)
            assert (answer.text, ledger.sent) == ("a dog", 0)
            assert [call.status for call in store.calls(answer.key)] == ["ok"]

        with_ledger(teacher, tmp_path, use)
