"""Questions in bulk to a teacher that misbehaves at random, in runs that end in any way: nothing is lost, counted twice
or left behind."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from synth.engine import GenerateResult, generate
from synth.ledger import Ledger
from tests.synth.loopback import LoopbackTeacher, Reply, cuts, fails, says
from tests.synth.rig import Rig, input, rig

SEEDS = 100


def random_faults(seed: int) -> Any:
    """About every fourth reply is a fault, drawn with `seed`, after the first connections have been opened."""
    dice = random.Random(seed)
    faults = (
        fails(429),
        fails(429, headers={"Retry-After": "0"}),
        fails(503),
        fails(400, "that is too long"),
        fails(401, "invalid key"),
        Reply(status=403, body=b"<html>"),
        cuts(),
        says(""),
        says("half", finish="length"),
        says("late", delay_s=0.05),
        says("word " * 100_000),
        Reply(body=b"<html>"),
        Reply(
            headers={"Connection": "close"},
            body=b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}',
        ),
    )
    return lambda ask: dice.choice(faults) if ask.number > 20 and dice.random() < 0.25 else Reply()


async def assert_idle(ledger: Ledger) -> None:
    """Nothing is left of a run, as soon as its last tasks have finished."""
    places = 2 * ledger.concurrency
    async with asyncio.timeout(60):
        while ledger.in_flight or ledger.pending or ledger.places._free != places:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not ledger.handed_over
    assert all(wire.on_wire == 0 for wire in ledger.meter._prompt_costs.values())
    assert all(not host.in_flight for host in ledger.endpoint.flow.hosts)


def priced(teacher: LoopbackTeacher, folder: Path, **settings: Any) -> Any:
    """A rig whose teacher has a price."""
    prices = {"usd_per_million_prompt_tokens": 1, "usd_per_million_completion_tokens": 1}
    return rig(teacher.url, folder, n=1, **{"concurrency": 6, "timeout_s": 20, **prices, **settings})


async def run_and_maybe_cancel(r: Rig, dice: random.Random, teacher: LoopbackTeacher, seeds: int) -> None:
    """A run that is cancelled at random, or continues to its end."""
    run = asyncio.create_task(generate(r.store, input(seeds), [r.forward], concurrency=6))
    if dice.random() < 0.6:
        await asyncio.to_thread(teacher.wait_for, len(teacher.asked) + dice.randrange(5, 25))
        run.cancel()
        await asyncio.wait((run,), timeout=60)
        assert run.done()
    else:
        await asyncio.wait_for(run, 60)
    await assert_idle(r.ledger)


@pytest.mark.parametrize("seed", range(6))
def test_random_faults_and_cancellations_leave_nothing_behind(seed: int, tmp_path: Path) -> None:
    """Runs of one ledger, some cancelled at random, and a last one to its end: every slot has one outcome, every place
    and mark is released, every request is counted once, and no error is left unhandled in the loop."""
    loop_errors: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop_errors.append(context))
        dice = random.Random(seed)
        async with priced(teacher, tmp_path) as r:
            for part in (40, 70):
                await run_and_maybe_cancel(r, dice, teacher, part)
            result = await asyncio.wait_for(generate(r.store, input(SEEDS), [r.forward], concurrency=6), 60)
            await assert_idle(r.ledger)
            assert result.rows_in == SEEDS == result.waiting + result.failed
            assert len(r.store.pairs()) == result.waiting
            assert r.ledger.sent == len(teacher.asked)

    with LoopbackTeacher(random_faults(seed), latency_s=0.002) as teacher:
        asyncio.run(main())
    assert not loop_errors


@pytest.mark.parametrize("seed", range(3))
def test_one_of_two_concurrent_runs_may_be_cancelled(seed: int, tmp_path: Path) -> None:
    """The other run, with the same ledger and the same seeds, fills every slot."""

    async def main() -> GenerateResult:
        async with priced(teacher, tmp_path) as r:
            one = asyncio.create_task(generate(r.store, input(2 * SEEDS), [r.forward], concurrency=6))
            other = asyncio.create_task(generate(r.store, input(2 * SEEDS)[::-1], [r.forward], concurrency=6))
            await asyncio.to_thread(teacher.wait_for, 120)
            one.cancel()
            result = await asyncio.wait_for(other, 60)
            await asyncio.wait((one,))
            await assert_idle(r.ledger)
            return result

    with LoopbackTeacher(random_faults(seed), latency_s=0.005) as teacher:
        result = asyncio.run(main())
    assert result.rows_in == 2 * SEEDS


def test_error_in_the_progress_callback_ends_the_run(tmp_path: Path) -> None:
    """An exception in the progress callback ends the run like an error. What was requested is stored."""

    def progress(stage: str, numbers: Any) -> None:
        if numbers["done"] > 30:
            raise OSError("nobody reads this any more")

    async def main() -> None:
        async with priced(teacher, tmp_path) as r:
            run = generate(r.store, input(3000), [r.forward], concurrency=6, progress=progress)
            with pytest.raises(OSError, match="nobody reads"):
                await asyncio.wait_for(run, 60)
            await assert_idle(r.ledger)
            assert len(r.store.pairs()) > 30

    with LoopbackTeacher(latency_s=0.001) as teacher:
        asyncio.run(main())
