"""Scheduling of requests to a teacher under limits, queues and faults: nothing is lost, and no server is flooded."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from sqlalchemy import event

from schemas import blocking
from schemas.errors import TeacherError, Unreachable
from schemas.records import Message, Sampling
from schemas.spec import TeacherSettings
from synth.chat.completions import (
    Answer,
    RefusedError,
    ServerFaultError,
    StoppedError,
    TimedOutError,
    UnansweredError,
    read_answer,
)
from synth.endpoints.endpoint import Endpoint
from synth.endpoints.host import InFlight
from synth.endpoints.rate_limits import RateLimit, Remaining, remaining_in_headers, reset_s
from synth.engine import generate
from tests.ledger_rows import call_index
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says
from tests.synth.rig import input, rig


def chat(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def ask_all(
    url: str | list[str], count: int, *, prompts: str = "dog {i}", **options: Any
) -> tuple[list[Answer | BaseException], Endpoint]:
    """Send `count` different prompts at once."""

    async def run() -> tuple[list[Answer | BaseException], Endpoint]:
        settings = {"backoff_s": 0.01, "retries": 3, "concurrency": 16, **options}
        async with Endpoint(url, "loopback", **settings) as endpoint:
            every = (endpoint.ask(chat(prompts.format(i=i)), Sampling()) for i in range(count))
            return list(await asyncio.gather(*every, return_exceptions=True)), endpoint

    return asyncio.run(run())


async def skip_waits(endpoint: Endpoint, asked: list[asyncio.Task[Answer]]) -> float:
    """Wait until one of these questions is done. The clock stands still, except that it is put forward while nothing is
    in flight; returns by how many seconds."""
    loop = asyncio.get_running_loop()
    began = now = loop.time()
    loop.time = lambda: now  # type: ignore[method-assign]
    while not any(question.done() for question in asked):
        now += 5 if endpoint.flow.held else 0
        await asyncio.sleep(0)
    return now - began


def all_answered(answers: list[Answer | BaseException]) -> bool:
    return all(isinstance(answer, Answer) for answer in answers)


# Limits


@pytest.mark.parametrize(
    ("form", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("7.66s", 7.66),
        ("120ms", 0.12),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723),
        ("1d", 86_400),
        ("0s", 0),
        ("12", 12),
        ("0.5", 0.5),
    ],
)
def test_reset_is_parsed_from_every_duration_format(form: str, seconds: float) -> None:
    """OpenAI, Azure and Groq write durations as Go does, others write plain seconds."""
    assert reset_s(form) == pytest.approx(seconds)


def test_reset_is_parsed_from_every_timestamp_format() -> None:
    """Anthropic writes RFC 3339, OpenRouter milliseconds since the epoch, others seconds or an HTTP date."""
    moment = datetime.now(UTC) + timedelta(seconds=90)
    stamp = moment.timestamp()
    forms = [moment.isoformat(), moment.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{stamp:.0f}", f"{stamp * 1000:.0f}"]
    for form in [*forms, format_datetime(moment, usegmt=True)]:
        assert reset_s(form) == pytest.approx(90, abs=30)
    assert reset_s((moment - timedelta(days=1)).isoformat()) == 0


@pytest.mark.parametrize("nonsense", ["", "soon", "nan", "inf", "1e400", "-", "1 fortnight"])
def test_unreadable_reset_is_no_limit(nonsense: str) -> None:
    """Headers are hints: a value that cannot be parsed does not stop a run."""
    assert remaining_in_headers({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": nonsense}) == []


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"}, [Remaining("requests", 59, 1)]),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, [Remaining("tokens", 0, 360)]),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "60s"}, []),  # there is no limit
        ({"x-ratelimit-remaining-requests": "9"}, []),  # Azure, which does not send the time of the reset
        ({"ratelimit-remaining": "3", "ratelimit-reset": "20"}, [Remaining("requests", 3, 20)]),
        (
            {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
            [Remaining("requests", 50, 30)],
        ),
        ({"RateLimit": '"a";r=50;t=30, "b";r=0;t=10'}, [Remaining("requests", 50, 30), Remaining("requests", 0, 10)]),
        (
            {"anthropic-ratelimit-output-tokens-remaining": "7", "anthropic-ratelimit-output-tokens-reset": "1"},
            [Remaining("tokens", 7, 1)],
        ),
        (
            {"x-ratelimit-remaining-requests-day": "2", "x-ratelimit-reset-requests-day": "33011.4"},
            [Remaining("requests", 2, 33011.4)],
        ),
        (
            {"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "11.38"},
            [Remaining("tokens", 0, 11.38)],
        ),
        ({"ratelimitbysize-remaining": "499900", "ratelimitbysize-reset": "28"}, [Remaining("tokens", 499900, 28)]),
        (
            {
                "Date": "Wed, 02 Dec 2026 10:15:48 GMT",
                "x-ratelimit-limit-req-minute": "60",
                "x-ratelimit-remaining-req-minute": "0",
                "x-ratelimit-remaining-tokens-minute": "47196",
                "x-ratelimit-remaining-tokens-month": "3950246",
                "x-ratelimit-tokens-query-cost": "2804",
            },
            [Remaining("requests", 0, 12), Remaining("tokens", 47196, 12)],
        ),
        ({"x-tokenlimit-remaining": "4", "x-tokenlimit-reset": "1"}, [Remaining("tokens", 4, 1)]),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "20"}, [Remaining("requests", 3, 20)]),
        ({"x-ratelimit-remaining-req-month": "0", "x-ratelimit-limit-req-month": "5"}, []),
        ({"x-ratelimit-remaining-audio-seconds": "0", "x-ratelimit-reset-audio-seconds": "60"}, []),
        ({}, []),
    ],
)
def test_remaining_is_read_from_each_family_of_headers(headers: Mapping[str, str], left: list[Remaining]) -> None:
    """The remaining requests and tokens are parsed. A number without a reset time does not show when to continue, so it
    is ignored, unless it is for a minute."""
    assert remaining_in_headers(CIMultiDict(headers)) == left


@pytest.mark.parametrize("per_minute", [1, 7, 24, 60, 61, 600])
def test_no_minute_holds_more_than_the_limit(per_minute: int) -> None:
    """No window of 60 s exceeds the limit, including those that begin between two requests, however late the timers
    fire."""
    pace, now, sent, jitter = RateLimit(per_minute), 1000.0, [], random.Random(per_minute)
    while len(sent) < 3 * per_minute + 3:
        now = max(now, pace.free_at) + jitter.random() * 0.04
        pace.take(1, now)
        sent.append(now)
    window = [sum(1 for at in sent[i : i + per_minute + 2] if at <= began + 60) for i, began in enumerate(sent)]
    assert max(window) <= per_minute
    assert (len(sent) - 1) * 60 / (sent[-1] - sent[0]) > 0.9 * per_minute


def test_requests_per_minute_hold_over_all_addresses_and_retries() -> None:
    """600 per minute are ten per second, for all addresses and retries together: 12 requests and the retries of those
    that failed take more than a second."""
    reply = lambda ask: fails(500) if ask.nth == 1 and ask.prompt.endswith(("0", "5")) else says()  # noqa: E731
    with LoopbackTeacher(reply) as teacher, LoopbackTeacher(reply) as other:
        began = time.perf_counter()
        answers, _ = ask_all([teacher.url, other.url], 12, requests_per_minute=600)
        assert all_answered(answers)
        asked = len(teacher.asked) + len(other.asked)
        assert asked >= 14
        assert time.perf_counter() - began >= (asked - 1) * 0.1 - 0.06


def test_tokens_per_minute_are_estimated_and_then_corrected() -> None:
    """With 15 tokens per answer and 1,800 per minute, two requests per second are sent. Only the first one is estimated
    too high, from max_tokens."""

    async def run() -> float:
        async with Endpoint(teacher.url, "loopback", tokens_per_minute=1800) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling(max_tokens=5))
            began = time.perf_counter()
            await asyncio.gather(*(endpoint.ask(chat(f"{i}"), Sampling(max_tokens=5)) for i in range(4)))
            return time.perf_counter() - began

    with LoopbackTeacher() as teacher:
        assert asyncio.run(run()) >= 1.0


def test_slow_rate_limit_of_the_spec_is_kept() -> None:
    """One request in twenty minutes is allowed. It used to be taken for a wait requested by the teacher, which ended
    the run."""

    async def run() -> str:
        async with Endpoint(teacher.url, "loopback", requests_per_minute=0.05) as endpoint:
            await endpoint.ask(chat("first"), Sampling())
            second = asyncio.create_task(endpoint.ask(chat("second"), Sampling()))
            await asyncio.wait((second,), timeout=0.1)
            held = endpoint.flow.held
            endpoint.drain()
            with pytest.raises(StoppedError):
                await second
            return held

    with LoopbackTeacher() as teacher:
        assert "held by the rate limit, next request in 20m" in asyncio.run(run())


def test_nothing_is_sent_while_no_request_remains() -> None:
    """After a response whose headers leave no request, the next one is sent when the limit is reset."""
    empty = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "700ms"}

    def reply(ask: Ask) -> Reply:
        arrived.append(time.perf_counter())
        return Reply(body=b'{"choices": [{"message": {"content": "x"}}]}', headers=empty if ask.number == 1 else {})

    arrived: list[float] = []
    with LoopbackTeacher(reply) as teacher:
        answers, _ = ask_all(teacher.url, 4, concurrency=1)
    assert all_answered(answers)
    assert arrived[1] - arrived[0] >= 0.65


@pytest.mark.parametrize("by", ["the limit's headers", "Retry-After"])
def test_exhausted_daily_limit_stops_the_run(by: str) -> None:
    """A wait of hours stops the run instead of passing in silence, whether the headers of the last answer ask for it or
    the Retry-After of a 429."""
    empty = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "8h0m0s"}
    last = Reply(body=b'{"choices": [{"message": {"content": "x"}}]}', headers=empty if by != "Retry-After" else {})
    rest = fails(429, headers={"Retry-After": "28800"})
    with LoopbackTeacher(lambda ask: last if ask.number == 1 else rest) as teacher:
        answers, _ = ask_all(teacher.url, 3, concurrency=1)
    assert isinstance(answers[0], Answer)
    assert all(isinstance(answer, TeacherError) and "asks to wait 8h 00m" in str(answer) for answer in answers[1:])
    assert len(teacher.asked) <= 3


# Throttling


def test_429_is_not_counted_as_a_try_while_others_are_answered() -> None:
    """A row that is throttled nine times while others are answered gets its answer at the tenth request, with two
    retries allowed."""
    reply = lambda ask: fails(429) if ask.prompt == "dog 0" and ask.nth < 10 else Reply(delay_s=0.01)  # noqa: E731
    with LoopbackTeacher(reply) as teacher:
        answers, _ = ask_all(teacher.url, 600, retries=2, concurrency=4, backoff_s=0.003)
    assert all_answered(answers)
    assert teacher.counts()["dog 0"] == 10


def test_exhausted_minute_limit_fails_no_row() -> None:
    """While nothing is answered and no header gives a reset time, the run waits: through more 429s than there are
    retries, and for more questions than would otherwise end a run."""
    with LoopbackTeacher(lambda ask: fails(429) if ask.nth < 6 else says()) as teacher:
        answers, _ = ask_all(teacher.url, 20, retries=3, backoff_s=0.1)
    assert all_answered(answers)


def test_without_retries_nothing_is_resent_in_an_outage() -> None:
    """Twelve of thirteen requests are rejected, and each is the only one of its row."""
    with LoopbackTeacher(lambda ask: says() if ask.number % 13 == 1 else fails(503)) as teacher:
        ask_all(teacher.url, 100, retries=0)
    assert set(teacher.counts().values()) == {1}


def test_message_of_a_silent_server_is_reported_once() -> None:
    """While nothing is answered for minutes, the server's message is reported once, also to a judge or an evaluation.
    Times and request ids in it do not make it a different message."""
    lines: list[str] = []

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback", backoff_s=0.01, retries=3) as endpoint:
            endpoint.flow.say = lines.append
            await asyncio.gather(*(endpoint.ask(chat(f"{i}"), Sampling()) for i in range(3)))

    with LoopbackTeacher(
        lambda ask: says() if lines and ask.nth > 8 else fails(429, f"Come back in {ask.number}.5s (req-{ask.number}a)")
    ) as teacher:
        asyncio.run(run())
    (line,) = lines
    assert "has not answered for" in line
    assert "HTTP 429: Come back in " in line


def test_server_restart_fails_no_row() -> None:
    """After its first answer the server rejects more requests than twenty questions have tries, and they wait for it.
    Seven seconds without an answer used to end a run that was left alone for a night."""
    with LoopbackTeacher(lambda ask: fails(503, "loading") if 2 <= ask.number <= 100 else says()) as teacher:
        answers, endpoint = ask_all(teacher.url, 21, retries=3, backoff_s=0.2)
    assert all_answered(answers)
    assert endpoint.flow.retries_by_kind["server"] >= 99


@pytest.mark.parametrize("lost", [fails(502, "Bad Gateway"), cuts()])
def test_outage_of_a_gateway_fails_no_row_and_buys_little(lost: Reply) -> None:
    """While a server restarts, a gateway answers 502 or cuts the connection, as if the work might be charged for: no
    row is given up, and after those in flight one request at a time is sent, less and less often."""
    down: list[float] = []

    def reply(ask: Ask) -> Reply:
        if ask.number <= 20 or (down and time.monotonic() > down[0] + 1):
            return says()
        down.append(time.monotonic())
        return lost

    with LoopbackTeacher(reply) as teacher:
        answers, _ = ask_all(teacher.url, 60, backoff_s=0.02)
    assert all_answered(answers)
    assert len(down) <= 16 + 10 + 4


def test_outage_at_low_concurrency_fails_no_row() -> None:
    """At a concurrency of two at most four questions are open, fewer than count as an outage otherwise. Each has more
    tries than the first could use up before the last has failed once: without a control, that row would be lost."""
    with LoopbackTeacher(lambda ask: fails(503, "loading") if 2 <= ask.number <= 24 else says()) as teacher:
        answers, _ = ask_all(teacher.url, 5, retries=3, concurrency=2, backoff_s=0.05)
    assert all_answered(answers)


def test_limit_of_minutes_without_headers_fails_no_row() -> None:
    """All questions are throttled for five minutes, which does not count as tries. If one question is throttled alone,
    its tries count after two minutes."""

    async def run() -> list[Answer | BaseException]:
        async with Endpoint(teacher.url, "loopback", backoff_s=0.02, concurrency=4, retries=2) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            asked = [asyncio.create_task(endpoint.ask(chat(f"{i}"), Sampling())) for i in range(8)]
            # Until all have failed: retries go first, so one may be sent late, and few that fail are no outage.
            while len(endpoint.flow.retrying.failing) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            endpoint.flow.retrying.silent_s += 300
            throttled_until.append(len(teacher.asked) + 40)
            return await asyncio.gather(*asked, return_exceptions=True)

    throttled_until = [1_000]

    def reply(ask: Ask) -> Reply:
        return fails(429, "slowly") if 2 <= ask.number <= throttled_until[-1] else says()

    with LoopbackTeacher(reply) as teacher:
        answers = asyncio.run(run())
    assert all_answered(answers), answers

    async def run_one() -> tuple[BaseException | None, float]:
        async with Endpoint(teacher.url, "loopback", retries=2) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            alone = asyncio.create_task(endpoint.ask(chat("alone"), Sampling()))
            seconds = await skip_waits(endpoint, [alone])
            return alone.exception(), seconds

    with LoopbackTeacher(lambda ask: fails(429, "slowly") if ask.number > 1 else says()) as teacher:
        error, seconds = asyncio.run(run_one())
    assert isinstance(error, UnansweredError), error
    assert 120 <= seconds < 300
    assert len(teacher.asked) > 6, "the tries of the first two minutes do not count"


def test_slow_work_and_sleep_do_not_count_as_silence() -> None:
    """One question fails after eleven minutes of work, and later this machine sleeps for a night. The next failure used
    to end the run, as if nothing had been answered for ten minutes."""
    clock = [0.0]

    def reply(ask: Ask) -> Reply:
        if ask.prompt == "slow" and ask.nth == 1:
            clock[0] += 660
            return fails(500, "out of memory")
        if ask.prompt.startswith("asleep") and ask.nth < 3:
            return fails(503, "no network yet")
        return says()

    async def run() -> list[Answer | BaseException]:
        loop = asyncio.get_running_loop()
        began = loop.time
        loop.time = lambda: began() + clock[0]  # type: ignore[method-assign]
        async with Endpoint(
            teacher.url, "loopback", backoff_s=0.2, retries=3, concurrency=12, timeout_s=3600
        ) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            first = await endpoint.ask(chat("slow"), Sampling())
            asked = asyncio.gather(*(endpoint.ask(chat(f"asleep {i}"), Sampling()) for i in range(4)))
            while endpoint.flow.in_flight or not endpoint.flow._pauses:  # noqa: ASYNC110 no event signals this
                await asyncio.sleep(0)
            clock[0] += 8 * 3600
            return [first, *await asked]

    with LoopbackTeacher(reply) as teacher:
        answers = asyncio.run(run())
    assert all_answered(answers), answers


def test_time_in_which_this_process_stood_still_does_not_count() -> None:
    """A process that was stopped for longer than `timeout_s`, as in a paused virtual machine, takes the answer that has
    arrived meanwhile. It gave the answer up and bought another."""

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback", timeout_s=2) as endpoint:
            asking = asyncio.ensure_future(endpoint.ask(chat("a dog"), Sampling()))
            while not teacher.asked:  # noqa: ASYNC110 the teacher is in another thread
                await asyncio.sleep(0.01)
            time.sleep(3)  # noqa: ASYNC251 the whole process stands still
            assert (await asking).choices

    with LoopbackTeacher(latency_s=0.5) as teacher:
        asyncio.run(run())
    assert len(teacher.asked) == 1


@pytest.mark.parametrize("headers", [{}, {"retry-after-ms": "20"}, {"Retry-After": "30"}])
def test_exhausted_account_with_an_unknown_message_ends_the_run(headers: dict[str, str]) -> None:
    """A used-up monthly budget in words that are not recognised ends the run with the provider's message after ten
    minutes without an answer, also if each response asks to retry in half a minute. Such a run used to continue for
    hours."""

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback", backoff_s=0.1, concurrency=4) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            asked = [asyncio.create_task(endpoint.ask(chat(f"{i}"), Sampling())) for i in range(8)]
            assert 600 <= await skip_waits(endpoint, asked) < 720
            endpoint.drain()
            ends = await asyncio.gather(*asked, return_exceptions=True)
            error = next(end for end in ends if isinstance(end, Unreachable))
            assert all(isinstance(end, Unreachable | StoppedError) for end in ends)
            assert "all requests of 10m" in str(error)
            assert "monthly recharge is used up" in str(error)

    no_more = fails(429, "Your monthly recharge is used up", headers)
    with LoopbackTeacher(lambda ask: says() if ask.prompt == "warm up" else no_more) as teacher:
        asyncio.run(run())


def test_concurrency_shrinks_to_what_the_server_accepts() -> None:
    """The server accepts four requests at once and answers the others with 429. Every row is answered, and few requests
    are sent in vain."""
    open_now = [0]

    def reply(ask: Ask) -> Reply:
        if open_now[0] >= 4:
            return fails(429)
        open_now[0] += 1
        asyncio.get_running_loop().call_later(0.05, lambda: open_now.__setitem__(0, open_now[0] - 1))
        return Reply(delay_s=0.05)

    with LoopbackTeacher(reply) as teacher:
        answers, endpoint = ask_all(teacher.url, 300, concurrency=64, retries=5, backoff_s=0.02)
    assert all_answered(answers)
    assert endpoint.flow.hosts[0].window < 32
    assert len(teacher.asked) < 4 * 300


def test_stray_429_does_not_shrink_the_concurrency() -> None:
    """Two in a hundred are noise, not congestion, so the window stays nearly as large."""
    noise = random.Random(7)
    with LoopbackTeacher(lambda ask: fails(429) if noise.random() < 0.02 else Reply(delay_s=0.01)) as teacher:
        answers, endpoint = ask_all(teacher.url, 1000, concurrency=32)
    assert all_answered(answers)
    assert endpoint.flow.hosts[0].window > 24


def test_waiting_request_holds_no_place_in_flight() -> None:
    """With one place in flight and one row that must wait a second, all others are answered in the meantime."""
    wait = fails(500, headers={"Retry-After": "1"})
    with LoopbackTeacher(lambda ask: wait if ask.prompt == "dog 0" and ask.nth == 1 else says()) as teacher:
        answers, _ = ask_all(teacher.url, 10, concurrency=1)
    assert all_answered(answers)
    assert [ask.prompt for ask in teacher.asked].index("dog 0", 1) > 1, "another request used the place in the meantime"


# Timeouts


def test_queue_at_the_server_does_not_use_up_the_timeout() -> None:
    """A server that writes one answer after another, 0.3 s each, gets 40 requests at once with a limit of 9 s. Each is
    sent once and answered, the last after 12 s."""
    free_at = [0.0]

    def reply(ask: Ask) -> Reply:
        now = time.perf_counter()
        free_at[0] = max(free_at[0], now) + 0.3
        return Reply(delay_s=free_at[0] - now)

    with LoopbackTeacher(reply) as teacher:
        answers, _ = ask_all(teacher.url, 40, timeout_s=9, concurrency=40)
    assert all_answered(answers)
    assert len(teacher.asked) == 40


def test_queue_at_the_server_has_the_order_in_which_requests_were_written() -> None:
    """Connections are made in any order on a busy machine: the first question may be written last, behind all others.
    It used to time out, and to be bought twice, because it was thought to be at the head of the server's queue."""
    answered_after_s, limit_s, free_at = 0.03, 0.6, [0.0]

    async def run() -> int:
        endpoint = Endpoint("http://127.0.0.1:1", "loopback", concurrency=40)

        async def send(sending: InFlight) -> Answer:
            with sending:
                await asyncio.sleep(0.1 if sending.number == 1 else 0)  # until it is connected
                endpoint.mark_sent(sending)
                free_at[0] = max(free_at[0], time.perf_counter()) + answered_after_s
                await asyncio.sleep(free_at[0] - time.perf_counter())
            return read_answer(b"{}", 0, {})

        await asyncio.gather(*(endpoint.flow.send_with_retries(send, 1, limit_s) for _ in range(40)))
        return endpoint.sent

    assert asyncio.run(run()) == 40


