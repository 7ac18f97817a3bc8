"""A spending cap holds: whatever the costs, with 64 requests in flight, through faults, restarts and `kill -9`."""

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
from synth.chat.completions import StoppedError
from synth.endpoints.endpoint import Endpoint
from synth.ledger import FailedSample, Ledger, Question
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
            return cuts()  # the answer was generated, so it is charged
        if fault < 0.16:
            return fails(504)
        choices = [{"message": {"content": f"{ask.prompt} {i}"}, "finish_reason": "stop"} for i in range(ask.n)]
        usage = {"prompt_tokens": read, "completion_tokens": written}
        return Reply(body=orjson.dumps({"choices": choices, "usage": usage}), delay_s=self._chance.random() / 500)


async def spend(
    url: str, store: Store, questions: int, *, first: int = 0, sampling: Any = None, **teacher: Any
) -> list[BaseException | Any]:
    """Ask `questions` questions at once, with at most 64 requests in flight. The first failure that ends a run drains
    it."""
    settings = TeacherSettings.model_validate(
        {"url": url, "model": "loopback", "concurrency": 64, "retries": 3, **PRICES, **teacher}
    )
    async with Endpoint(url, "loopback", retries=3, concurrency=64, backoff_s=0.001) as endpoint:
        ledger = Ledger(store, endpoint, settings)

        async def one(number: int) -> Any:
            try:
                chat = [Message(role="user", content=f"question {number}")]
                return await ledger.answer(Question(chat, sampling or LIMITED), 1 + number % 3)
            except BudgetReached:
                ledger.drain()
                raise

        return await asyncio.gather(
            *(one(number) for number in range(first, first + questions)), return_exceptions=True
        )


@pytest.mark.slow
@pytest.mark.parametrize("faults", [False, True])
def test_64_in_flight_never_spend_more_than_the_cap(tmp_path: Path, faults: bool) -> None:
    """In 100 runs with random costs neither the teacher's bill nor the ledger's sum exceeds the cap. The cap is also
    used up: without faults the rest is less than the most expensive request may cost. Prompts are cheap in every other
    run, so that the amount reserved for them does not hide what one or several answers may cost."""
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
            # What is spent counts in the next run, which knows it only from the ledger.
            again = asyncio.run(spend(teacher.url, store.capped(project_usd=cap), 90, **price))
            assert bill.usd <= cap
            assert len(again) == 90


def test_command_has_its_own_cap(tmp_path: Path) -> None:
    """`--max-usd` counts from the start of the command, and the project's cap counts everything. The tighter one
    stops."""
    bill = Bill(1, faults=False)
    with LoopbackTeacher(bill) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        for number, command_usd in ((1, 0.5), (2, 0.5), (3, 5.0)):
            name, before = "--max-usd" if number < 3 else "budget.max_usd", bill.usd
            store.capped(project_usd=1.2, command_usd=command_usd)
            outcomes = asyncio.run(spend(teacher.url, store, 40 * number))
            stops = [error for error in outcomes if isinstance(error, BudgetReached)]
            assert {stop.where for stop in stops} == {name}
            assert stops[0].exit_code == 12
            assert bill.usd <= (0.5 * number if number < 3 else 1.2)
            assert number == 3 or bill.usd > before + 0.2, "a request costs at most 0.14"
        assert "continue" in (stops[0].fix or "")


def test_cap_below_one_request_is_an_error(tmp_path: Path) -> None:
    """Nothing is sent, and the message says that the budget does not cover one request."""
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
def test_reached_cap_says_how_far_to_raise_which_caps(
    project_usd: float | None, command_usd: float, spent_usd: float, fix: str
) -> None:
    """The message names each cap that blocks the request, with the smallest sufficient amount, also right after another
    cap was reached. A command's cap starts anew with each run, so one that covers the request needs no raising."""

    async def asked() -> BudgetReached:
        budget = Budget(Cost(usd=spent_usd), project_usd=project_usd, command_usd=command_usd)
        if command_usd == 0.13:
            assert await budget.reserve(0.1, lambda: False)
            budget.settle(0.1, 0.1)
        with pytest.raises(BudgetReached) as reached:
            await budget.reserve(0.12345, lambda: False)
        return reached.value

    assert fix in str(asyncio.run(asked()))


