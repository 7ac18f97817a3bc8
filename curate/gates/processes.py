"""Gates on every core: child processes that judge chunks of pairs, for pools that are worth their start.

    async with judging(gates, rows) as (judge_chunk, at_once):
        (said,) = await judge_chunk(pairs, (0, 2, 5))      # of the gates 0, 2 and 5

A child is a Python of its own, never a fork or a spawn of the caller's script: a script needs no `__main__` guard, and
threads of the caller do not matter. It ends when its standard input does, so also when the caller is killed.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import pickle
import sys
from array import array
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from curate.gates.folding import REMEMBERED
from curate.gates.judgement import Gate, GateStep, Judgement, safely_all
from schemas.cores import cores
from schemas.errors import PairsmithError
from schemas.records import Pair
from schemas.said import body_of
from synth.embedded.child import child_command, child_environment


class JudgedPairs(NamedTuple):
    """What the gates at `places` said of some pairs. `bodies` are what is kept (`schemas.store.judged`); `opinions` (a
    number of `meanings`) and `scores` (NaN for none) have the shape [pairs, places]; few have `flags`, which stand with
    the number of the pair and that of the place."""

    places: tuple[int, ...]
    bodies: list[str]
    meanings: list[tuple[bool | None, str]]
    opinions: array[int]
    scores: array[float]
    flags: list[tuple[int, int, tuple[str, ...]]]


JudgeChunk = Callable[[Sequence[Pair | str], Sequence[int]], Coroutine[Any, Any, list[JudgedPairs]]]
"""Judges pairs, or what is kept of them, by the gates at some places; those that cannot travel have an answer apart."""

CHUNK = 128  # pairs in one message and in one commit
_IN_A_ROW = REMEMBERED // 8  # a gate asks of a pair for two texts and some forms of them
_AHEAD = 2  # chunks that a child has been sent: it does not wait for this process between two
WORTH = 2_000  # rows from which on two processes are faster than none: starting one takes half a second
_LENGTH_BYTES = 4
_UNREAD_BYTES = 1 << 30  # above it a pipe is not read, so its end is not seen, and to wait for its process is for ever
_GARBAGE = 50_000  # objects after which a child looks for cycles, of which gates make none
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@asynccontextmanager
async def judging(gates: Sequence[GateStep], rows: int) -> AsyncIterator[tuple[JudgeChunk, int]]:
    """How to judge chunks, and how many may be under way; in `rows` lies whether children are worth it.

    A gate that cannot travel (a function of the user's, a closure) is asked in this process. `judge_chunk` raises
    PairsmithError where a child died: what was judged before is kept.
    """
    count, travelling = cores(), [_travels(gate.judge) for gate in gates]
    if rows < WORTH or count < 2 or not any(travelling):
        yield partial(_here, gates), 1
        return
    async with AsyncExitStack() as children:
        load = pickle.dumps([gate if travels else None for gate, travels in zip(gates, travelling, strict=True)])
        started = [await children.enter_async_context(_child()) for _ in range(min(count, rows // CHUNK))]
        free: asyncio.Queue[tuple[asyncio.subprocess.Process, asyncio.Lock]] = asyncio.Queue()
        for child in started:
            _send(child, load)
        for place in [(child, asyncio.Lock()) for child in started] * _AHEAD:
            free.put_nowait(place)

        async def judge_chunk(pairs: Sequence[Pair | str], places: Sequence[int]) -> list[JudgedPairs]:
            away, here = (tuple(p for p in places if travelling[p] is goes) for goes in (True, False))
            judged = [judge_all(gates, pairs, here)] if here else []
            if not away:
                return judged
            child, in_turn = await free.get()
            try:
                _send(child, pickle.dumps((pairs, away)))
                async with in_turn:  # a child answers in the order in which it was asked
                    return [await _receive(child), *judged]
            finally:
                free.put_nowait((child, in_turn))

        yield judge_chunk, free.qsize() + len(started)


async def _here(gates: Sequence[GateStep], pairs: Sequence[Pair | str], places: Sequence[int]) -> list[JudgedPairs]:
    return [judge_all(gates, pairs, tuple(places))]


def judge_all(gates: Sequence[GateStep], pairs: Sequence[Pair | str], places: tuple[int, ...]) -> JudgedPairs:
    """What the gates at `places` say of the pairs."""
    numbers = dict[tuple[bool | None, str], int]()
    judged = JudgedPairs(places, [], [], array("H"), array("d"), [])
    for number, judgements in enumerate(_judgements([gates[place] for place in places], pairs)):
        judged.bodies.append(body_of(judgements))
        for at, (keep, score, reason, flags) in enumerate(judgements):
            judged.opinions.append(numbers.setdefault((keep, reason.code), len(numbers)))
            judged.scores.append(math.nan if score is None else score)
            if flags:
                judged.flags.append((number, at, flags))
    judged.meanings.extend(numbers)
    return judged


def _judgements(gates: Sequence[GateStep], pairs: Sequence[Pair | str]) -> Iterator[tuple[Judgement, ...]]:
    """What each gate says of each pair. A gate is asked about some pairs in a row: its patterns stay in the processor's
    cache, and what gates share of so few texts is still remembered when the next one asks."""
    for first in range(0, len(pairs), _IN_A_ROW):
        some = [
            Pair.model_validate_json(given) if isinstance(given, str) else given
            for given in pairs[first : first + _IN_A_ROW]
        ]
        yield from zip(*(safely_all(gate, some) for gate in gates), strict=True)


def _travels(gate: Gate) -> bool:
    function, bound = gate, list[object]()
    while isinstance(function, partial):
        bound += [*function.args, *function.keywords.values()]
        function = function.func
    if not getattr(function, "__module__", "").startswith("curate.gates.") or "<locals>" in getattr(
        function, "__qualname__", "<locals>"
    ):
        return False
    return all(_travels(value) for value in bound if callable(value)) and all(
        _travels(part) for value in bound if isinstance(value, list) for part in value if callable(part)
    )


@asynccontextmanager
async def _child() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *child_command("curate.gates.processes"),
        env=child_environment() | _ONE_THREAD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_UNREAD_BYTES,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def _send(child: asyncio.subprocess.Process, message: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)


async def _receive(child: asyncio.subprocess.Process) -> JudgedPairs:
    assert child.stdout is not None
    try:
        size = int.from_bytes(await child.stdout.readexactly(_LENGTH_BYTES), "big")
        judged: JudgedPairs = pickle.loads(await child.stdout.readexactly(size))
        return judged
    except asyncio.IncompleteReadError:
        code = await child.wait()
        raise PairsmithError(
            f"A process that asks the gates ended with code {code}.",
            why="-9 is usually a machine without memory. What was judged before is kept.",
            fix="Run the command again: it asks only for what is missing.",
        ) from None


def main() -> None:
    """The child: the gates, then chunks, each answered in turn."""
    incoming, outgoing = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # what else is printed would stand in an answer
    gates: Sequence[GateStep] | None = None
    while len(head := incoming.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        message = pickle.loads(incoming.read(int.from_bytes(head, "big")))
        if gates is None:
            gates = message
            gc.set_threshold(_GARBAGE)
            continue
        answer = pickle.dumps(judge_all(gates, *message))
        left = memoryview(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
        while left:
            left = left[os.write(outgoing, left) :]


if __name__ == "__main__":
    from curate.gates import processes  # under its own name, so that what it sends is known to the caller

    processes.main()