@pytest.mark.parametrize(("answered", "concurrency"), [(0, 4), (0, 32), (30, 32)])
def test_a_teacher_that_only_times_out_ends_the_run_soon(answered: int, concurrency: int, tmp_path: Path) -> None:
    """Each request that timed out may have been charged for. With 32 in flight, 127 were sent in 134 times the limit,
    four and a half hours with the default one; those of an earlier answer's repetition included."""

    async def go() -> None:
        within_s = 1.5 if answered else 0.1  # the teacher may be late with its answers, on a busy machine
        async with rig(teacher.url, tmp_path, n=1, concurrency=concurrency, timeout_s=within_s) as r:
            with pytest.raises(Unreachable, match=r"left the last \d+ requests unanswered \(timeout"):
                await generate(r.store, input(200), [r.forward], concurrency=concurrency)
            assert len(list(r.store.pairs())) == answered

    with LoopbackTeacher(lambda ask: Reply(delay_s=0 if ask.number <= answered else 3600)) as teacher:
        asyncio.run(go())
    assert len(teacher.asked) <= answered + (concurrency + 12 if not answered else 3 * concurrency)


@pytest.mark.parametrize("chance", [1, 2])
def test_a_server_where_half_of_the_requests_hang_ends_no_run_at_a_concurrency_of_one(
    chance: int, tmp_path: Path
) -> None:
    """A question that hung three times and one that was answered before, which hangs as often, ended the run. How often
    others hung says how many in a row show more than chance. Rows that hang three times are left for the next run."""
    draw = random.Random(chance)

    def reply(ask: Ask) -> Reply:
        return Reply(delay_s=3600 if ask.number > 3 and draw.random() < 0.5 else 0.0)

    async def once() -> Any:
        async with rig(teacher.url, tmp_path, n=1, concurrency=1, retries=5, timeout_s=0.25) as r:
            return await generate(r.store, input(30), [r.forward], concurrency=1)

    with LoopbackTeacher(reply) as teacher:
        result = asyncio.run(once())
    assert result.rows_in == 30
    assert set(result.reasons) <= {"timeout"}


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_server_that_hangs_for_less_than_an_outage_loses_no_row(concurrency: int, tmp_path: Path) -> None:
    """It answers nothing for longer than a row's three time limits, which ended the run, or at a concurrency of one
    cost a row for each seven limits. What it was sent meanwhile it never answers; few requests are."""
    hung_from = [0.0]

    def reply(ask: Ask) -> Reply:
        hung_from[0] = hung_from[0] or (time.monotonic() if ask.number > 16 else 0.0)
        return Reply(delay_s=3600 if ask.number > 16 and time.monotonic() < hung_from[0] + 10 else 0.0)

    async def go() -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=concurrency, timeout_s=1.0, retries=5) as r:
            r.ledger.endpoint.flow.retrying.backoff_s = 0.1  # an outage lasts 24 s
            result = await generate(r.store, input(40), [r.forward], concurrency=concurrency)
            assert (result.counts.waiting, result.counts.failed) == (40, 0)

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(go())
    assert len(teacher.asked) <= 40 + 4 * concurrency + 12


