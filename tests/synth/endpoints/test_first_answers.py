"""The first answers of a run: few are paid for before one is known to be usable, and a healthy run does not notice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import TeacherError, Unreachable
from schemas.progress import Say, discard_message
from schemas.records import Sampling, Seed
from synth.chat.completions import Answer
from synth.endpoints import first_answers
from synth.endpoints.endpoint import Endpoint
from synth.engine import generate
from synth.generators import Forward
from synth.slots import GenerateResult
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.synth.rig import input, output, rig
from tests.synth.test_ledger import chat

PAID: dict[str, Any] = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 1.0}


def only_thinking(ask: Ask) -> Reply:
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm."}
    choice = {"index": 0, "finish_reason": "length", "message": message}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return Reply(body=orjson.dumps({"id": f"chat-{ask.number}", "choices": [choice], "usage": usage}), delay_s=0.05)


USELESS: dict[str, Callable[[Ask], Reply]] = {
    "empty": lambda ask: says("", delay_s=0.05),
    "cut": lambda ask: says(f"{ask.prompt}, at", finish="length", delay_s=0.05),
    "thinking": only_thinking,
    "page": lambda ask: Reply(body=b"<html><title>Welcome</title></html>", delay_s=0.05),
    "unknown finish": lambda ask: says(ask.prompt, finish="odd", delay_s=0.05),
}


def run(
    teacher: LoopbackTeacher,
    folder: Path,
    seeds: Sequence[Seed],
    *,
    concurrency: int = 32,
    say: Say = discard_message,
    **prices: Any,
) -> GenerateResult:
    async def go() -> GenerateResult:
        async with rig(teacher.url, folder, n=1, concurrency=concurrency, **prices) as r:
            r.ledger.endpoint.flow.say = say
            return await generate(r.store, seeds, r.generators, concurrency=concurrency)

    return asyncio.run(go())


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [64, 256])
@pytest.mark.parametrize("kind", USELESS)
def test_few_useless_answers_are_paid_for(kind: str, concurrency: int, tmp_path: Path) -> None:
    """A run in which no answer can be used stops after some twenty, however many may be in flight: it stopped
    after 128 at 64 and after 300 to 700 at 256, more where the disk is slow."""
    with LoopbackTeacher(USELESS[kind]) as teacher:
        with pytest.raises(TeacherError):
            run(teacher, tmp_path, input(400), concurrency=concurrency, **PAID)
        assert len(teacher.asked) <= 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["empty", "page"])
def test_a_run_after_a_preview_pays_for_few_useless_answers(kind: str, tmp_path: Path) -> None:
    """The prompt was answered well before, so that question decides. While it is out nothing else is sent, and answers
    on their way to the disk count as open: a server that answers in 10 ms had sent 300 to 1,334 before."""
    good: list[str] = []

    def reply(ask: Ask) -> Reply:
        if len(good) < 10:
            good.append(ask.prompt)
            return Reply()
        return replace(USELESS[kind](ask), delay_s=0.01)

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, input(10), concurrency=256, **PAID)
        with pytest.raises(TeacherError, match=r"(good answer|answered) before was re(peated|fused)"):
            run(teacher, tmp_path, input(600), concurrency=256, **PAID)
        assert len(teacher.asked) <= 10 + 30


@pytest.mark.slow
def test_an_answer_of_an_earlier_run_does_not_vouch_for_the_endpoint(tmp_path: Path) -> None:
    """A preview keeps its answers in the ledger without making rows of them. A run reads them while it asks for others,
    and asks at most five questions at once all the same."""

    def reply(ask: Ask) -> Reply:
        return Reply() if ask.number <= 5 else says("", delay_s=0.3)

    async def preview(url: str) -> None:
        async with rig(url, tmp_path, n=1, **PAID) as r:
            for seed in input(5):
                assert isinstance(r.forward, Forward)
                await r.ledger.answer(*r.forward.questions(seed)[0])

    with LoopbackTeacher(reply) as teacher:
        asyncio.run(preview(teacher.url))
        with pytest.raises(TeacherError):
            run(teacher, tmp_path, [*input(60)[::-1]], concurrency=64, **PAID)
        assert teacher.busiest <= 6  # with the one that decides
        assert len(teacher.asked) <= 5 + 30


@pytest.mark.slow
def test_a_decision_that_takes_long_holds_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question that decides gets an answer much later than the others: until then none of those is sent, and a line
    says what is waited for."""
    monkeypatch.setattr(first_answers, "_SLOW_S", 0.2)
    lines = list[str]()
    repeats: list[int] = []

    def decides() -> bool:
        repeats.append(len(teacher.asked))
        return len(repeats) > 20  # 1 s

    def reply(ask: Ask) -> Reply:
        if ask.number <= 5:
            return Reply()
        return replace(says(""), when=decides) if int(ask.prompt.split()[1]) < 5 else says("", delay_s=0.01)

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, input(5), concurrency=64, **PAID)
        with pytest.raises(TeacherError):
            run(teacher, tmp_path, input(400), concurrency=64, say=lines.append, **PAID)
    assert repeats[-1] - repeats[0] <= 8
    assert [line for line in lines if line.startswith(f"waiting for {teacher.url}")]


