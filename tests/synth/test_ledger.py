"""Nothing paid for is lost, nothing is sent twice: the ledger against a real store and a real HTTP teacher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AuthError
from schemas.records import Message, Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat_completions import Stopped
from synth.endpoint import Endpoint
from synth.ledger import Completion, Ledger, Miss
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


def texts(answers: list[Completion | Miss]) -> list[str | None]:
    return [answer.text if isinstance(answer, Completion) else None for answer in answers]


def test_an_answer_is_bought_once_and_then_comes_from_the_store(tmp_path: Path) -> None:
    """Asked again, in the same process or the next, with n grown: only what is missing is sent."""

    async def ask(n: int, ledger: Ledger) -> list[str | None]:
        return texts(await ledger.complete(chat("a dog"), PLAIN, n))

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


def test_a_key_names_what_changes_the_answer_and_nothing_else(tmp_path: Path) -> None:
    """Another address, concurrency or timeout is a hit; another word, sampling, model, revision or schema is not."""

    async def ask(ledger: Ledger, store: Store) -> int:
        await ledger.complete(chat("a dog"), PLAIN)
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
            await ledger.complete(chat("a cat"), PLAIN)
            await ledger.complete(chat("a dog"), Sampling(temperature=0.8))
            await ledger.complete(chat("a dog"), Sampling(temperature=0.7, extra={"min_p": 0.1}))
            await ledger.complete(chat("a dog"), PLAIN, schema=schema)
            return ledger.sent

        # The plain text does not match the schema, so that key takes both attempts.
        assert with_ledger(other, tmp_path, vary) == 5


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
    "HTTP 400": fails(400, "too long"),
}
WORD = {
    "blank": "empty",
    "null": "empty",
    "no choices": "malformed",
    "no message": "malformed",
    "odd content": "malformed",
    "filtered": "refused",
    "HTTP 400": "refused",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_kept_and_asked_again(kind: str, tmp_path: Path) -> None:
    """It is a fact that was paid for and no hit; the next answer may be good."""
    with LoopbackTeacher(lambda ask: BAD[kind] if ask.nth == 1 else says("good")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.complete(chat("a dog"), PLAIN)
            assert isinstance(answer, Completion)
            assert (answer.text, answer.attempt) == ("good", 2)
            assert [call.status for call in store.calls(answer.key)] == [WORD.get(kind, kind), "ok"]
            assert [call.attempt for call in store.calls(answer.key)] == [1, 2]

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize("kind", BAD)
def test_exhausted_attempts_are_a_miss_until_told_otherwise(kind: str, tmp_path: Path) -> None:
    """`attempts` answers in total over all runs; then nothing is sent, unless retry_failed grants as many again."""
    with LoopbackTeacher(lambda ask: BAD[kind] if ask.nth <= 3 else says("good")) as teacher:

        async def miss(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.complete(chat("a dog"), PLAIN)
            assert isinstance(answer, Miss)
            assert answer.reason.startswith(f"{WORD.get(kind, kind)}: ")
            return ledger.sent

        assert with_ledger(teacher, tmp_path, miss, attempts=2) == 2
        assert with_ledger(teacher, tmp_path, miss, attempts=2) == 0

        async def hit(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.complete(chat("a dog"), PLAIN)
            assert isinstance(answer, Completion)
            assert answer.attempt == 4
            return ledger.sent

        assert with_ledger(teacher, tmp_path, hit, attempts=2, retry_failed=True) == 2


def test_a_schema_binds_the_answer(tmp_path: Path) -> None:
    """It is sent to the server, and an answer that breaks it, or is no JSON, is bad."""
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "why": {"type": "string", "maxLength": 5}},
        "required": ["yes"],
    }
    said = ["yes", '{"why": "so"}', '{"yes": "true"}', '{"yes": true, "why": "because"}', '{"yes": true}']
    with LoopbackTeacher(lambda ask: says(said[ask.nth - 1])) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.complete(chat("a dog"), PLAIN, schema=schema)
            assert isinstance(answer, Completion)
            assert answer.text == '{"yes": true}'
            assert [call.status for call in store.calls(answer.key)] == ["schema"] * 4 + ["ok"]

        with_ledger(teacher, tmp_path, ask, attempts=5)
    assert teacher.asked[0].body["response_format"]["json_schema"]["schema"] == schema


def test_n_answers_are_one_request_and_one_group_of_rows(tmp_path: Path) -> None:
    """Each sample is a row; the request's tokens and money stand on the first only, so sums are right."""
    prices = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 2.0}
    with LoopbackTeacher() as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.complete(chat("a dog"), PLAIN, 3)
            rows = [store.calls(a.key)[0] for a in answers if isinstance(a, Completion)]
            assert [row.sample for row in rows] == [0, 1, 2]
            assert len({row.request_id for row in rows}) == 1
            assert [row.usage.prompt_tokens for row in rows] == [10, 0, 0]
            assert rows[0].usd == pytest.approx(10e-6 + 2 * 15e-6)
            assert ledger.usd == rows[0].usd
            assert rows[1].usd == 0
            usage, usd, requests = store.spent()
            assert (usage.completion_tokens, usd, requests) == (15, pytest.approx(ledger.usd), 1)
            assert ledger.served == {"loopback": 1}

        with_ledger(teacher, tmp_path, ask, **prices)