def test_reached_cap_counts_what_smaller_requests_still_spend() -> None:
    """If the next request does not fit, a smaller one may still be sent before the run ends. The error counts its cost:
    the amounts are those of `status`, and the advised cap is enough."""

    async def asked() -> BudgetReached:
        budget = Budget(Cost(), project_usd=1.0)
        assert await budget.reserve(0.9, lambda: False)
        large = asyncio.create_task(budget.reserve(0.5, lambda: False))
        small = asyncio.create_task(budget.reserve(0.2, lambda: False))
        await asyncio.sleep(0)
        budget.settle(0.9, 0.6)
        assert await small
        budget.settle(0.2, 0.1)
        with pytest.raises(BudgetReached) as reached:
            await large
        return reached.value

    message = str(asyncio.run(asked()))
    assert "$0.7000 is spent" in message
    assert "raise budget.max_usd to $1.20 or more" in message


def test_without_a_price_or_a_limit_a_cap_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """The possible cost of a request would be unknown. The message says which key is missing."""
    with LoopbackTeacher() as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.capped(project_usd=1.0)
        unknown = {"usd_per_million_prompt_tokens": None}
        (error,) = asyncio.run(spend(teacher.url, store, 1, **unknown))
        assert isinstance(error, SpecError)
        assert "not every price of model 'loopback' is known" in str(error)

        async def unlimited() -> None:
            async with Endpoint(teacher.url, "loopback") as endpoint:
                settings = TeacherSettings.model_validate({"url": teacher.url, "model": "loopback", **PRICES})
                await Ledger(store, endpoint, settings).answer(
                    Question([Message(role="user", content="x")], Sampling())
                )

        with pytest.raises(SpecError, match="no max_tokens"):
            asyncio.run(unlimited())
        assert not teacher.asked
        # Free requests need neither.
        asyncio.run(spend(teacher.url, store, 3, usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0))
        assert len(teacher.asked) == 3


def test_possible_cost_of_a_lost_answer_stays_reserved(tmp_path: Path) -> None:
    """If a gateway lost the answer, its possible cost is reserved, reported, and counted against the cap of the next
    run. An error that the server itself reports costs nothing. Without a cap it is reported as well."""
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


def test_answer_without_token_counts_keeps_its_reservation(tmp_path: Path) -> None:
    """Tokens that were not counted cost an unknown amount, so the amount reserved for them is not released."""
    with (
        LoopbackTeacher(lambda ask: says("x", usage=False)) as teacher,
        Store.open(f"sqlite:///{tmp_path / 's.db'}") as store,
    ):
        asyncio.run(spend(teacher.url, store.capped(project_usd=1.0), 1))
        spent = store.spent()
        assert (spent.unpriced, spent.lost, spent.total) == (1, 1, None)
        assert spent.reserved > 20 * 2_000 / 1e6