def test_rows_that_always_time_out_wait_for_none_of_each_other(tmp_path: Path) -> None:
    """They fail alone, each after seven times the limit, at the same time; one earlier question is repeated."""
    limit_s = 2.0  # the teacher may be late with the other answers, on a busy machine

    async def go() -> None:
        async with rig(teacher.url, tmp_path, n=1, timeout_s=limit_s) as r:
            began = time.perf_counter()
            result = await generate(r.store, input(40), [r.forward], concurrency=8)
            assert (result.counts.waiting, result.counts.failed) == (35, 5)
            assert time.perf_counter() - began < 25 * limit_s

    hangs = {f"dog {i}" for i in range(0, 40, 8)}
    with LoopbackTeacher(lambda ask: Reply(delay_s=3600 if ask.prompt in hangs else 0.01)) as teacher:
        asyncio.run(go())
    assert len(teacher.asked) <= 35 + 3 * 5 + 2


def test_a_question_that_decides_is_not_sent_again_if_it_times_out() -> None:
    """Its prompt waited seven times the limit for it, and it was bought three times."""

    async def decide() -> int:
        async with Endpoint(teacher.url, "loopback", timeout_s=0.1) as endpoint:
            body = endpoint.dialect.body(chat("decides"), Sampling(), 1, None)
            with pytest.raises(TimedOutError):
                await endpoint.send(body, prompt="a", ahead=True)
            return endpoint.sent

    with LoopbackTeacher(latency_s=3600) as teacher:
        assert asyncio.run(decide()) == 1


