"""Questions in bulk: most get no task of their own, and whatever comes instead of a good answer, no question is
lost."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import BudgetReached, StoreError
from schemas.records import Message, Sampling
from schemas.store import Store
from synth.bulk import Bulk
from synth.engine import GenerateResult, _Run, generate
from synth.ledger import Completion, Ledger, Question
from tests.ledger_rows import call_index
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says
from tests.synth.rig import input, rig

SEEDS = 120


def generate_in_bulk(
    teacher: LoopbackTeacher, folder: Path, seeds: int = SEEDS, **settings: Any
) -> tuple[GenerateResult, int]:
    """The result for the seeds, with one sample each, and how many of them had a task of their own."""

    async def main() -> tuple[GenerateResult, int]:
        tasks = 0

        def counted(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any) -> asyncio.Task[Any]:
            nonlocal tasks
            tasks += work.__qualname__ == _Run._ask.__qualname__
            return asyncio.Task(work, loop=loop, **named)

        async with rig(teacher.url, folder, n=1, **{"concurrency": 4, **settings}) as r:
            asyncio.get_running_loop().set_task_factory(counted)  # type: ignore[arg-type]
            result = await generate(r.store, input(seeds), [r.forward], concurrency=4)
            asyncio.get_running_loop().set_task_factory(None)
            assert r.ledger.in_flight == 0
            assert len(r.store.pairs()) == result.waiting
            return result, tasks

    return asyncio.run(main())


def test_answered_seeds_take_no_task(tmp_path: Path) -> None:
    """Of many seeds only the first, which open the four connections, take a task each; the others take none."""
    with LoopbackTeacher(latency_s=0.01) as teacher:
        result, tasks = generate_in_bulk(teacher, tmp_path, 2 * SEEDS)
        assert (result.waiting, result.pairs_made, len(teacher.asked)) == (2 * SEEDS, 2 * SEEDS, 2 * SEEDS)
    assert 0 < tasks <= 4


def has_fault(prompt: str) -> bool:
    """Every third seed, after those that open the first connections."""
    number = int(prompt.removeprefix("dog "))
    return number >= 24 and number % 3 == 0


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (fails(429), 2),
        (fails(503), 2),
        (cuts(), 2),
        (says(""), 2),
        (says("half", finish="length"), 2),
        (Reply(body=b"<html>"), 2),
        (Reply(body=b"no gzip at all", headers={"Content-Encoding": "gzip"}), 2),
        (Reply(body=b'{"error": {"message": "slow down", "code": 429}}'), 2),
        (Reply(body=b'{"error": {"message": "?", "code": "%b"}}' % (b"4" * 5000)), 2),
        (Reply(body=b'data: {"choices": [{"index": "%b", "delta": {"content": "x"}}]}\n\n' % (b"4" * 5000)), 2),
        (fails(400, "that is too long"), 1),
    ],
    ids=[
        "throttled",
        "server",
        "cut",
        "empty",
        "truncated",
        "page",
        "no_gzip",
        "error_in_200",
        "long",
        "index",
        "refused",
    ],
)
def test_bad_response_affects_only_its_own_row(first: Reply, tries: int, tmp_path: Path) -> None:
    """The row is requested again once, as it would be without bulk, or fails alone. Every other row gets its pair."""
    reply = lambda ask: first if ask.nth == 1 and has_fault(ask.prompt) else Reply()  # noqa: E731
    with LoopbackTeacher(reply, latency_s=0.005) as teacher:
        result, _ = generate_in_bulk(teacher, tmp_path)
        counts = teacher.counts()
        faulty = [prompt for prompt in counts if has_fault(prompt)]
        assert all(counts[prompt] == tries for prompt in faulty)
        # At a run's end one more request may check whether the teacher or the rows caused the last refusals.
        assert sum(counts.values()) - SEEDS - (tries - 1) * len(faulty) in ((0, 1) if tries == 1 else (0,))
    assert len(faulty) == (SEEDS - 24) / 3
    assert (result.rows_in, result.failed) == (SEEDS, 0 if tries == 2 else len(faulty))


def test_response_in_several_chunks_is_read_completely(tmp_path: Path) -> None:
    """A response of a megabyte does not arrive in one piece."""
    with LoopbackTeacher(lambda ask: says("word " * 200_000) if ask.number % 5 == 0 else Reply()) as teacher:
        result, _ = generate_in_bulk(teacher, tmp_path, 60)
    assert result.waiting == 60


def test_request_that_times_out_is_sent_again(tmp_path: Path) -> None:
    """A request in bulk has the same timeout as any other."""
    slow: Iterator[int] = iter(range(1))

    def reply(ask: Ask) -> Reply:
        return says(delay_s=30) if ask.number > 40 and next(slow, None) == 0 else Reply()

    with LoopbackTeacher(reply, latency_s=0.005) as teacher:
        result, _ = generate_in_bulk(teacher, tmp_path, timeout_s=10)
        assert len(teacher.asked) == SEEDS + 1
    assert result.waiting == SEEDS


def test_cancelled_run_keeps_answers_and_stop_ends_waiting_questions(tmp_path: Path) -> None:
    """A cancelled run ends at once. A stopped run ends in order, with hundreds of questions that wait for a place in
    flight. The next run requests nothing that was durable."""

    async def main(teacher: LoopbackTeacher, cancelled: bool) -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=300) as r:
            stop = asyncio.Event()
            work = generate(r.store, input(3000), [r.forward], concurrency=300, stop=stop)
            run = asyncio.create_task(work)
            await asyncio.to_thread(teacher.wait_for, answered + 200)
            if cancelled:
                run.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await run
            else:
                stop.set()
                await asyncio.sleep(0)
                ended.set()
                assert (await run).stopped
                assert len(r.store.pairs()) == r.store.count_candidates([r.forward.fingerprint])
            ended.set()

    answered, ended = 0, threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=lambda: ask.number <= answered or ended.is_set())) as teacher:
        for cancelled in (True, False, True):
            durable = durable_prompts(tmp_path)
            before = len(teacher.asked)
            answered = before + 500
            ended.clear()
            asyncio.run(main(teacher, cancelled))
            assert not durable & {ask.prompt for ask in teacher.asked[before:]}


def durable_prompts(folder: Path) -> set[str]:
    """The prompts whose answers are durable."""
    if not (folder / "pairsmith.db").exists():
        return set()
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        return {call.request["messages"][-1]["content"] for key in call_index(store) for call in store.calls(key)}


def test_failing_store_ends_waiting_questions(tmp_path: Path) -> None:
    """Hundreds of questions that wait for a place in flight end with the run, like those that are in flight."""

    async def main() -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=600) as r:
            run = asyncio.create_task(generate(r.store, input(6000), [r.forward], concurrency=600))
            await asyncio.to_thread(teacher.wait_for, 1600)
            with closing(sqlite3.connect(tmp_path / "pairsmith.db", timeout=60)) as other, other:
                other.execute("DROP TABLE candidates")
            dropped.set()
            with pytest.raises(StoreError):
                await asyncio.wait_for(run, 120)

    dropped = threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=lambda: ask.number <= 1000 or dropped.is_set())) as teacher:
        asyncio.run(main())


def test_free_teacher_that_charges_exceeds_the_cap_by_requests_in_flight_at_most(tmp_path: Path) -> None:
    """Questions that were waiting when the first charge arrived are also sent under the cap."""
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    free = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}

    def reply(ask: Ask) -> Reply:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.4 * (ask.number > 60)}
        return Reply(body=orjson.dumps({"choices": [choice], "usage": usage}))

    async def main() -> None:
        async with rig(teacher.url, tmp_path, n=1, **free) as r:
            r.store.capped(project_usd=0.5)
            forward = replace(r.forward, sampling=Sampling(max_tokens=20))  # type: ignore[type-var]
            with pytest.raises(BudgetReached):
                await generate(r.store, input(300), [forward], concurrency=8)

    with LoopbackTeacher(reply, latency_s=0.02) as teacher:
        asyncio.run(main())
        assert 60 < len(teacher.asked) <= 60 + 8 + 1  # on a busy machine the others wait until the first has charged


def test_questions_that_wait_when_a_cap_is_set_are_sent_under_it(tmp_path: Path) -> None:
    """After the cap is set, only requests already in flight have no reservation."""
    priced = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 1e6}

    async def main() -> None:
        async with rig(teacher.url, tmp_path, n=1, **priced) as r:
            forward = replace(r.forward, sampling=Sampling(max_tokens=20))  # type: ignore[type-var]
            run = asyncio.create_task(generate(r.store, input(300), [forward], concurrency=8))
            await asyncio.to_thread(teacher.wait_for, 60)
            asked = len(teacher.asked)
            r.store.capped(project_usd=0)
            capped.set()
            with pytest.raises(BudgetReached):
                await asyncio.wait_for(run, 60)
            assert len(teacher.asked) <= asked + r.ledger.concurrency

    capped = threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=lambda: ask.number < 60 or capped.is_set())) as teacher:
        asyncio.run(main())


class FallbackAsker:
    """Continues a question as the engine does, after another caller has asked for the first of its samples."""

    def __init__(self, ledger: Ledger, question: Question) -> None:
        self.answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
        self._ledger, self._question = ledger, question

    def on_fallback(self) -> None:
        for n, future in enumerate(self.answers, 1):
            asking = asyncio.ensure_future(self._ledger.answer(self._question, n))
            asking.add_done_callback(lambda task, future=future: future.set_result(task.result()))

    def records_of(self, answers: list[Completion]) -> list[Any]:
        raise AssertionError

    on_durable = on_failure = records_of


def test_fallback_is_continued_by_its_own_asker(tmp_path: Path) -> None:
    """Another caller that wants fewer samples of the same question waits for it and takes none of its answers."""

    async def main() -> None:
        async with rig(teacher.url, tmp_path) as r:
            await r.ledger.endpoint.send({"model": "loopback", "messages": [{"role": "user", "content": "first"}]})
            question = Question([Message(role="user", content="dog")], Sampling(temperature=0.9))
            bulk = r.ledger.bulk()
            assert bulk is not None
            asker = FallbackAsker(r.ledger, question)
            assert bulk.begin(question, 2, asker)  # type: ignore[arg-type]
            one, both = await asyncio.wait_for(asyncio.gather(*asker.answers), 60)
            assert [one[0], both[1]] == both
            assert r.ledger.in_flight == 0

    with LoopbackTeacher(lambda ask: fails(429) if ask.prompt == "dog" and ask.nth == 1 else Reply()) as teacher:
        asyncio.run(main())
        assert teacher.counts()["dog"] == 2


class WatchedLoop(asyncio.SelectorEventLoop):
    """Records how long answers are delayed, in seconds and as a share of the usual time of an answer. With `stops`,
    delayed answers are delayed for ever."""

    def __init__(self, *, stops: bool = False) -> None:
        super().__init__()
        self.waits, self.shares = list[float](), list[float]()
        self.bulk: Bulk | None = None
        self._stops = stops

    def call_later(self, delay: float, callback: Any, *args: Any, **named: Any) -> asyncio.TimerHandle:
        if isinstance(bulk := getattr(callback, "__self__", None), Bulk):
            self.bulk = bulk
            self.waits.append(delay)
            self.shares.append(delay / bulk._endpoint.flow.retrying.answer_s)
            delay = 1e6 if self._stops else delay
        return super().call_later(delay, callback, *args, **named)

    def call_soon(self, callback: Any, *args: Any, **named: Any) -> asyncio.Handle:
        if isinstance(getattr(callback, "__self__", None), Bulk):
            self.waits.append(0.0)
        return super().call_soon(callback, *args, **named)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_answers_are_delayed_briefly_to_be_processed_together(concurrency: int, tmp_path: Path) -> None:
    """An answer is never delayed if its request is alone in flight or is the last one. Others are processed together,
    with a delay of at most 4 ms and a sixteenth of the usual time of an answer."""

    async def main(loop: WatchedLoop) -> None:
        async with rig(teacher.url, tmp_path, n=1, concurrency=concurrency) as r:
            result = await generate(r.store, input(SEEDS), [r.forward], concurrency=concurrency)
            assert (result.waiting, r.ledger.in_flight) == (SEEDS, 0)
            assert loop.waits[-1] == 0.0

    with LoopbackTeacher(latency_s=0.02) as teacher, asyncio.Runner(loop_factory=WatchedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, WatchedLoop)
        runner.run(main(loop))
    assert any(loop.waits) == (concurrency > 1)
    assert max(loop.waits) <= 0.004
    assert max(loop.shares, default=0) <= 1 / 16


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "stopped"])
def test_delayed_answers_are_stored_when_the_run_ends(cancelled: bool, tmp_path: Path) -> None:
    """Delayed answers are stored at once if the run is cancelled, and with the last answer in flight if it is
    stopped."""

    async def main(loop: WatchedLoop) -> set[str]:
        async with rig(teacher.url, tmp_path, n=1, concurrency=8) as r:
            stop = asyncio.Event()
            run = asyncio.create_task(generate(r.store, input(SEEDS), [r.forward], concurrency=8, stop=stop))
            while not (loop.bulk and loop.bulk._received):  # noqa: ASYNC110  the loop is what is observed
                await asyncio.sleep(0.01)
            gathered = {request.question.messages[-1].content for request in loop.bulk._received}
            if cancelled:
                run.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await run
            stop.set()
            await asyncio.sleep(0)
            ended.set()
            assert cancelled or (await run).stopped
            return gathered

    def is_ready(ask: Ask) -> bool:
        """The first eight open the connections, each in a task. Of those in bulk, the first one is in flight for the
        whole test."""
        number = int(ask.prompt.removeprefix("dog "))
        return number < 8 or 8 < number < 12 or ended.is_set()

    ended = threading.Event()
    with LoopbackTeacher(lambda ask: Reply(when=lambda: is_ready(ask))) as teacher:
        with asyncio.Runner(loop_factory=lambda: WatchedLoop(stops=True)) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, WatchedLoop)
            gathered = runner.run(main(loop))
        assert gathered
        assert gathered <= durable_prompts(tmp_path)
        assert cancelled or durable_prompts(tmp_path) == {ask.prompt for ask in teacher.asked}


def test_message_that_cannot_be_shown_costs_no_answer(tmp_path: Path) -> None:
    """An answer says that its model ends soon, and the function that shows this raises. The answers that had arrived
    together were lost, and the run waited for them for ever."""

    def answer(ask: Ask) -> Reply:
        choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ask.prompt}}]
        late = {"Sunset": "Mon, 01 Jun 2027 00:00:00 GMT"} if ask.number > SEEDS / 2 else {}
        return Reply(body=orjson.dumps({"choices": choices}), headers=late)

    def show(line: str) -> None:
        shown.append(line)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> GenerateResult:
        async with rig(teacher.url, tmp_path, n=1, concurrency=8) as r:
            r.ledger.endpoint.flow.say = show
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            return await asyncio.wait_for(generate(r.store, input(SEEDS), [r.forward], concurrency=8), 60)

    shown: list[str] = []
    with LoopbackTeacher(answer) as teacher:
        assert asyncio.run(main()).rows_in == SEEDS
        assert len(shown) == 1
        assert durable_prompts(tmp_path) == {ask.prompt for ask in teacher.asked}
