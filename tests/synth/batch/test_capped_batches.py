"""Batches under a cap: the most that a batch may cost is held before it is submitted."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pairsmith.teachers.ledgers import open_ledgers
from schemas.errors import BudgetReached, SpecError
from schemas.money import Cost
from schemas.records import Direction
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.budget import Budget
from synth.batch.batches import Batches
from synth.chat.completions import StoppedError
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, Ledger, Question
from tests.synth.batch.test_batch_leftovers import PRICE, die_before_creation, spent
from tests.synth.batch.test_batches import EVERY_FORM, SAMPLING, ask_dogs, chat, with_batches
from tests.synth.batch.test_lost_batches import submit_and_stop
from tests.synth.batch_loopback import BatchProvider
from tests.synth.loopback import LoopbackTeacher

_MOST, _COST = 32.0, 2.5  # of an answer in a batch: its 64 tokens at most, and the 5 that it has


def ask_under_cap(provider: BatchProvider, folder: Path, usd: float, **price: float) -> list[object]:
    """The answers to twenty questions in batches, or their errors, under this cap of the project."""

    async def work(ledger: Ledger, lines: list[str]) -> list[object]:
        ledger.store.budget = Budget(ledger.store.spent(), project_usd=usd)
        asked = (ledger.answer(Question(chat(f"dog {i}"), SAMPLING)) for i in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert not provider.batches or usd >= 1_000 or [line for line in lines if "budget has no room for" in line]
        return [one if isinstance(one, BaseException) else one[0] for one in answers]

    answers: list[object] = with_batches(provider, folder, work, **(price or PRICE))
    return answers


def assert_never_above(batches: list[list[str]], usd: float, most: float, cost: float) -> None:
    used = 0.0
    for batch in batches:
        assert used + len(batch) * most <= usd
        used += len(batch) * cost


@pytest.mark.slow
@EVERY_FORM
def test_batches_stay_under_a_cap(form: str, tmp_path: Path) -> None:
    """Only as many requests are submitted as the cap has room for at their highest price, and the others when the real
    cost of these is known. What does not fit then ends the run in order, and a higher cap continues it. A cap and
    --batch used to exclude each other."""
    factor = 2 if form == "together" else 1  # no discount
    most, cost = _MOST * factor, _COST * factor
    with BatchProvider(form) as provider:
        answers = ask_under_cap(provider, tmp_path, 70.0 * factor)
        assert sum(isinstance(one, Completion) for one in answers) == 16
        assert sum(isinstance(one, BudgetReached) for one in answers) == 4
        assert len(provider.batches[0]) == 2
        assert_never_above(provider.batches, 70.0 * factor, most, cost)
        assert spent(tmp_path).usd == 16 * cost
        answers = ask_under_cap(provider, tmp_path, 1_000.0)
        assert all(isinstance(one, Completion) for one in answers)
        assert (spent(tmp_path).usd, len(provider.batches[-1])) == (20 * cost, 4)


def test_nothing_is_submitted_for_which_a_cap_has_no_room(tmp_path: Path) -> None:
    """Not even one request fits, or nobody knows what one costs."""
    with BatchProvider("openai") as provider:
        (error,) = {str(one) for one in ask_under_cap(provider, tmp_path, 31.0)}
        assert "the budget of $31.00 does not cover a single request, which may cost $32.00" in error
        (kind,) = {type(one) for one in ask_under_cap(provider, tmp_path, 31.0, timeout_s=9)}
        assert (kind, provider.batches) == (SpecError, [])
    assert spent(tmp_path) == Cost()


def test_answers_of_unknown_cost_stay_reserved(tmp_path: Path) -> None:
    """The results of a batch have no token counts: their highest price counts, as for other answers under a cap."""
    with BatchProvider("openai") as provider:
        provider.wraps = lambda body: re.sub(rb',"usage":\{[^}]*\}', b"", body)
        answers = ask_under_cap(provider, tmp_path, 6.5 * _MOST)
        assert sum(isinstance(one, Completion) for one in answers) == 6
    assert (spent(tmp_path).reserved, spent(tmp_path).usd, len(provider.batches)) == (6 * _MOST, 0, 1)


def test_samples_of_a_question_may_be_in_several_batches(tmp_path: Path) -> None:
    """Each sample is a line of its own, and the cap has room for three of the four in a batch. Their real cost counts
    as soon as they are read, although the row is not complete, so that the fourth fits."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.store.budget = Budget(Cost(), project_usd=3.5 * _MOST)
        (answers,) = await ask_dogs(ledger, 1, n=4)
        assert len(answers) == 4

    with BatchProvider("anthropic") as provider:
        with_batches(provider, tmp_path, work, **PRICE)
        assert [len(batch) for batch in provider.batches] == [3, 1]
    assert spent(tmp_path).usd == 4 * _COST