def test_an_answer_slower_than_the_limit_raises_it() -> None:
    """A thinking model that needs longer than `timeout_s` answers each question when it is sent again with more time:
    of 80 rows 48 were paid for twice. The first such answer shows what the others need; a late refusal shows
    nothing. Once nothing is answered any more, the limit is that of the spec: a server that hung was waited for twice
    as long."""
    lines: list[str] = []
    now, due = [0.0], list[tuple[str, float]]()  # the clock; of each request, its prompt and when it will be answered

    def reply(ask: Ask) -> Reply:
        takes_s = 9 if "hangs" in ask.prompt else 2.2 if ask.prompt == "first" else 1.1
        at = now[0] + takes_s
        due.append((ask.prompt, at))
        return replace(fails(400) if "refused" in ask.prompt else says(), when=lambda: now[0] >= at)

    async def go() -> None:
        async with Endpoint(teacher.url, "loopback", timeout_s=1, concurrency=4) as endpoint:

            async def ended(asking: Awaitable[Any]) -> None:
                """The clock is put forward while everything that is in flight waits for its answer."""
                asked = asyncio.ensure_future(asking)
                while not asked.done():
                    held = sum(at > now[0] for at in dict(due).values())  # the newest of each prompt, perhaps given up
                    if len(due) == endpoint.sent and endpoint.flow.in_flight <= held:
                        now[0] += 0.01
                    await asyncio.sleep(0)
                await asked

            asyncio.get_running_loop().time = lambda: now[0]  # type: ignore[method-assign]
            endpoint.flow.say = lines.append
            with pytest.raises(RefusedError):
                await ended(endpoint.ask(chat("refused"), Sampling()))
            assert lines == []
            await ended(endpoint.ask(chat("first"), Sampling()))
            await ended(asyncio.gather(*(endpoint.ask(chat(f"dog {i}"), Sampling()) for i in range(8))))
            for limit_s in (r"(?:1\.\d+|[234]\S*)", "1"):
                body = endpoint.dialect.body(chat("hangs"), Sampling(), 1, None)
                with pytest.raises(TimedOutError, match=f"within {limit_s} s"):
                    await ended(endpoint.send(body, ahead=True, once=True))

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(go())
    assert [teacher.counts()[f"dog {i}"] for i in range(8)] == [1] * 8
    (line,) = lines
    assert "with a longer teacher.timeout_s none is asked for twice" in line


