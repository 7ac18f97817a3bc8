"""Batches of earlier runs in the runs after them: what their answers prove, whose they are, and that each is counted
once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from aiohttp import web

from schemas.errors import TeacherError
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch.batches import Batches
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.synth.batch.test_batch_leftovers import FILES, PRICE, spent, without_batches
from tests.synth.batch.test_batches import EVERY_FORM, SAMPLING, ask_dogs, chat, with_batches
from tests.synth.batch.test_lost_batches import all_answered, submit_and_stop
from tests.synth.batch_loopback import BatchProvider


def test_useless_answers_of_a_finished_batch_end_no_run(tmp_path: Path) -> None:
    """A batch is paid for as a whole, so many useless answers in it say nothing about what is sent now: a run without
    batches asks for each of them again. Twenty of them used to end it."""

    async def answered(ledger: Ledger) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger, 20))

    with BatchProvider("openai", lambda dog, nth: "") as provider:
        submit_and_stop(provider, tmp_path)
        without_batches(provider, tmp_path, answered)
        assert (provider.live, len(provider.batches)) == (20, 1)
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            calls = [store.calls(key) for key, attempt, _ in store.each_answer() if attempt == 2]
        assert {tuple(call.transport for call in row) for row in calls} == {("batch", "http")}


def test_thinking_in_a_batch_ends_no_run(tmp_path: Path) -> None:
    """A batch is paid for as a whole, so a run that ends because its answers are only thinking saves nothing: each is a
    failed row. Eight of them used to end the run, and every later one that read the batch."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = [answer for (answer,) in await ask_dogs(ledger)]
        assert all(isinstance(one, FailedSample) and "went to thinking" in one.reason for one in answers)

    with BatchProvider("openai", lambda dog, nth: "<think>a dog") as provider:
        with_batches(provider, tmp_path, work)
        assert len(provider.batches) == 1


def test_answers_of_a_finished_batch_do_not_excuse_the_server(tmp_path: Path) -> None:
    """Half of a batch was answered, and the server refuses all requests now. The answers taken from the batch in
    between do not prove that it answers others: no row is given up, and the run ends."""

    class Refusing(BatchProvider):
        refusing = True

        async def _chat_completion(self, request: web.Request) -> web.Response:
            if not self.refusing:
                return await super()._chat_completion(request)
            return web.json_response({"error": {"message": "the tenant is over its allowance"}}, status=400)

    async def in_turn(ledger: Ledger) -> None:
        for i in range(20):
            await ledger.answer(Question(chat(f"dog {i}"), SAMPLING))
        await ledger.settle_refusals()

    async def answered(ledger: Ledger) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))

    with Refusing("openai", lambda dog, nth: "a dog" if int(dog[4:]) % 2 else None) as provider:
        submit_and_stop(provider, tmp_path)
        with pytest.raises(TeacherError, match="over its allowance"):
            without_batches(provider, tmp_path, in_turn)
        provider.refusing = False
        without_batches(provider, tmp_path, answered)


@pytest.mark.parametrize("models", ["ab", "aa"])
def test_batches_of_the_other_teacher_are_needed(models: str, tmp_path: Path) -> None:
    """Two directions have teachers of their own at one provider, perhaps of the same model with other settings, and the
    batches of both are in progress when the run ends. The next run has one more question to one of them: it does not
    advise to cancel the batch of the other, which takes its answers from it, and no answer counts twice."""

    async def ask(ledger: Ledger, first: int, count: int) -> None:
        dogs = range(first, first + count)
        await asyncio.gather(*(ledger.answer(Question(chat(f"dog {dog}"), SAMPLING)) for dog in dogs))

    with BatchProvider("openai") as provider:
        both = [TeacherSettings(url=provider.url, model=model, batch_api="openai", **PRICE) for model in models]

        def wait_for_both() -> None:
            while len(provider.batches) < 2:
                time.sleep(0.01)

        async def run(counts: tuple[int, int]) -> list[str]:
            lines: list[str] = []
            options: Any = {"others": both, "gather_s": 0.05, "poll_s": 0.001}
            with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
                async with AsyncExitStack() as stack:
                    ledgers = []
                    for one in both:
                        endpoint = await stack.enter_async_context(Endpoint(one.url, one.model, key="sk-batch"))
                        batches = Batches(store, endpoint, one, lines.append, **options)
                        await stack.enter_async_context(batches)
                        ledgers.append(Ledger(store, endpoint, one, batches=batches))
                    asking = asyncio.gather(*map(ask, ledgers, (0, 100), counts))
                    if not provider.finishes:
                        await asyncio.to_thread(wait_for_both)
                        asking.cancel()
                    with suppress(asyncio.CancelledError):
                        await asking
                        for ledger in ledgers:
                            assert ledger.batches is not None
                            await ledger.batches.settle_unasked()
            return lines

        provider.finishes = False
        asyncio.run(run((3, 4)))
        provider.finishes = True
        assert not [line for line in asyncio.run(run((4, 4))) if "earlier run" in line]
        assert [len(batch) for batch in provider.batches] == [3, 4, 1]
        assert (spent(tmp_path).usd, spent(tmp_path).lost) == (8 * 5 * 0.5, 0)