def test_tokens_that_the_server_does_not_count_are_unknown(tmp_path: Path) -> None:
    """They are counted as unknown answers, and no number is invented for them."""
    with LoopbackTeacher(lambda ask: says(usage=False)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            await ledger.complete(chat("a dog"), PLAIN, 2)
            assert (ledger.usage_unknown, ledger.usage.completion_tokens, ledger.usd) == (1, 0, 0)

        with_ledger(teacher, tmp_path, ask, usd_per_million_completion_tokens=5.0)


def test_a_server_that_ignores_n_is_asked_for_the_rest(tmp_path: Path) -> None:
    """Fewer choices than asked for are kept, and the missing samples come from further requests."""
    with LoopbackTeacher(honours_n=False) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = texts(await ledger.complete(chat("a dog"), PLAIN, 3))
            assert None not in answers
            assert len(set(answers)) == 3

        with_ledger(teacher, tmp_path, ask)
    assert [ask.n for ask in teacher.asked] == [3, 2, 1]


def test_a_bad_choice_is_asked_again_alone(tmp_path: Path) -> None:
    """The good samples of one request are kept, the empty one is missing and is asked for."""
    with LoopbackTeacher(lambda ask: says("a", "", "c") if ask.nth == 1 else says("b")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.complete(chat("a dog"), PLAIN, 3)) == ["a", "b", "c"]

        with_ledger(teacher, tmp_path, ask)
    assert [ask.n for ask in teacher.asked] == [3, 1]


def test_each_sample_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """Sample i is drawn with seed + i, whichever request brings it; a further attempt is drawn with another seed."""

    def reply(ask: Ask) -> Reply:
        seed = ask.body["seed"]
        return says(*("" if ask.nth == 1 and i in (1, 3) else f"drawn with {seed + i}" for i in range(ask.n)))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = texts(await ledger.complete(chat("a dog"), Sampling(seed=100), 4))
            assert answers[0] == "drawn with 100"
            assert answers[2] == "drawn with 102"
            assert len(set(answers)) == 4
            other = texts(await ledger.complete(chat("a dog"), Sampling(seed=200)))
            assert other == ["drawn with 200"]

        with_ledger(teacher, tmp_path, ask)
    seeds = [(a.body["seed"], a.n) for a in teacher.asked]
    assert seeds[0] == (100, 4)
    # Samples 1 and 3 are not neighbours: two requests, with seeds that no sample had.
    assert [n for _, n in seeds[1:3]] == [1, 1]
    assert not {seeds[1][0], seeds[2][0]} & set(range(100, 104))


def test_the_same_question_at_the_same_time_is_sent_once(tmp_path: Path) -> None:
    """Ten callers, overlapping in their samples, one answer each."""
    with LoopbackTeacher(latency_s=0.05) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await asyncio.gather(*(ledger.complete(chat("a dog"), PLAIN, 1 + i % 3) for i in range(9)))
            by_sample = [{texts(a)[i] for a in answers if len(a) > i} for i in range(3)]
            assert [len(told) for told in by_sample] == [1, 1, 1]

        with_ledger(teacher, tmp_path, ask)
    assert sum(a.n for a in teacher.asked) == 3


def test_a_cancelled_asker_leaves_its_question_to_the_next(tmp_path: Path) -> None:
    """Whoever waits for the same key goes on by asking for itself."""
    with LoopbackTeacher(latency_s=0.2) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            first = asyncio.create_task(ledger.complete(chat("a dog"), PLAIN))
            second = asyncio.create_task(ledger.complete(chat("a dog"), PLAIN))
            await asyncio.sleep(0.05)
            first.cancel()
            assert texts(await second) != [None]
            assert ledger.in_flight == 0

        with_ledger(teacher, tmp_path, ask)


def test_what_stays_unanswered_fails_its_row_and_is_asked_by_the_next_run(tmp_path: Path) -> None:
    """No answer came, so there is nothing to keep: a miss now, a question again next time."""
    with LoopbackTeacher(lambda ask: cuts() if ask.nth <= 2 else says("good")) as teacher:

        async def miss(ledger: Ledger, store: Store) -> None:
            answers = await ledger.complete(chat("a dog"), PLAIN, 2)
            assert all(isinstance(a, Miss) and a.reason.startswith("broken: ") for a in answers)
            assert store.call_index() == {}
            assert ledger.retries_by_kind == {"broken": 1}

        with_ledger(teacher, tmp_path, miss)

        async def hit(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.complete(chat("a dog"), PLAIN)) == ["good"]

        with_ledger(teacher, tmp_path, hit)


def test_requests_on_the_wire_and_those_not_durable_are_bounded(tmp_path: Path) -> None:
    """At most `concurrency` at the server, at most twice that sent and not durable, and none left at the end."""
    with LoopbackTeacher(latency_s=0.01) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            await asyncio.gather(*(ledger.complete(chat(f"dog {i}"), PLAIN) for i in range(60)))
            assert 4 <= ledger.in_flight_peak <= 8
            assert ledger.in_flight == 0

        with_ledger(teacher, tmp_path, ask)
    assert teacher.busiest <= 4


def test_an_answer_is_durable_before_it_is_used(tmp_path: Path) -> None:
    """Another connection to the store sees the row at the moment complete() returns."""
    with LoopbackTeacher() as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for i in range(20):
                (answer,) = await ledger.complete(chat(f"dog {i}"), PLAIN)
                assert isinstance(answer, Completion)
                with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as reader:
                    assert [call.text for call in reader.calls(answer.key)] == [answer.text]

        with_ledger(teacher, tmp_path, ask)


def test_draining_keeps_what_is_on_the_wire(tmp_path: Path) -> None:
    """Answers on their way become durable and are returned; questions that wait for a place are not sent."""
    with LoopbackTeacher(latency_s=0.1) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            asked = [asyncio.create_task(ledger.complete(chat(f"dog {i}"), PLAIN)) for i in range(10)]
            await asyncio.to_thread(teacher.wait_for, 4)
            ledger.drain()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(result, Stopped) for result in done) == 6
            assert len(store.call_index()) == 4

        with_ledger(teacher, tmp_path, ask)
    assert len(teacher.asked) == 4