def test_limit_of_a_millisecond_works_on_the_loop_of_commands() -> None:
    """A timer of less than half a millisecond has no time on uvloop, and asking for it used to end the run."""

    async def asked() -> list[Answer | BaseException]:
        async with Endpoint(teacher.url, "loopback", timeout_s=0.001, retries=0) as endpoint:
            every = (endpoint.ask(chat(f"dog {i}"), Sampling()) for i in range(4))
            return list(await asyncio.gather(*every, return_exceptions=True))

    with LoopbackTeacher(latency_s=0.1) as teacher:
        answers = blocking.run(asked())
    assert all(isinstance(answer, UnansweredError | TeacherError) for answer in answers), answers


def test_timeout_excludes_waiting_for_a_place() -> None:
    """Forty rows use one place in flight, 0.3 s each, with a limit of 9 s per request: none of them times out."""
    with LoopbackTeacher(lambda ask: Reply(delay_s=0.3)) as teacher:
        answers, _ = ask_all(teacher.url, 40, timeout_s=9, concurrency=1)
    assert all_answered(answers)
    assert len(teacher.asked) == 40


def test_a_lost_request_times_out_although_others_are_answered() -> None:
    """A request is only held up by requests sent before it. Answers to later ones show that it was lost."""
    with LoopbackTeacher(lambda ask: Reply(delay_s=120 if ask.prompt == "dog 0" else 0.02)) as teacher:
        began = time.perf_counter()
        answers, _ = ask_all(teacher.url, 200, timeout_s=8, retries=0, concurrency=4)
    assert isinstance(answers[0], TimedOutError)
    assert "teacher.timeout_s" in str(answers[0])
    assert all_answered(answers[1:])
    assert time.perf_counter() - began < 100


