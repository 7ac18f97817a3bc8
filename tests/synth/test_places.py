"""There are never more places on the way than were given, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from synth.fair_semaphore import FairSemaphore


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_cancelled_no_place_is_lost_and_none_is_given_twice(seed: int) -> None:
    """At most so many are inside at once; after any mixture of ends all places are there again."""
    luck, inside, most = random.Random(seed), 0, 0

    async def main() -> None:
        places = FairSemaphore(3)

        async def enter() -> None:
            nonlocal inside, most
            async with places:
                inside += 1
                most = max(most, inside)
                try:
                    for _ in range(luck.randrange(4)):
                        await asyncio.sleep(0)
                    if luck.random() < 0.2:
                        raise ValueError
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(enter()) for _ in range(60)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if luck.random() < 0.6:
                luck.choice(tasks).cancel()
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


def test_who_waits_longest_is_next() -> None:
    """First come, first served."""
    came: list[int] = []

    async def main() -> None:
        places = FairSemaphore(1)

        async def enter(number: int) -> None:
            async with places:
                await asyncio.sleep(0)
                came.append(number)

        await asyncio.gather(*(enter(number) for number in range(10)))

    asyncio.run(main())
    assert came == list(range(10))