@EVERY_FORM
def test_answers_of_a_batch_count_once_at_any_time(form: str, tmp_path: Path) -> None:
    """A run is killed after it has taken some answers from a batch: these count in their rows and the others in the
    batch. All used to count in the batch as well, and for ever, because the next run could not tell them apart."""
    each = 5 * (1.0 if form == "together" else 0.5)

    async def ask_some(ledger: Ledger, lines: list[str]) -> None:
        await ask_dogs(ledger, 7)
        now = ledger.store.spent()  # as after a kill
        assert (now.usd, now.lost, now.reserved) == (7 * each, 13, 13 * each)

    with BatchProvider(form) as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        with_batches(provider, tmp_path, ask_some, **PRICE)
        with_batches(provider, tmp_path, all_answered, **PRICE)
        assert (spent(tmp_path).usd, spent(tmp_path).lost, len(provider.batches)) == (20 * each, 0, 1)


def test_reader_of_a_store_with_a_batch_writes_nothing(tmp_path: Path) -> None:
    """`pairsmith replay` opens the ledgers of a run on a store that it may not write."""

    async def read() -> None:
        spec = TeacherSettings(url=provider.url, model="loopback", batch_api="openai")
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
            async with (
                Endpoint(spec.url, spec.model) as endpoint,
                Batches(store, endpoint, spec, print, submits=False) as batches,
            ):
                assert batches.holds.changes() == []
                Ledger(store, endpoint, spec, batches=batches)

    with BatchProvider("openai") as provider:
        submit_and_stop(provider, tmp_path, **PRICE)
        asyncio.run(read())


@FILES
def test_answers_that_cannot_be_read_are_not_bought_again(form: str, tmp_path: Path) -> None:
    """The file of results breaks off whenever it is read, and has a page, other invalid lines and a duplicate. The
    readable answers are stored, and the run ends with a sentence: the last answer is paid for. It was bought again, and
    counted once. Until a run can read it, the most that it may cost is counted; a later run reads it, or pays for it
    again if it is told to."""
    each = 5 * (1.0 if form == "together" else 0.5)

    async def fails(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="1 answer of batch b1 cannot be read: its results break off"):
            await ask_dogs(ledger, 10)

    async def works(ledger: Ledger, lines: list[str]) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger, 10))

    async def answered(ledger: Ledger) -> None:
        await works(ledger, [])

    with BatchProvider(form) as provider:
        provider.garbles, provider.counts_live = 99, True
        with_batches(provider, tmp_path, fails, **PRICE)
        with_batches(provider, tmp_path, fails, **PRICE)
        left, most = spent(tmp_path), 64 * each / 5
        assert (left.usd, left.lost, left.reserved, len(provider.batches)) == (9 * each, 1, most, 1)
        again = copytree(tmp_path, tmp_path / "again")
        assert "1 answer of batch b1 cannot be read" in without_batches(provider, again, answered, **PRICE)[0]
        assert (spent(again).usd, spent(again).lost, spent(again).reserved) == (9 * each + 5, 1, most)
        provider.garbles = 0
        with_batches(provider, tmp_path, works, **PRICE)
        assert (spent(tmp_path).usd, spent(tmp_path).lost, spent(tmp_path).reserved) == (10 * each, 0, 0)
        assert [len(batch) for batch in provider.batches] == [10]