def test_short_limit_holds_beside_a_long_one() -> None:
    """A request that may take seconds ends on time although one that may take days is in flight and both share a
    timer."""

    async def run() -> None:
        one_day_a_token = {"timeout_s": 3, "token_s": 86_400.0, "retries": 0}
        async with Endpoint(teacher.url, "loopback", **one_day_a_token) as endpoint:
            long = asyncio.create_task(endpoint.ask(chat("long"), Sampling(max_tokens=10)))
            await asyncio.to_thread(asked.wait, 60)
            with pytest.raises(TimedOutError):
                await asyncio.wait_for(endpoint.ask(chat("short"), Sampling()), 60)
            assert not long.done()
            long.cancel()
            await asyncio.wait([long])
            assert long.cancelled()  # a caller that cancels it gets no timeout error

    asked = threading.Event()

    def reply(ask: Ask) -> Reply:
        asked.set()
        return Reply(delay_s=30)

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(run())


def test_a_slow_first_answer_does_not_blame_the_address() -> None:
    """A model takes longer to load than the limit. The row fails as `timeout` and names the key to change, after three
    requests, each with twice the time of the one before. The message does not claim that the address is wrong."""
    with LoopbackTeacher(lambda ask: Reply(delay_s=30)) as teacher:
        answers, _ = ask_all(teacher.url, 1, timeout_s=1, retries=5)
    assert isinstance(answers[0], TimedOutError)
    assert "within 4 s" in str(answers[0])
    assert len(teacher.asked) == 3


# Several addresses


def test_servers_of_one_model_share_the_work() -> None:
    """Two equal servers get about half the requests each. A slower one gets fewer, even on a busy machine where both
    are slow."""
    with LoopbackTeacher(latency_s=0.1) as a, LoopbackTeacher(latency_s=0.1) as b:
        answers, _ = ask_all([a.url, b.url], 200)
        assert all_answered(answers)
        assert 60 <= len(a.asked) <= 140
    with LoopbackTeacher(latency_s=0.02) as a, LoopbackTeacher(latency_s=1.0) as b:
        assert all_answered(ask_all([a.url, b.url], 200)[0])
        assert len(b.asked) < 80


@pytest.mark.parametrize("fault", [cuts(), fails(503), Reply(delay_s=30)])
def test_a_server_that_fails_is_left_alone_while_another_answers(fault: Reply) -> None:
    """No row is lost, and the broken server gets only a few requests."""
    with LoopbackTeacher(lambda ask: fault) as broken, LoopbackTeacher(latency_s=0.005) as whole:
        answers, _ = ask_all([broken.url, whole.url], 300, timeout_s=2, retries=3)
    assert all_answered(answers)
    assert len(broken.asked) <= 40