SPENDING_SCRIPT = """
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
    """If a process is killed with requests in flight, what they may cost stays reserved. The next run spends the rest
    and no more."""
    bill = Bill(7, faults=False)

    def slow(ask: Ask) -> Reply:
        reply = bill(ask)
        return Reply(body=reply.body, delay_s=0.0 if ask.number <= 3 else 30.0 if ask.number <= 9 else 0.0)

    path = tmp_path / "s.db"
    # A cap of 1.8 has room for any nine requests. With a cap of 1.0 the ninth might have to wait for an answer.
    with LoopbackTeacher(slow) as teacher:
        child = subprocess.Popen([sys.executable, "-c", SPENDING_SCRIPT, teacher.url, str(path), "1.8", "{}"], cwd=ROOT)
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
def test_request_cancelled_while_connecting_costs_nothing(tmp_path: Path, *, capped: bool) -> None:
    """Nothing was transmitted, so nothing was sent or lost, and the amount reserved for it is released."""

    async def given_up(store: Store, listening: socket.socket) -> None:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        settings = TeacherSettings.model_validate({"url": url, "model": "loopback", **PRICES})
        async with Endpoint(url, "loopback") as endpoint:
            ledger = Ledger(store, endpoint, settings)
            asking = asyncio.create_task(ledger.answer(Question([Message(role="user", content="x")], LIMITED)))
            connected, _ = await asyncio.get_running_loop().sock_accept(
                listening
            )  # it waits for the server's TLS handshake
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
def test_requests_in_flight_at_a_kill_are_reported_without_a_cap(tmp_path: Path, *, priced: bool) -> None:
    """Requests in flight when the process was killed may have been paid for. The store has their number and, if the
    price is known, the most they may cost. This takes one mark per commit, not a write per request, and a run that ends
    in order leaves nothing open."""
    prices = "{}" if priced else orjson.dumps(dict.fromkeys(PRICES)).decode()
    path = tmp_path / "s.db"

    def killed(url: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SPENDING_SCRIPT, url, str(path), "null", prices], cwd=ROOT)

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
    assert (cost.reserved > 18 * 20 * 2_000 / 1e6) == priced, "the prompt is included"
    assert describe_cost(cost).endswith(
        "18 sent without an answer" + (f" for at most {dollars(cost.reserved)} more" if priced else "")
    )
    with LoopbackTeacher() as teacher:
        assert killed(teacher.url).wait(200) == 0
        assert len(teacher.asked) == 18
    with Store.open(f"sqlite:///{path}", write=False) as store:
        assert (store.spent().requests, store.spent().lost) == (30, 18)


def test_requests_in_flight_before_the_first_answer_are_reported(tmp_path: Path) -> None:
    """A model may think for minutes, and until its first answer nothing else is written. All requests that were sent
    are marked, not only the first one; there are few until an answer is usable."""
    path = tmp_path / "s.db"
    with LoopbackTeacher(lambda ask: Reply(delay_s=600.0)) as teacher:
        child = subprocess.Popen(
            [sys.executable, "-c", SPENDING_SCRIPT, teacher.url, str(path), "null", "{}"], cwd=ROOT
        )
        teacher.wait_for(5)
        for _ in range(600):
            with Store.open(f"sqlite:///{path}", write=False) as store:
                if (lost := store.spent().lost) == 5:
                    break
            time.sleep(0.1)
        child.kill()
        child.wait()
    assert lost == 5


def test_charges_of_a_free_teacher_count(tmp_path: Path) -> None:
    """If the spec's price is 0 but the provider reports a charge, the next request is checked against what is left."""
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
def test_provider_charging_above_its_price_is_capped_by_its_charges(price: float, tmp_path: Path) -> None:
    """If the spec's price is too low, or 0, the cap is exceeded at most by the requests in flight when this is
    noticed."""
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.01}
    reply = Reply(body=orjson.dumps({"choices": [choice] * 3, "usage": usage}))
    prices = dict.fromkeys(PRICES, price)
    with LoopbackTeacher(lambda ask: reply) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        asyncio.run(spend(teacher.url, store.capped(project_usd=1.0), 1, **prices))
        outcomes = asyncio.run(spend(teacher.url, store, 300, first=3, **prices))
        assert any(isinstance(outcome, BudgetReached) for outcome in outcomes)
        assert 0.9 < store.spent().usd <= 1.0 + (0.01 * 64 if price == 0 else 0)


def test_another_run_knows_what_a_request_has_cost_beyond_its_reservation(tmp_path: Path) -> None:
    """A server that ignores `max_tokens` charges 0.5 where a fifth to a third of that is reserved. The next command has
    room for one such request and sends one; it used to send several and to exceed its cap."""
    usage = {"prompt_tokens": 0, "completion_tokens": 50, "total_tokens": 50, "prompt_tokens_details": {}}
    answer = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": usage | {"cost": 0.5}}

    def overcharging(ask: Ask) -> Reply:
        return Reply(body=orjson.dumps(answer | {"choices": answer["choices"] * ask.n}), delay_s=0.05)

    with LoopbackTeacher(overcharging) as teacher:
        for number, cap in enumerate((0.6, 1.2)):
            with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
                outcomes = asyncio.run(
                    spend(teacher.url, store.capped(project_usd=cap), 1 + 4 * number, first=3 * number)
                )
                assert store.spent().usd <= cap
        assert any(isinstance(outcome, BudgetReached) for outcome in outcomes)