def test_an_endpoint_that_cuts_every_answer_is_paid_for_few_of_them(tmp_path: Path) -> None:
    """What is lost after it was sent may be charged for. With 64 in flight, the run ended after 64 rows were lost, for
    each of which three requests had been sent."""
    with LoopbackTeacher(lambda ask: Reply(delay_s=0.02, cut=ask.number > 5)) as teacher:
        run(teacher, tmp_path, input(5), concurrency=64, **PAID)
        with pytest.raises(Unreachable):
            run(teacher, tmp_path, input(400), concurrency=64, **PAID)
        assert len(teacher.asked) <= 5 + 45


def test_the_question_that_decides_goes_before_one_that_is_sent_again() -> None:
    """It waits for the rate limit when another request, which it holds back, fails and is to be sent again. That one
    stood before it in the queue, and nothing was ever sent again."""

    async def decided() -> Answer:
        async with Endpoint(teacher.url, "loopback", backoff_s=0.001, requests_per_minute=300) as endpoint:
            endpoint.flow.first.wait_for("a")
            other = asyncio.create_task(endpoint.ask(chat("fails"), Sampling(), prompt="a"))
            await asyncio.to_thread(teacher.wait_for, 1)
            with endpoint.flow.first.deciding("a"):
                body = endpoint.dialect.body(chat("decides"), Sampling(), 1, None)
                decides = asyncio.create_task(endpoint.send(body, prompt="a", ahead=True))
                await asyncio.sleep(0)  # in which it begins to wait
                waits.set()
                answer = await asyncio.wait_for(decides, 30)
            await other
            return answer

    waits = threading.Event()
    reply = lambda ask: replace(fails(500), when=waits.is_set) if ask.number == 1 else says()  # noqa: E731
    with LoopbackTeacher(reply) as teacher:
        assert asyncio.run(decided()).choices
    assert [ask.prompt for ask in teacher.asked] == ["fails", "decides", "fails"]