def test_a_server_that_comes_back_is_used_again() -> None:
    """After a rest it is tried with one request, and from then on shares the work."""
    began = time.perf_counter()
    reply = lambda ask: fails(503) if time.perf_counter() - began < 0.3 else Reply(delay_s=0.01)  # noqa: E731
    with LoopbackTeacher(reply) as back, LoopbackTeacher(latency_s=0.02) as whole:
        answers, _ = ask_all([back.url, whole.url], 2500, concurrency=16)
    assert all_answered(answers)
    assert len(back.asked) > 200


def test_if_all_servers_fail_one_keeps_getting_requests() -> None:
    """Rows that fail at every server end their run as with one server. Each server used to rest for up to half a minute
    between two requests, so ten rows had no answer for ten minutes, which ended every run."""

    async def run() -> tuple[list[Answer | BaseException], int]:
        async with Endpoint([a.url, b.url], "loopback", backoff_s=0.005, retries=1) as endpoint:
            await endpoint.ask(chat("warm up"), Sampling())
            asked = (endpoint.ask(chat(f"poison {i}"), Sampling()) for i in range(12))
            return await asyncio.gather(*asked, return_exceptions=True), len(endpoint.flow.left_alone)

    reply = lambda ask: says() if ask.prompt == "warm up" else fails(500, "boom")  # noqa: E731
    with LoopbackTeacher(reply) as a, LoopbackTeacher(reply) as b:
        answers, left_alone = asyncio.run(run())
    assert all(isinstance(answer, ServerFaultError) for answer in answers), answers
    assert left_alone == 1


def test_run_ends_if_no_server_answers() -> None:
    """Two unreachable addresses end the run like one."""
    answers, _ = ask_all(["http://127.0.0.1:9", "http://localhost:9"], 3)
    assert all(isinstance(answer, Unreachable) for answer in answers)


def test_the_spec_may_name_several_addresses() -> None:
    """`urls` can stand alone or beside `url`. Each address is used once, and nothing but the addresses changes."""
    several = TeacherSettings(urls=("http://a:1", "http://b:1"), model="m")
    assert (several.url, several.addresses) == ("http://a:1", ("http://a:1", "http://b:1"))
    assert TeacherSettings(url="http://c", urls=("http://a", "http://c")).addresses == ("http://c", "http://a")
    assert TeacherSettings(**several.model_dump()) == several


# Under everything at once


@pytest.mark.parametrize("seed", range(3))
def test_under_random_faults_no_row_is_lost(seed: int, tmp_path: Path) -> None:
    """A tenth of all responses is a 429, a 500, a cut connection or silence, from either of two servers. Every slot
    gets its pair, and each answer is in the ledger once. A server is silent to a question only once: a third timeout
    fails the row."""

    def faulty(draws: random.Random) -> Any:
        faults = (fails(429), fails(429, headers={"retry-after-ms": "20"}), fails(500), cuts(), Reply(delay_s=60))
        return lambda ask: draws.choice(faults[: 5 - (ask.nth > 1)]) if draws.random() < 0.1 else Reply(delay_s=0.005)

    async def run() -> None:
        several = {"urls": (a.url, b.url), "timeout_s": 3.0, "retries": 5, "concurrency": 16}
        async with rig(a.url, tmp_path, n=2, **several) as r:
            result = await generate(r.store, input(150), r.generators, concurrency=16)
            assert (result.counts.rows_in, result.counts.failed, result.pairs_made) == (300, 0, 300)
            assert all(len(rows) == 1 for rows in call_index(r.store).values())
            assert r.ledger.in_flight == 0

    with (
        LoopbackTeacher(faulty(random.Random(seed))) as a,
        LoopbackTeacher(faulty(random.Random(seed + 100))) as b,
    ):
        asyncio.run(run())


# Rows that always fail


def generated(teachers: list[LoopbackTeacher], folder: Path, seeds: int, **settings: Any) -> tuple[int, int]:
    """Rows in and rows failed of a run with one sample per seed."""

    async def run() -> tuple[int, int]:
        urls = [teacher.url for teacher in teachers]
        async with rig(urls[0], folder, n=1, **{"urls": tuple(urls), "retries": 5, **settings}) as r:
            r.ledger.endpoint.flow.retrying.backoff_s = 0.01
            result = await generate(r.store, input(seeds), [r.forward], concurrency=r.ledger.concurrency)
            return result.rows_in, result.failed

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("poison", "concurrency", "addresses"),
    [((5, 6), 1, 1), (range(30, 40), 4, 1), (range(30, 40), 4, 2), (range(10, 40), 16, 1)],
    ids=["side by side", "at the end", "at the end, two addresses", "more than are open at once"],
)
def test_rows_that_always_fail_end_no_run(poison: Any, concurrency: int, addresses: int, tmp_path: Path) -> None:
    """If all open questions fail because of these rows, a question answered before is answered again, so the rows use
    up their tries and fail, and the run continues. Two of them used to block each other for minutes at a concurrency of
    one, and ten ended the run and every later one."""
    bad = {f"dog {i}" for i in poison}
    reply = lambda ask: fails(500, "boom") if ask.prompt in bad else says()  # noqa: E731
    with LoopbackTeacher(reply) as a, LoopbackTeacher(reply) as b:
        teachers = [a, b][:addresses]
        assert generated(teachers, tmp_path, 40, concurrency=concurrency) == (40, len(bad))
        counts = a.counts() + b.counts()
        assert concurrency > 1 or max(counts[prompt] for prompt in bad) <= 2 * 6
        # Nothing else is left to ask, and nothing of this run has been answered.
        assert generated(teachers, tmp_path, 40, concurrency=concurrency) == (40, len(bad))


