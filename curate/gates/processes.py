"""Runs gates on every core, in child processes that judge chunks of pairs, for pools large enough to justify the start.

    async with judging(gates, rows) as (judge_chunk, at_once, size):
        (judged,) = await judge_chunk(pairs[: size()], (0, 2, 5))      # by the gates 0, 2 and 5

A child is a new Python process, never a fork or a spawn of the caller's script: a script needs no `__main__` guard, and
threads of the caller do not matter. A child exits when its standard input is closed, even if the caller was killed.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import pickle
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from curate.gates.folding import CACHE_SIZE
from curate.gates.judgement import Gate, GateStep, Judgement, run_gate_on_all
from schemas.cores import cores
from schemas.errors import PairsmithError
from schemas.gate_verdicts import body_of
from schemas.records import Pair
from synth.embedded.child import child_command, child_environment


class JudgedPairs(NamedTuple):
    """The judgements of some pairs by the gates at `places`.

    `bodies` are stored (`schemas.store.judged`). `opinions` (indexes into `meanings`) and `scores` (NaN for none) have
    the shape [pairs, places]. The few `flags` come with the index of the pair and that of the place.
    """

    places: tuple[int, ...]
    bodies: list[str]
    meanings: list[tuple[bool | None, str]]
    opinions: array[int]
    scores: array[float]
    flags: list[tuple[int, int, tuple[str, ...]]]


JudgeChunk = Callable[[Sequence[Pair | str], Sequence[int]], Coroutine[Any, Any, list[JudgedPairs]]]
"""Judges pairs, or their stored form, by the gates at some places. Gates run in this process give a separate result."""

CHUNK = 128  # pairs per message and per commit, at most
_HERE_S = 0.5  # how long gates in this process should take for a chunk: Ctrl-C and the display wait for it
_PAIRS_IN_A_ROW = CACHE_SIZE // 8  # a gate looks up two texts of a pair, and several forms of them
_CHUNKS_AHEAD = 2  # chunks sent to a child in advance, so that it does not wait for this process
WORTH = 2_000  # rows from which on two processes are faster than none: starting one takes half a second
_LENGTH_BYTES = 4
# Above this limit a pipe is paused, so its end is not seen and waiting for the process never ends.
_MAX_UNREAD_BYTES = 1 << 30
_GC_THRESHOLD = 50_000  # objects after which a child searches for reference cycles; gates create none
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@asynccontextmanager
async def judging(gates: Sequence[GateStep], rows: int) -> AsyncIterator[tuple[JudgeChunk, int, Callable[[], int]]]:
    """Yield a function that judges chunks, how many chunks may be in flight, and the size of the next chunk.

    Children are only started if there are enough `rows`. A gate that cannot be pickled (a user's function, a closure)
    runs in this process. `judge_chunk` raises PairsmithError if a child died; earlier results are kept.
    """
    count, picklable = cores(), [_is_picklable(gate.judge) for gate in gates]
    here_only = _JudgeHere(gates, CHUNK if all(picklable) else 1)
    if rows < WORTH or count < 2 or not any(picklable):
        yield here_only.judge_chunk, 1, here_only.size
        return
    async with AsyncExitStack() as children:
        payload = pickle.dumps(
            [gate if is_picklable else None for gate, is_picklable in zip(gates, picklable, strict=True)]
        )
        started = [await children.enter_async_context(_child()) for _ in range(min(count, rows // CHUNK))]
        free: asyncio.Queue[tuple[asyncio.subprocess.Process, asyncio.Lock]] = asyncio.Queue()
        for child in started:
            _send(child, payload)
        for place in [(child, asyncio.Lock()) for child in started] * _CHUNKS_AHEAD:
            free.put_nowait(place)

        async def judge_chunk(pairs: Sequence[Pair | str], places: Sequence[int]) -> list[JudgedPairs]:
            for_child, here = (tuple(p for p in places if picklable[p] is in_child) for in_child in (True, False))
            judged = await here_only.judge_chunk(pairs, here) if here else []
            if not for_child:
                return judged
            child, in_turn = await free.get()
            try:
                _send(child, pickle.dumps((pairs, for_child)))
                async with in_turn:  # a child answers in the order of its requests
                    return [await _receive(child), *judged]
            finally:
                free.put_nowait((child, in_turn))

        yield judge_chunk, free.qsize() + len(started), here_only.size


class _JudgeHere:
    """Judges chunks in this process. A user's gate may take seconds for a pair, so a chunk is as large as `_HERE_S`
    allows."""

    def __init__(self, gates: Sequence[GateStep], pairs: int) -> None:
        self._gates, self._pairs = gates, pairs

    def size(self) -> int:
        return self._pairs

    async def judge_chunk(self, pairs: Sequence[Pair | str], places: Sequence[int]) -> list[JudgedPairs]:
        began = time.monotonic()
        judged = judge_all(self._gates, pairs, tuple(places))
        in_time = len(pairs) * _HERE_S / max(time.monotonic() - began, 1e-6)
        self._pairs = max(1, min(CHUNK, 4 * len(pairs), int(in_time)))
        return [judged]


def judge_all(gates: Sequence[GateStep], pairs: Sequence[Pair | str], places: tuple[int, ...]) -> JudgedPairs:
    """Return the judgements of the pairs by the gates at `places`."""
    numbers: defaultdict[tuple[bool | None, str], int] = defaultdict(lambda: len(numbers))
    judged = JudgedPairs(places, [], [], array("H"), array("d"), [])
    for number, judgements in enumerate(_judgements([gates[place] for place in places], pairs)):
        judged.bodies.append(body_of(judgements))
        judged.opinions.extend([numbers[keep, reason.code] for keep, _, reason, _ in judgements])
        judged.scores.extend([math.nan if score is None else score for _, score, _, _ in judgements])
        judged.flags.extend([(number, at, one.flags) for at, one in enumerate(judgements) if one.flags])
    judged.meanings.extend(numbers)
    return judged


def _judgements(gates: Sequence[GateStep], pairs: Sequence[Pair | str]) -> Iterator[tuple[Judgement, ...]]:
    """Yield the judgements of all gates for each pair.

    A gate judges several pairs in a row: its patterns stay in the processor's cache, and intermediate results for these
    few texts are still cached when the next gate runs.
    """
    for first in range(0, len(pairs), _PAIRS_IN_A_ROW):
        batch = [
            Pair.model_validate_json(given) if isinstance(given, str) else given
            for given in pairs[first : first + _PAIRS_IN_A_ROW]
        ]
        yield from zip(*(run_gate_on_all(gate, batch) for gate in gates), strict=True)


def _is_picklable(gate: Gate) -> bool:
    function, bound = gate, list[object]()
    while isinstance(function, partial):
        bound += [*function.args, *function.keywords.values()]
        function = function.func
    if not getattr(function, "__module__", "").startswith("curate.gates.") or "<locals>" in getattr(
        function, "__qualname__", "<locals>"
    ):
        return False
    return all(_is_picklable(value) for value in bound if callable(value)) and all(
        _is_picklable(part) for value in bound if isinstance(value, list) for part in value if callable(part)
    )


@asynccontextmanager
async def _child() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *child_command("curate.gates.processes"),
        env=child_environment() | _ONE_THREAD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_UNREAD_BYTES,
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
            f"A process that runs the gates ended with code {code}.",
            why="-9 usually means that the machine ran out of memory. Everything judged before is kept.",
            fix="Run the command again: it judges only the missing rows.",
        ) from None


def main() -> None:
    """The child process: receives the gates, then chunks, and answers each in turn."""
    incoming, outgoing = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # anything else that is printed would corrupt an answer
    gates: Sequence[GateStep] | None = None
    while len(head := incoming.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        message = pickle.loads(incoming.read(int.from_bytes(head, "big")))
        if gates is None:
            gates = message
            gc.set_threshold(_GC_THRESHOLD)
            continue
        answer = pickle.dumps(judge_all(gates, *message))
        left = memoryview(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
        while left:
            left = left[os.write(outgoing, left) :]


if __name__ == "__main__":
    from curate.gates import processes  # import under its own name, so that the caller can unpickle its results

    processes.main()
