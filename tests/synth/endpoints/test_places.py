"""There are never more places in use than allowed, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from synth.endpoints.fair_semaphore import FairSemaphore


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_or_given_twice_under_cancellation(seed: int) -> None:
    """At most three tasks are inside at once. After any mixture of exits, errors and cancellations all places are free
    again."""
    dice, inside, most = random.Random(seed), 0, 0

    async def main() -> None:
        places = FairSemaphore(3)

        async def enter() -> None:
            nonlocal inside, most
            async with places:
                inside += 1
                most = max(most, inside)
                try:
                    for _ in range(dice.randrange(4)):
                        await asyncio.sleep(0)
                    if dice.random() < 0.2:
                        raise ValueError
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(enter()) for _ in range(60)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if dice.random() < 0.6:
                dice.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with contextlib.AsyncExitStack() as all_three:
            for _ in range(3):
                await asyncio.wait_for(all_three.enter_async_context(places), 10)
            fourth = asyncio.create_task(enter())
            await asyncio.sleep(0.01)
            assert not fourth.done()
        await asyncio.wait([fourth])

    asyncio.run(main())
    assert most == 3


def test_longest_waiter_is_next() -> None:
    """First come, first served."""
    order: list[int] = []

    async def main() -> None:
        places = FairSemaphore(1)

        async def enter(number: int) -> None:
            async with places:
                await asyncio.sleep(0)
                order.append(number)

        await asyncio.gather(*(enter(number) for number in range(10)))

    asyncio.run(main())
    assert order == list(range(10))