def test_control_request_shows_an_outage_and_no_row_fails(tmp_path: Path) -> None:
    """The control request fails in an outage too, so no try counts and no row fails. Once it is answered it is in the
    ledger, like everything that was paid for."""

    async def run() -> None:
        async with rig(teacher.url, tmp_path, n=1, retries=3, concurrency=8) as r:
            r.ledger.endpoint.flow.retrying.backoff_s = 0.1
            result = await generate(r.store, input(40), [r.forward], concurrency=8)
            assert (result.rows_in, result.failed) == (40, 0)
            answered = sum(len(rows) for rows in call_index(r.store).values())
            assert answered == len(teacher.asked) - 90

    with LoopbackTeacher(lambda ask: fails(503, "loading") if 10 <= ask.number < 100 else says()) as teacher:
        asyncio.run(run())
    assert any(ask.nth > 1 and ask.prompt in {first.prompt for first in teacher.asked[:9]} for ask in teacher.asked)


def test_many_failing_rows_cause_few_control_requests(tmp_path: Path) -> None:
    """An answer to the control request is valid for a while, and is not bought again after every ten failures. Its
    question is looked up outside the event loop: with a new prompt, that takes seconds in a large store."""
    searched_in = set[int]()

    def note_search(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if "calls.position DESC" in statement:
            searched_in.add(threading.get_ident())

    async def run() -> None:
        async with rig(teacher.url, tmp_path, n=1, retries=1, concurrency=16) as r:
            event.listen(r.store.engine, "before_cursor_execute", note_search)
            r.ledger.endpoint.flow.retrying.backoff_s = 0.5
            result = await generate(r.store, input(320), [r.forward], concurrency=16)
            assert (result.rows_in, result.failed) == (320, 300)
            assert r.store.costs()[0].requests <= 20 + 12

    reply = lambda ask: fails(500, "boom") if int(ask.prompt.removeprefix("dog ")) >= 20 else says()  # noqa: E731
    with LoopbackTeacher(reply) as teacher:
        asyncio.run(run())
    assert searched_in
    assert threading.get_ident() not in searched_in


def test_long_wait_that_answers_the_control_ends_the_run(tmp_path: Path) -> None:
    """A daily limit that only the control request meets used to hold the run for ten minutes, again and again."""

    def reply(ask: Ask) -> Reply:
        if int(ask.prompt.removeprefix("dog ")) >= 10:
            return fails(500, "boom")
        return fails(429, "daily limit", headers={"Retry-After": "28800"}) if ask.nth > 1 else says()

    async def run() -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=8) as r, asyncio.timeout(60):
            r.ledger.endpoint.flow.retrying.backoff_s = 0.5
            await generate(r.store, input(40), [r.forward], concurrency=8)

    with LoopbackTeacher(reply) as teacher, pytest.raises(TeacherError, match="asks to wait 8h 00m"):
        asyncio.run(run())


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_wait_ends_no_run_while_requests_are_answered(tmp_path: Path, status: int) -> None:
    """One provider behind a gateway asks to wait for a day, the others answer. This used to end the run."""
    day = fails(status, "try another provider", headers={"Retry-After": "86400"})
    stray = [f"dog {i}" for i in (31, 37, 49)]
    with LoopbackTeacher(lambda ask: day if ask.nth == 1 and ask.prompt in stray else says()) as teacher:
        assert generated([teacher], tmp_path, 60, concurrency=8) == (60, 0)
    assert len(teacher.asked) <= 60 + 2 * len(stray), "each is sent again once, with one control at most"


@pytest.mark.parametrize("before", [0, 15])
def test_used_up_day_of_one_address_ends_no_run(tmp_path: Path, before: int) -> None:
    """One of two addresses wants no request for a day, from the beginning or from some request on. The other answers
    everything, and the first is hardly asked. The run used to end. If both want none, it does."""
    day = fails(429, "daily limit", headers={"Retry-After": "86400"})
    with LoopbackTeacher(lambda ask: day if ask.number > before else says()) as used_up, LoopbackTeacher() as other:
        assert generated([used_up, other], tmp_path, 60, concurrency=8) == (60, 0)
        assert len(used_up.asked) < 30
    with LoopbackTeacher(lambda ask: day) as first, LoopbackTeacher(lambda ask: day) as second:
        with pytest.raises(TeacherError, match=r"asks to wait 24h 00m before the next request \(HTTP 429: daily limit"):
            generated([first, second], tmp_path, 70, concurrency=8)
        assert len(first.asked) + len(second.asked) < 60


def test_rows_that_always_time_out_end_no_run(tmp_path: Path) -> None:
    """A server never responds to ten of the rows: these stay unanswered, and the run continues."""
    reply = lambda ask: Reply(delay_s=60) if ask.prompt[-2:] in map(str, range(10, 20)) else says()  # noqa: E731
    with LoopbackTeacher(reply) as teacher:
        assert generated([teacher], tmp_path, 20, timeout_s=1, concurrency=10) == (20, 10)


def test_server_that_fails_nearly_all_requests_is_reported(tmp_path: Path) -> None:
    """Such a server is never silent for long, so there used to be hours with hardly any progress and no message."""
    lines: list[str] = []

    async def run() -> None:
        async with Endpoint(teacher.url, "loopback", backoff_s=0.002, retries=3, concurrency=16) as endpoint:

            def say(line: str) -> None:
                lines.append(line)
                if "fails nearly all" in line:
                    endpoint.drain()  # the rest of the run would take a minute

            endpoint.flow.say = say
            every = (endpoint.ask(chat(f"dog {i}"), Sampling()) for i in range(100))
            await asyncio.gather(*every, return_exceptions=True)

    with LoopbackTeacher(lambda ask: says() if ask.number % 30 == 1 else fails(503, "busy")) as teacher:
        asyncio.run(run())
    assert any("fails nearly all requests (server: HTTP 503: busy); still retrying" in line for line in lines), lines
