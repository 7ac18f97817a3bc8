"""Curation: apply steps to a pool one after another.

Steps only add verdicts; whether a row is accepted is derived from them (`Row.keep`). Reviews override gates and scores,
but not contamination and duplicates. Verdicts on single rows are stored in chunks. A second run therefore repeats no
work, a killed run resumes where it stopped, and only rows on which a step crashed are judged again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from curate.gates.processes import JudgedPairs
from curate.pool import Pool, VerdictCollector
from curate.rows import StepId, Unjudged
from curate.steps import NamedStep, Step, id_of, run_gates
from schemas.errors import UsageError
from schemas.failpoints import failpoint
from schemas.gate_verdicts import StepName, decode_verdicts
from schemas.progress import Progress, Say, unseen
from schemas.records import Pair, Verdict
from schemas.step_names import By
from schemas.store import Store

_MANY = 1_000  # rows; a step over fewer ends before anybody could read what it does
CHUNK, MAX_WAIT_S = 256, 1.0  # verdicts of a step per write, and the seconds after which fewer are written


async def curate(pool: Pool, steps: Sequence[Step], store: Store | None = None, progress: Progress = unseen) -> Pool:
    """The pool after every step has judged the rows that the steps before it left.

    With a `store`, verdicts on single rows are stored there. Steps that see the whole pool are run again each time.

    Raises UsageError for a step that judges a pair of another pool, and for two whole-pool steps with the same name and
    settings, since the second would overwrite the verdicts of the first.
    """
    if store:
        await store.put(*pool.edited)
    pool = pool.unjudged()
    for gates, run in groupby(steps, lambda step: isinstance(step, NamedStep) and step.gate is not None):
        for group in [list(run)] if gates else [[step] for step in run]:
            pool = await _apply(pool, group, store, progress)
    return pool


async def _apply(pool: Pool, steps: Sequence[Step], store: Store | None, progress: Progress) -> Pool:
    """Apply one step, or gates that share one pass over the rows."""
    ids = [id_of(step) for step in steps]
    for at, id_ in enumerate(ids):
        if not id_.per_row and (id_ in pool.steps or id_ in ids[:at]):
            raise UsageError(
                f"two steps are called {id_.by} and have the same settings.",
                why="The verdicts of the second would replace those of the first.",
                fix="Give each its own name with `curate.steps.named(step, NAME, SETTINGS)`.",
            )
    gates = [step for step in steps if isinstance(step, NamedStep) and step.gate]
    first = ids[0]
    accepted = not gates and (first.scores or not first.per_row)
    pool.progress = progress
    pool.load_known(ids)
    pool.progress = unseen
    total = max(pool.count_pending(id_, accepted=accepted) for id_ in ids)
    shown, done = "gates" if gates else By.read(first.by).name, 0
    collectors = [pool.collect(id_) for id_ in ids]
    # A step that looks at the whole pool is almost done when its first verdict comes, so its pace forecasts nothing.
    left: dict[str, Any] = {} if first.per_row else {"most_s": None, "message": ""}
    start = {"done": 0, "total": total, **left}
    progress(shown, start)
    if not first.per_row and total >= _MANY:
        pool.progress = _before_the_first_verdict(lambda words: progress(shown, {**start, "message": words}))
    chunk_sizes = (
        _run_gates(pool, gates, collectors, store) if gates else _run_step(pool, steps[0], collectors[0], store)
    )
    async for rows in chunk_sizes:
        done = min(done + rows, total)
        progress(shown, {"done": done, "total": total, **left})
    for collector in collectors:
        pool = pool.including(collector)
    return pool


def _before_the_first_verdict(say: Say) -> Progress:
    """What a step that looks at the whole pool does until its verdicts come, which takes minutes for many rows."""

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        total = f" of {numbers['total']:,}" if "total" in numbers else ""
        say(f"{numbers['done']:,}{total} {stage}")

    return progress


async def _run_gates(
    pool: Pool, gates: Sequence[NamedStep], collectors: Sequence[VerdictCollector], store: Store | None
) -> AsyncIterator[int]:
    """Run gates and yield the number of rows of each judged chunk, once their verdicts are stored."""
    names = [gate.id[:2] for gate in gates]
    async for chunk, judged in run_gates(pool, gates):
        steps = [names[place] for place in judged.places]
        if chunk.known:  # a gate crashed on these before: verdicts that are already stored are not stored again
            judgements = [
                one
                for id_, body in zip(chunk.ids, judged.bodies, strict=True)
                for one in decode_verdicts(id_, steps, body)
            ]
            new = [verdict for one in judgements if (verdict := one.verdict()) not in chunk.known.get(one.pair_id, ())]
            if store and new:
                await store.put(*new)
            for place, name in zip(judged.places, steps, strict=True):
                of_gate = (verdict for verdict in new if (verdict.by, verdict.fingerprint) == name)
                collectors[place].add(of_gate, stored=store is not None)
        else:
            if store:
                await store.put_gate_verdicts(steps, list(zip(chunk.ids, judged.bodies, strict=True)))
            _collect(collectors, chunk, judged, steps, stored=store is not None)
        if store:
            failpoint("mid_curate")
        yield len(chunk.ids) if judged.places[0] == chunk.places[0] else 0


def _collect(
    collectors: Sequence[VerdictCollector],
    chunk: Unjudged,
    judged: JudgedPairs,
    steps: Sequence[StepName],
    *,
    stored: bool,
) -> None:
    """Add the verdicts of a chunk to the collector of each gate; `steps` are the names of the gates in `judged`."""
    if not stored:
        for id_, body in zip(chunk.ids, judged.bodies, strict=True):
            for place, judgement in zip(judged.places, decode_verdicts(id_, steps, body), strict=True):
                collectors[place].add([judgement.verdict()])
        return
    opinions = (
        collectors[0].numbers(judged.meanings)[np.array(judged.opinions)].reshape(len(chunk.ids), len(judged.places))
    )
    flags: list[dict[int, tuple[str, ...]]] = [{} for _ in judged.places]
    for row, column, marks in judged.flags:
        flags[column][chunk.slots[row]] = marks
    for column, place in enumerate(judged.places):
        collectors[place].opinions.add_all(chunk.slots, opinions[:, column], flags[column])


_GATE_OF_ONE = "A function that judges one pair is a gate: curate(pairs, [*gates(function)])."


async def _run_step(pool: Pool, step: Step, collector: VerdictCollector, store: Store | None) -> AsyncIterator[int]:
    """Run a step and yield the number of verdicts of each chunk, once those on single rows are stored."""
    id_ = id_of(step)
    sink = store if id_.per_row else None
    try:
        verdicts = step(pool)
    except AttributeError as error:
        if error.obj is pool and error.name in Pair.model_fields:
            what = f"the step {id_.by} asks the pool for '{error.name}', which a pair has."
            raise UsageError(what, why="A step gets the whole pool.", fix=_GATE_OF_ONE) from None
        raise
    async for chunk in _chunks(verdicts, id_, step.at_once if isinstance(step, NamedStep) else 1):
        try:
            collector.add(chunk, stored=sink is not None)
        except KeyError as unknown_pair:
            raise UsageError(
                f"{id_.by} judged the pair {unknown_pair}, which is not in the pool.",
                fix="A step may only judge pairs of its pool: `pool.rows()`, `pool.accepted()`.",
            ) from None
        if sink:
            await sink.put(*chunk)
            failpoint("mid_curate")
        else:
            await asyncio.sleep(0)  # a step that never waits would keep Ctrl-C from cancelling it
        yield len(chunk)


async def _one_by_one(given: object) -> AsyncIterator[Any]:
    for one in given if isinstance(given, Iterable) else [given]:
        yield one


async def _chunks(given: object, step: StepId, at_once: int) -> AsyncIterator[list[Verdict]]:
    """The verdicts of a step in chunks, under the name of the step.

    The step may return an async generator, a generator or a list, with `at_once` verdicts at a time. Raises UsageError
    for anything that is not a verdict.
    """
    verdicts = given if isinstance(given, AsyncIterable) else _one_by_one(given)
    chunk: list[Verdict] = []
    since = time.monotonic()
    async for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise UsageError(
                f"the step {step.by} returned {verdict!r:.80}, which is not a verdict.",
                fix=f'A step yields verdicts on rows of the pool: yield row.verdict(False, "why"). {_GATE_OF_ONE}',
            )
        if (verdict.by, verdict.fingerprint) != (step.by, step.settings):
            verdict = verdict.model_copy(update={"by": step.by, "fingerprint": step.settings})
        chunk.append(verdict)
        if len(chunk) >= CHUNK or (len(chunk) % at_once == 0 and time.monotonic() - since >= MAX_WAIT_S):
            yield chunk
            chunk, since = [], time.monotonic()
    if chunk:
        yield chunk
