"""Batches of earlier runs that nothing is asked of any more, because the prompt, the model or the seeds have changed
since: what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container

from schemas.errors import TeacherError
from schemas.money import dollars
from schemas.progress import Say
from schemas.wording import counted
from synth.batch_api import BatchApi, NotThereError
from synth.batch_holds import BatchHolds
from synth.batch_lines import FORMAT_ERRORS
from synth.chat_completions import one_line
from synth.earlier_batches import EarlierBatches

_MAX_S = 60.0  # a run that is otherwise done waits no longer for a batch that it does not need


def unasked(holds: BatchHolds, earlier: EarlierBatches, asked: Container[str]) -> list[str]:
    """The batches of earlier runs that are not `asked` and whose real cost is unknown. Not those whose requests were
    all submitted again, and no guessed one, which may be another project's."""
    current = set(earlier.batch_of.values()) - earlier.guessed.keys() - earlier.priced
    return [batch for batch in holds.open() if batch in current and batch not in asked]


def describe_unasked(batch: str, holds: BatchHolds) -> str:
    """That a batch is paid for, perhaps in vain."""
    hold = holds.open()[batch]
    cost = "" if hold.usd is None else f" ({dollars(hold.usd)} at most)"
    return (
        f"batch {batch} of an earlier run has {counted(hold.requests, 'request', 'requests')}{cost} that this run does "
        "not ask. They are paid for all the same: if you do not need them, cancel the batch at the provider."
    )


async def settle_unasked(
    opened: Callable[[], Awaitable[tuple[BatchApi, EarlierBatches]]], holds: BatchHolds, asked: Container[str], say: Say
) -> None:
    """Replace the most that these batches may cost by their real cost, if they have ended."""
    try:
        async with asyncio.timeout(_MAX_S):
            api, earlier = await opened()
    except (TimeoutError, TeacherError) as error:
        why = one_line(str(error)) or "no answer in time"
        say(f"The cost of batches of earlier runs could not be read ({why}).")
        return
    for batch in unasked(holds, earlier, asked):
        try:
            async with asyncio.timeout(_MAX_S):
                state = await api.state(batch)
                if not state.ended:
                    say(describe_unasked(batch, holds))
                    continue
                answers = {} if state.failure is not None else (await api.results(state)).answers
        except NotThereError:
            continue  # its cost remains unknown
        except (TimeoutError, TeacherError, *FORMAT_ERRORS) as error:
            why = one_line(str(error) and api.shown(error)) or "no answer in time"
            say(f"batch {batch} of an earlier run: its cost could not be read ({why}).")
            continue
        holds.read(batch, len(earlier.lines[batch]), answers, ())
        await earlier.record_priced(batch)