def test_answers_beside_a_sample_that_does_not_fit_still_count(tmp_path: Path) -> None:
    """The answers to three samples are expensive, so the fourth is not submitted and there is no row. Until the next
    run reads the three, what they cost is counted: it used to count as nothing."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.store.budget = Budget(ledger.store.spent(), project_usd=3.5 * _MOST)
        with pytest.raises(BudgetReached, match=r"\$96\.00 is spent"):
            await ask_dogs(ledger, 1, n=4)

    with BatchProvider("anthropic") as provider:
        provider.wraps = lambda body: body.replace(b'"output_tokens":5', b'"output_tokens":64')
        for _ in range(2):
            with_batches(provider, tmp_path, work, **PRICE)
            assert (spent(tmp_path).reserved, len(provider.batches)) == (3 * _MOST, 1)


@pytest.mark.slow
@pytest.mark.parametrize("in_batches", [(True, True), (True, False)])
def test_directions_wait_for_each_other_under_a_cap(in_batches: tuple[bool, bool], tmp_path: Path) -> None:
    """The batch of one teacher holds the whole cap. The other, with or without batches, waits for its real cost instead
    of ending the run."""
    usd = 3.4 * _MOST

    async def run(provider: BatchProvider, teacher: LoopbackTeacher) -> list[object]:
        async with AsyncExitStack() as stack:
            store = stack.enter_context(Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}"))
            store.budget, asked = Budget(Cost(), project_usd=usd), list[asyncio.Future[Any]]()
            for number, in_batch in enumerate(in_batches):
                url = provider.url if in_batch else teacher.url
                one = TeacherSettings(url=url, model=f"model-{number}", batch_api="openai", **PRICE)
                endpoint = await stack.enter_async_context(Endpoint(one.url, one.model, key="sk-batch"))
                batches = Batches(store, endpoint, one, lambda line: None, gather_s=0.05, poll_s=0.001)
                ledger = Ledger(store, endpoint, one, batches=batches if in_batch else None)
                await stack.enter_async_context(batches)
                for dog in range(6):
                    question = chat(f"dog {number}-{dog}")
                    asked.append(asyncio.ensure_future(ledger.answer(Question(question, SAMPLING))))
                if not number:
                    await asyncio.to_thread(provider.wait_for_a_batch)
            provider.finishes = True
            return list(await asyncio.gather(*asked, return_exceptions=True))

    with BatchProvider("openai") as provider, LoopbackTeacher() as teacher:
        provider.finishes = False
        answers = asyncio.run(run(provider, teacher))
    assert not [one for one in answers if isinstance(one, BaseException)]
    assert_never_above(provider.batches, usd, _MOST, _COST)


@pytest.mark.slow
@pytest.mark.parametrize("is_created", [True, False])
def test_cap_of_a_command_leaves_out_batches_of_earlier_ones(is_created: bool, tmp_path: Path) -> None:
    """A batch of an earlier run turns out cheap, or was never created. What was held for it is no room for this
    command, which could spend more than its --max-usd."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.store.budget = Budget(ledger.store.spent(), command_usd=_MOST)
        before = 20 if is_created else 0
        await asyncio.gather(*(ledger.answer(Question(chat(f"dog {i}"), SAMPLING)) for i in range(before)))
        later = (ledger.answer(Question(chat(f"cat {i}"), SAMPLING)) for i in range(3))
        answers = await asyncio.gather(*later, return_exceptions=True)
        assert [type(one) for one in answers] == [list, BudgetReached, BudgetReached]

    with BatchProvider("openai") as provider:
        (submit_and_stop if is_created else die_before_creation)(provider, tmp_path, **PRICE)
        provider.finishes = True
        with_batches(provider, tmp_path, work, **PRICE)
        assert [len(batch) for batch in provider.batches] == [20, 1][not is_created :]