def test_a_request_for_which_nothing_was_reserved_is_not_dearer_than_expected(tmp_path: Path) -> None:
    """Without a cap and a limit of tokens nothing is reserved, so an expensive request of an earlier command says
    nothing about reservations: a later one with cheap requests uses up its cap, up to the most that one may cost."""
    costs = [0.5, *[0.05] * 20]

    def answer(ask: Ask) -> Reply:
        choice = {"message": {"content": "yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20, "cost": costs.pop(0)}
        return Reply(body=orjson.dumps({"choices": [choice] * ask.n, "usage": usage}))

    with LoopbackTeacher(answer) as teacher:
        with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
            asyncio.run(spend(teacher.url, store, 1, sampling=Sampling(max_tokens=None)))
        with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
            asyncio.run(spend(teacher.url, store.capped(project_usd=1.0), 9, first=3))
            assert 0.7 < store.spent().usd <= 1.0


@pytest.mark.parametrize(("headers", "usd"), [({}, 0.3), ({"x-litellm-cache-key": "k"}, 0.0)])
def test_reported_charge_of_nothing_does_not_replace_the_price_of_the_spec(
    headers: dict[str, str], usd: float, tmp_path: Path
) -> None:
    """A gateway that knows no price for its model reports a cost of 0, and a cap counted nothing. The 0 of an answer
    from LiteLLM's cache is real."""
    usage = {"prompt_tokens": 100, "completion_tokens": 100, **({} if headers else {"cost": 0})}
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    headers = headers and {**headers, "x-litellm-response-cost": "0.0"}
    reply = Reply(body=orjson.dumps({"choices": [choice], "usage": usage}), headers=headers)
    prices = dict.fromkeys(PRICES, 1500.0)
    with LoopbackTeacher(lambda ask: reply) as teacher, Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        asyncio.run(spend(teacher.url, store.capped(project_usd=20.0), 1, **prices))
        assert store.spent().total == pytest.approx(usd)


def test_cap_set_in_python_holds_until_its_block_ends(tmp_path: Path) -> None:
    """Another block on the same store, of a second teacher or a project, used to replace the cap with its own or remove
    it."""
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


def test_caps_of_concurrent_threads_all_count(tmp_path: Path) -> None:
    """Each thread used to have a budget of its own, of which the store kept one, so that the other caps had no
    effect."""
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


def test_numpy_number_is_a_valid_cap(tmp_path: Path) -> None:
    """It used to be rejected, also as the precision of a certificate."""
    with shared(tmp_path / "s.db", max_usd=numpy.float64(1.5)) as store:
        assert store.budget is not None
        assert [type(cap.usd) for cap in store.budget.caps] == [float]
    assert type(Numeric(0.9, 0.5, 1.0).check("precision", numpy.float64(0.9))) is float
    assert type(Numeric(20, 2).check("seeds", numpy.int64(5))) is int
    for number in (True, 2.5, 1, "5"):
        with pytest.raises(UsageError):
            Numeric(20, 2).check("seeds", number)


@pytest.mark.parametrize("max_usd", [float("nan"), 0, -1.0, float("inf"), "5", True])
def test_invalid_cap_is_refused(max_usd: Any, tmp_path: Path) -> None:
    """For example, every comparison with NaN is false, so every request passed such a cap."""
    with (
        pytest.raises(UsageError, match="is not a valid cap"),
        open_teacher("http://127.0.0.1:9", "x", store=tmp_path / "s.db", max_usd=max_usd),
    ):
        pass


def test_answer_of_a_batch_that_costs_too_much_makes_requests_dearer() -> None:
    """If an answer costs more than was reserved for it, each request in flight counts as much as that one, also if the
    answer came from a batch: the next may cost as much."""

    async def reserved_requests() -> list[bool]:
        budget = Budget(Cost(), project_usd=1.0)
        budget.charge(0.4, reserved=0.1)
        return [await budget.reserve(0.1, lambda: True) for _ in range(2)]

    assert asyncio.run(reserved_requests()) == [True, False]


def test_correction_of_a_batch_counts_only_for_the_command_that_submitted_it() -> None:
    """A batch turns out to cost more than was held for it. That counts under the cap of its own command, and not under
    that of a later one."""

    async def reserved_requests() -> list[bool]:
        budget = Budget(Cost(), command_usd=1.0)
        assert await budget.hold_first("own", [0.4], lambda: True) == 1
        budget.correct("earlier", 5.0)
        first = await budget.reserve(0.5, lambda: True)
        budget.correct("own", 0.2)
        return [first, await budget.reserve(0.05, lambda: True)]

    assert asyncio.run(reserved_requests()) == [True, False]
