"""A cap on money holds: whatever the costs, with 64 requests in flight, through faults, restarts and `kill -9`."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import orjson
import pytest

from pairsmith.stages.table import Numeric
from schemas.errors import BudgetReached, SpecError, UsageError
from schemas.money import Cost, describe_cost, dollars
from schemas.records import Message, Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from schemas.store.budget import Budget
from schemas.store.shared import shared
from synth.chat_completions import StoppedError
from synth.endpoint import Endpoint
from synth.ledger import FailedSample, Ledger
from synth.teachers import teacher as open_teacher
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, cuts, fails, says

ROOT = Path(__file__).parents[2]
PRICES = {"usd_per_million_prompt_tokens": 1_000.0, "usd_per_million_completion_tokens": 2_000.0}
LIMITED = Sampling(max_tokens=20)


class Bill:
    """A teacher that charges: random answers up to the limit, random faults, and a bill that it keeps itself."""

    def __init__(self, seed: int, *, faults: bool, prompt: float = PRICES["usd_per_million_prompt_tokens"]) -> None:
        self.usd, self._chance, self._faults, self._prompt = 0.0, random.Random(seed), faults, prompt

    def __call__(self, ask: Ask) -> Reply:
        written = min(20, int(self._chance.paretovariate(0.7))) * ask.n
        read = self._chance.randint(1, len(ask.prompt.encode()))
        fault = self._chance.random() if self._faults else 1.0
        if fault < 0.04:
            return fails(429, headers={"Retry-After": "0"})
        if fault < 0.08:
            return fails(500)
        self.usd += (self._prompt * read + 2_000 * written) / 1e6
        if fault < 0.12:
            return cuts()  # it worked, so it charges
        if fault < 0.16:
            return fails(504)
        choices = [{"message": {"content": f"{ask.prompt} {i}"}, "finish_reason": "stop"} for i in range(ask.n)]
        usage = {"prompt_tokens": read, "completion_tokens": written}
        return Reply(body=orjson.dumps({"choices": choices, "usage": usage}), delay_s=self._chance.random() / 500)


async def spend(url: str, store: Store, questions: int, *, first: int = 0, **teacher: Any) -> list[BaseException | Any]:
    """Ask so many questions at once, at most 64 on the wire; the first failure that ends a run drains it."""
    settings = TeacherSettings.model_validate(
        {"url": url, "model": "loopback", "concurrency": 64, "retries": 3, **PRICES, **teacher}
    )
    async with Endpoint(url, "loopback", retries=3, concurrency=64, backoff_s=0.001) as endpoint:
        ledger = Ledger(store, endpoint, settings)

        async def one(number: int) -> Any:
            try:
                chat = [Message(role="user", content=f"question {number}")]
                return await ledger.complete(chat, LIMITED, 1 + number % 3)
            except BudgetReached:
                ledger.drain()
                raise

        return await asyncio.gather(
            *(one(number) for number in range(first, first + questions)), return_exceptions=True
        )


@pytest.mark.parametrize("faults", [False, True])
def test_64_in_flight_never_spend_more_than_the_cap(tmp_path: Path, faults: bool) -> None:
    """In 100 runs with random costs the bill that the teacher keeps never exceeds the cap, nor does what the ledger
    says, and the cap is used: without faults what is left is less than the dearest request may cost. Prompts are cheap
    in every other one, so that nothing set aside for them hides what an answer, or several of them, may cost."""
    for seed in range(50):
        prompt = (10.0, 1_000.0)[seed % 2]
        bill, price = Bill(seed, faults=faults, prompt=prompt), {"usd_per_million_prompt_tokens": prompt}
        cap = random.Random(seed).uniform(0.3, 4.0)
        with LoopbackTeacher(bill) as teacher, Store.open(f"sqlite:///{tmp_path / f'{seed}.db'}") as store:
            outcomes = asyncio.run(spend(teacher.url, store.capped(project_usd=cap), 80, **price))
            assert bill.usd <= cap
            spent = store.spent()
            assert spent.usd + spent.reserved <= cap + 1e-9
            ended = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert all(isinstance(error, BudgetReached | StoppedError) for error in ended), ended
            if any(isinstance(error, BudgetReached) for error in ended) and not faults:
                assert bill.usd == pytest.approx(spent.usd)
                assert spent.usd > cap - 0.4
            # What is spent counts in the next run, which the ledger alone tells.
            again = asyncio.run(spend(teacher.url, store.capped(project_usd=cap), 90, **price))
            assert bill.usd <= cap
            assert len(again) == 90


def test_the_command_has_a_cap_of_its_own(tmp_path: Path) -> None:
    """`--max-usd` counts from the command's beginning, the project's cap everything; the tighter one stops."""
    bill = Bill(1, faults=False)
    with LoopbackTeacher(bill) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        for number, command_usd in ((1, 0.5), (2, 0.5), (3, 5.0)):
            name = "--max-usd" if number < 3 else "budget.max_usd"
            store.capped(project_usd=1.2, command_usd=command_usd)
            outcomes = asyncio.run(spend(teacher.url, store, 40 * number))
            stops = [error for error in outcomes if isinstance(error, BudgetReached)]
            assert {stop.where for stop in stops} == {name}
            assert stops[0].exit_code == 12
            assert bill.usd <= (0.5 * number if number < 3 else 1.2)
        assert "continue" in (stops[0].fix or "")


def test_a_cap_below_one_request_says_so(tmp_path: Path) -> None:
    """Nothing is sent, and the sentence does not speak of what was spent."""
    with LoopbackTeacher() as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        (error,) = asyncio.run(spend(teacher.url, store.capped(project_usd=0.001), 1))
        assert "the budget of $0.0010 does not cover a single request, which may cost $0." in str(error)
        assert not teacher.asked


@pytest.mark.parametrize(
    ("project_usd", "command_usd", "spent_usd", "fix"),
    [
        (
            None,
            0.00001,
            0.0,
            "raise --max-usd to $0.1235 or more, or lower max_tokens, and run the same",
        ),
        (2.0, 0.00001, 1.999, "raise budget.max_usd to $2.13 or more and --max-usd to $0.1235 or more, or lower"),
        (2.0, 5.0, 1.999, "raise budget.max_usd to $2.13 or more, or lower"),
        (None, 0.13, 0.0, "run the same command again, which may spend $0.1300 once more."),
    ],
)
def test_at_a_cap_it_is_said_which_cap_lets_it_go_on(
    project_usd: float | None, command_usd: float, spent_usd: float, fix: str
) -> None:
    """Each that is in the way with the least that is enough, also right after another cap was reached; a command's cap
    counts anew when it runs again, so one that holds a request needs no raising."""

    async def asked() -> BudgetReached:
        budget = Budget(Cost(usd=spent_usd), project_usd=project_usd, command_usd=command_usd)
        if command_usd == 0.13:
            assert await budget.reserve(0.1, lambda: False)
            budget.settle(0.1, 0.1)
        with pytest.raises(BudgetReached) as reached:
            await budget.reserve(0.12345, lambda: False)
        return reached.value

    assert fix in str(asyncio.run(asked()))


def test_without_a_price_or_a_limit_a_cap_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """Nobody could tell what a request may cost; a sentence says which key is missing."""
    with LoopbackTeacher() as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.capped(project_usd=1.0)
        unknown = {"usd_per_million_prompt_tokens": None}
        (error,) = asyncio.run(spend(teacher.url, store, 1, **unknown))
        assert isinstance(error, SpecError)
        assert "not every price of model 'loopback' is known" in str(error)

        async def unlimited() -> None:
            async with Endpoint(teacher.url, "loopback") as endpoint:
                settings = TeacherSettings.model_validate({"url": teacher.url, "model": "loopback", **PRICES})
                await Ledger(store, endpoint, settings).complete([Message(role="user", content="x")], Sampling())

        with pytest.raises(SpecError, match="no max_tokens"):
            asyncio.run(unlimited())
        assert not teacher.asked
        # What is free needs neither.
        asyncio.run(spend(teacher.url, store, 3, usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0))
        assert len(teacher.asked) == 3


def test_what_a_lost_answer_may_have_cost_stays_reserved(tmp_path: Path) -> None:
    """A gateway that lost the answer: held, told, and counted against the cap of the next run; an error that the
    server itself told of costs nothing. Also without a cap it is told."""
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        with LoopbackTeacher(lambda ask: fails(400)) as teacher:
            asyncio.run(spend(teacher.url, store.capped(project_usd=0.3), 1))
        assert store.spent().total == 0
        with LoopbackTeacher(lambda ask: fails(504)) as teacher:
            ((failed, *_),) = asyncio.run(spend(teacher.url, store.capped(), 1, first=3))
            assert isinstance(failed, FailedSample)
            spent = store.spent()
            assert spent.lost == len(teacher.asked) == 4
            assert spent.reserved > 4 * 20 * 2_000 / 1e6
            assert spent.total is None
        with LoopbackTeacher(lambda ask: says("x")) as teacher:
            (error,) = asyncio.run(spend(teacher.url, store.capped(project_usd=0.3), 1, first=6))
            assert isinstance(error, BudgetReached)
            assert not teacher.asked


def test_an_answer_without_a_count_keeps_its_reserve(tmp_path: Path) -> None:
    """Tokens that nobody counted cost an unknown amount: what was reserved for them is not free again."""
    with (
        LoopbackTeacher(lambda ask: says("x", usage=False)) as teacher,
        Store.open(f"sqlite:///{tmp_path / 's.db'}") as store,
    ):
        asyncio.run(spend(teacher.url, store.capped(project_usd=1.0), 1))
        spent = store.spent()
        assert (spent.unpriced, spent.lost, spent.total) == (1, 1, None)
        assert spent.reserved > 20 * 2_000 / 1e6


KILLED = """
import asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from schemas.store import Store
from tests.synth.test_budget import spend
url, path, cap, prices = sys.argv[1:]
with Store.open(f"sqlite:///{path}") as store:
    asyncio.run(spend(url, store.capped(project_usd=json.loads(cap)), 30, **json.loads(prices)))