def test_nothing_is_submitted_after_a_stop(tmp_path: Path) -> None:
    """The run is stopped while requests wait for room: they end at once, and no batch follows when there is room."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.store.budget = Budget(Cost(), project_usd=2.5 * _MOST)
        asked = asyncio.gather(
            *(ledger.answer(Question(chat(f"dog {i}"), SAMPLING)) for i in range(4)), return_exceptions=True
        )
        await asyncio.to_thread(provider.wait_for_a_batch)
        ledger.drain()
        assert {type(one) for one in await asked} == {StoppedError}
        provider.finishes = True
        await asyncio.sleep(0.3)

    with BatchProvider("openai") as provider:
        provider.finishes = False
        with_batches(provider, tmp_path, work, **PRICE)
        assert [len(batch) for batch in provider.batches] == [2]


def test_row_of_several_samples_is_no_price_of_a_request(tmp_path: Path) -> None:
    """Four samples cost as much as was held for them. Another request has room for its own highest price; it used to
    need that of all four."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ledger.store.budget = Budget(Cost(), project_usd=5.5 * _MOST)
        await ask_dogs(ledger, 1, n=4)
        await ledger.answer(Question(chat("cat"), SAMPLING))

    with BatchProvider("anthropic") as provider:
        provider.wraps = lambda body: body.replace(b'"output_tokens":5', b'"output_tokens":64')
        with_batches(provider, tmp_path, work, **PRICE)
        assert [len(batch) for batch in provider.batches] == [4, 1]


@pytest.mark.parametrize("is_created", [True, False])
def test_two_teachers_of_one_model_count_an_earlier_batch_once(
    is_created: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions have a teacher of their own, of one model, and find the batch of an earlier run. Both ask some of
    its requests, or both learn that it was never created: what was held for it is given back once. It was given back
    twice, and the project could spend that much more than its cap."""
    monkeypatch.setenv("BATCH_KEY", "sk-batch")

    async def run() -> float:
        spec = {"url": provider.url, "model": "loopback", "batch_api": "openai", "key_env": "BATCH_KEY", "batch": True}
        both: dict[Direction, TeacherSettings] = {
            "forward": TeacherSettings.model_validate({**spec, **PRICE}),
            "backward": TeacherSettings.model_validate({**spec, **PRICE}),
        }
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            store.budget = Budget(store.spent(), project_usd=20 * _MOST)
            async with open_ledgers(store, both, print) as ledgers:
                assert len(set(ledgers.values())) == 2
                dogs = [(ledgers["forward" if dog % 2 else "backward"], dog) for dog in range(20)]
                asked = (ledger.answer(Question(chat(f"dog {dog}"), SAMPLING)) for ledger, dog in dogs)
                await asyncio.gather(*asked)
            return store.budget._settled

    with BatchProvider("openai") as provider:
        (submit_and_stop if is_created else die_before_creation)(provider, tmp_path, **PRICE)
        provider.finishes = True
        assert asyncio.run(run()) == spent(tmp_path).usd == 20 * _COST
        assert (spent(tmp_path).reserved, sum(map(len, provider.batches))) == (0, 20)