def test_an_error_that_concerns_every_row_reaches_every_caller(tmp_path: Path) -> None:
    """Those who wait for a key that another asks for see its AuthError too."""
    with LoopbackTeacher(key=KEY, latency_s=0.05) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            calls = (ledger.complete(chat("a dog"), PLAIN) for _ in range(3))
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, AuthError) for result in done)

        with_ledger(teacher, tmp_path, ask, key="sk-wrong")


def test_the_key_is_nowhere_in_the_store(tmp_path: Path) -> None:
    """Not in requests, raw answers or errors, even where the server repeats it."""
    with LoopbackTeacher(
        lambda ask: says(f"your key is {ask.headers['Authorization']}") if ask.nth > 1 else fails(400, f"bad {KEY}"),
        key=KEY,
    ) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.complete(chat("a dog"), PLAIN)) == ["your key is Bearer ***"]

        with_ledger(teacher, tmp_path, ask, key=KEY)
    files = list(tmp_path.iterdir())
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes()


def test_logprobs_and_finish_come_through(tmp_path: Path) -> None:
    """What a judge needs beside the text, fresh and from the store."""
    body = b'{"choices": [{"finish_reason": "stop", "logprobs": {"content": [1]}, "message": {"content": "a"}}]}'
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for _ in range(2):
                (answer,) = await ledger.complete(chat("a dog"), Sampling(extra={"logprobs": True}))
                assert isinstance(answer, Completion)
                assert (answer.logprobs, answer.finish) == ({"content": [1]}, "stop")
            assert ledger.reused == 1

        with_ledger(teacher, tmp_path, ask)