"""


def test_the_cap_survives_kill_9(tmp_path: Path) -> None:
    """A process that is killed with requests in flight leaves what they may cost reserved; a run after it spends the
    rest and no more."""
    bill = Bill(7, faults=False)

    def slow(ask: Ask) -> Reply:
        reply = bill(ask)
        return Reply(body=reply.body, delay_s=0.0 if ask.number <= 3 else 30.0 if ask.number <= 9 else 0.0)

    path = tmp_path / "s.db"
    # In a cap of 1.8 there is room for nine of whichever come first; in one of 1.0 the ninth may wait for an answer.
    with LoopbackTeacher(slow) as teacher:
        child = subprocess.Popen([sys.executable, "-c", KILLED, teacher.url, str(path), "1.8", "{}"], cwd=ROOT)
        teacher.wait_for(9)
        child.kill()
        child.wait()
        with Store.open(f"sqlite:///{path}") as store:
            held = store.spent()
            assert held.lost >= 6
            outcomes = asyncio.run(spend(teacher.url, store.capped(project_usd=1.8), 60))
            assert any(isinstance(outcome, BudgetReached) for outcome in outcomes)
            assert bill.usd <= 1.8
            assert store.spent().lost == held.lost


@pytest.mark.parametrize("capped", [True, False])
def test_a_request_that_is_given_up_while_it_connects_costs_nothing(tmp_path: Path, *, capped: bool) -> None:
    """Nothing has gone over the wire, so nothing was sent or lost, and what was set aside for it is free again."""

    async def given_up(store: Store, listening: socket.socket) -> None:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        settings = TeacherSettings.model_validate({"url": url, "model": "loopback", **PRICES})
        async with Endpoint(url, "loopback") as endpoint:
            ledger = Ledger(store, endpoint, settings)
            asking = asyncio.create_task(ledger.complete([Message(role="user", content="x")], LIMITED))
            connected, _ = await asyncio.get_running_loop().sock_accept(listening)  # it waits for the other's TLS
            asking.cancel()
            await asyncio.wait((asking,))
            connected.close()
            assert (ledger.sent, ledger.usage_unknown, ledger.costs) == (0, 0, [])

    with socket.create_server(("127.0.0.1", 0)) as listening, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        listening.setblocking(False)
        asyncio.run(given_up(store.capped(project_usd=1.0 if capped else None), listening))
    with Store.open(f"sqlite:///{tmp_path / 's.db'}", write=False) as store:
        assert (store.spent().lost, store.spent().total) == (0, 0)


@pytest.mark.parametrize("priced", [True, False])
def test_what_is_in_flight_at_a_kill_is_told_without_a_cap(tmp_path: Path, *, priced: bool) -> None:
    """Requests that were on the wire when the process was killed may have been paid for: how many, and where a price is
    known how much at most, is in the store. One mark beside each commit tells it, not a write a request; a run that
    ends in order leaves nothing open."""
    prices = "{}" if priced else orjson.dumps(dict.fromkeys(PRICES)).decode()
    path = tmp_path / "s.db"

    def killed(url: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", KILLED, url, str(path), "null", prices], cwd=ROOT)

    with LoopbackTeacher(lambda ask: Reply(delay_s=0.0 if ask.number <= 12 else 600.0)) as teacher:
        child = killed(teacher.url)
        teacher.wait_for(30)
        while True:
            with Store.open(f"sqlite:///{path}", write=False) as store:
                if store.spent().requests == 12:
                    break
            time.sleep(0.1)
        child.kill()
        child.wait()
    with Store.open(f"sqlite:///{path}", write=False) as store:
        cost = store.spent()
    assert (cost.requests, cost.lost, cost.total) == (12, 18, None)
    assert (cost.reserved > 18 * 20 * 2_000 / 1e6) == priced, "the prompt is reckoned too"
    assert describe_cost(cost).endswith(
        "18 sent without an answer" + (f", at most {dollars(cost.reserved)}" if priced else "")
    )
    with LoopbackTeacher() as teacher:
        assert killed(teacher.url).wait(200) == 0
        assert len(teacher.asked) == 18
    with Store.open(f"sqlite:///{path}", write=False) as store:
        assert (store.spent().requests, store.spent().lost) == (30, 18)


def test_what_is_in_flight_before_anything_is_answered_is_told(tmp_path: Path) -> None:
    """A model thinks for minutes, and until its first answer nothing else is written: all that went out is marked, not
    the first request alone."""
    path = tmp_path / "s.db"
    with LoopbackTeacher(lambda ask: Reply(delay_s=600.0)) as teacher:
        child = subprocess.Popen([sys.executable, "-c", KILLED, teacher.url, str(path), "null", "{}"], cwd=ROOT)
        teacher.wait_for(30)
        for _ in range(600):
            with Store.open(f"sqlite:///{path}", write=False) as store:
                if (lost := store.spent().lost) == 30:
                    break
            time.sleep(0.1)
        child.kill()
        child.wait()
    assert lost == 30


def test_what_was_taken_to_be_free_and_is_charged_counts(tmp_path: Path) -> None:
    """A price of 0 in the spec, and a provider that says what it charged: the next request is under what is left."""
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.4}
    reply = Reply(body=orjson.dumps({"choices": [choice], "usage": usage}))
    free = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}
    with LoopbackTeacher(lambda ask: reply) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        asyncio.run(spend(teacher.url, store.capped(project_usd=0.5), 1, **free))
        assert store.spent().total == pytest.approx(0.4)
        (error,) = asyncio.run(spend(teacher.url, store, 1, first=3))
        assert isinstance(error, BudgetReached)


@pytest.mark.parametrize("price", [0, 1])
def test_a_provider_that_charges_more_than_its_price_is_capped_by_what_it_charges(price: float, tmp_path: Path) -> None:
    """A price of the spec that is too low, or 0: beyond the cap goes at most what was on the wire when it was found."""
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.01}
    reply = Reply(body=orjson.dumps({"choices": [choice] * 3, "usage": usage}))
    prices = dict.fromkeys(PRICES, price)
    with LoopbackTeacher(lambda ask: reply) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        asyncio.run(spend(teacher.url, store.capped(project_usd=1.0), 1, **prices))
        outcomes = asyncio.run(spend(teacher.url, store, 300, first=3, **prices))
        assert any(isinstance(outcome, BudgetReached) for outcome in outcomes)
        assert 0.9 < store.spent().usd <= 1.0 + (0.01 * 64 if price == 0 else 0)


def test_a_cap_of_python_stays_while_its_block_lasts(tmp_path: Path) -> None:
    """Another block on the same store, of a second teacher or a project, replaced it by its own or took it away."""
    path = tmp_path / "s.db"
    with shared(path, max_usd=1.0) as store, shared(path, max_usd=50.0), shared(path):
        assert store.budget is not None
        assert [cap.usd for cap in store.budget.caps] == [1.0, 50.0]
        with shared(path, project_usd=0.001):
            (error,) = asyncio.run(spend("http://127.0.0.1:9", store, 1))
        assert isinstance(error, BudgetReached)
        assert [cap.usd for cap in store.budget.caps] == [1.0, 50.0]
    with shared(path) as store:
        assert store.budget is None


def test_caps_of_threads_that_begin_together_all_count(tmp_path: Path) -> None:
    """Each counted in a budget of its own, of which the store kept one: the others capped nothing."""
    path, together = tmp_path / "s.db", threading.Barrier(8)

    def capped(usd: float) -> int:
        together.wait()
        with shared(path, max_usd=usd) as store:
            together.wait()
            caps = len(store.budget.caps) if store.budget else 0
            together.wait()
        return caps

    with shared(path), ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            assert list(threads.map(capped, range(1, 9))) == [8] * 8


def test_a_number_of_numpy_is_a_cap(tmp_path: Path) -> None:
    """It was refused as none, and as the precision of a certificate too."""
    with shared(tmp_path / "s.db", max_usd=numpy.float64(1.5)) as store:
        assert store.budget is not None
        assert [type(cap.usd) for cap in store.budget.caps] == [float]
    assert type(Numeric(0.9, 0.5, 1.0).check("precision", numpy.float64(0.9))) is float
    assert type(Numeric(20, 2).check("seeds", numpy.int64(5))) is int
    for number in (True, 2.5, 1, "5"):
        with pytest.raises(UsageError):
            Numeric(20, 2).check("seeds", number)


@pytest.mark.parametrize("max_usd", [float("nan"), 0, -1.0, float("inf"), "5", True])
def test_a_cap_that_caps_nothing_is_refused(max_usd: Any, tmp_path: Path) -> None:
    """NaN compares with nothing, so every request passed it."""
    with (
        pytest.raises(UsageError, match="is not a valid cap"),
        open_teacher("http://127.0.0.1:9", "x", store=tmp_path / "s.db", max_usd=max_usd),
    ):
        pass