def test_requests_that_cost_nothing_do_not_count_as_answers(tmp_path: Path) -> None:
    """A hundred requests are throttled before the first useless answer: no more of those are paid for."""

    def reply(ask: Ask) -> Reply:
        return fails(429) if ask.number <= 100 else says("", delay_s=0.02)

    async def go() -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=256, retries=100, **PAID) as r:
            await generate(r.store, input(400), r.generators, concurrency=256)

    with LoopbackTeacher(reply) as teacher:
        with pytest.raises(TeacherError, match="None of the first"):
            asyncio.run(go())
        assert len(teacher.asked) <= 100 + 30


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [8, 64])
def test_each_prompt_is_judged_by_its_own_answers(concurrency: int, tmp_path: Path) -> None:
    """Good answers in one direction do not hide that all answers in the other are useless. With 64 in flight, 117 of
    these were paid for, because each forty answers to anything let all requests go."""

    def reply(ask: Ask) -> Reply:
        return says("" if ask.prompt.startswith("hound") else f"{ask.prompt}, at length", delay_s=0.1)

    seeds = list(chain.from_iterable(zip(input(200), output(200), strict=True)))
    with LoopbackTeacher(reply) as teacher:
        with pytest.raises(TeacherError, match="None of the first 10 answers"):
            run(teacher, tmp_path, seeds, concurrency=concurrency, **PAID)
        assert sum(prompt.startswith("hound") for prompt in teacher.counts().elements()) <= 30


def test_the_first_usable_answer_lets_all_others_go(tmp_path: Path) -> None:
    """Until an answer is usable, five requests are in flight; then as many as the spec allows."""
    looks: list[int] = []

    def look() -> bool:
        looks.append(len(teacher.asked))
        return looks[-1] >= 5 and looks.count(looks[-1]) > 6  # 0.3 s, in which a sixth would come

    def reply(ask: Ask) -> Reply:
        if ask.number == 1:
            return Reply(when=look)
        return Reply(when=lambda: teacher.busiest > 10)

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, input(200), **PAID)
    assert max(looks) == 5
    assert teacher.busiest > 10


@pytest.mark.slow
@pytest.mark.parametrize("first", ["slow", "cut off", "refused", "useless"])
def test_an_unlucky_first_row_holds_nothing_up(first: str, tmp_path: Path) -> None:
    """One of the first answers is slow, lost, refused or useless: the others are asked at full concurrency."""

    def reply(ask: Ask) -> Reply:
        if ask.prompt != "dog 0":
            return Reply(delay_s=0.05, when=lambda: ask.number <= 100 or teacher.busiest > 10)
        slow = Reply(when=lambda: len(teacher.asked) >= 150)
        unlucky = {"slow": slow, "cut off": Reply(cut=ask.nth == 1), "refused": fails(400, "no"), "useless": says("")}
        return unlucky[first]

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, input(150), **PAID)
    assert teacher.busiest > 10


@pytest.mark.slow
def test_a_prompt_that_is_hardly_asked_holds_no_other_up(tmp_path: Path) -> None:
    """The only question of one prompt has useless answers; the other prompt is soon asked at full concurrency."""

    def reply(ask: Ask) -> Reply:
        if ask.prompt.startswith("hound"):
            return says("", delay_s=0.01)
        return Reply(delay_s=0.05, when=lambda: ask.number <= 250 or teacher.busiest > 10)

    with LoopbackTeacher(reply) as teacher:
        run(teacher, tmp_path, [*output(1), *input(300)], **PAID)
    assert teacher.busiest > 10


@pytest.mark.parametrize("prices", [{}, dict.fromkeys(PAID, 0.0)])
def test_a_teacher_that_costs_nothing_is_asked_at_once(prices: dict[str, Any], tmp_path: Path) -> None:
    """With a price of 0, or neither a key nor a price, no money is lost and nothing waits."""
    with LoopbackTeacher(lambda ask: Reply(when=lambda: teacher.busiest == 32)) as teacher:
        assert run(teacher, tmp_path, input(40), **prices).pairs_made == 40


def test_rows_that_are_filtered_do_not_end_a_run_early(tmp_path: Path) -> None:
    """Seven filtered rows at the beginning, asked twice each, are those rows' own fault."""

    def reply(ask: Ask) -> Reply:
        return says("no", finish="content_filter") if int(ask.prompt.split()[1]) < 7 else Reply()

    with LoopbackTeacher(reply) as teacher:
        result = run(teacher, tmp_path, input(100), **PAID)
    assert (result.failed, result.pairs_made) == (7, 93)
