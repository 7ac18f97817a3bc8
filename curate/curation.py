"""Curation: steps say what they think of the rows of a pool, in turn. That is all of it.

A step only annotates; what is accepted is read off what was said (`Row.keep`). People outrank gates and scores, not
contamination and duplicates. What a step says of single rows is durable in chunks, so a second run asks nothing twice,
a killed one goes on where it stopped, and a step that crashed on a row is asked again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from curate.gates.processes import JudgedPairs
from curate.pool import Hearing, Pool
from curate.rows import StepId, Unjudged
from curate.steps import Named, Step, asked, id_of
from schemas.errors import UsageError
from schemas.failpoints import failpoint
from schemas.progress import Progress, unseen
from schemas.records import Verdict
from schemas.said import StepName, said_in
from schemas.step_names import By
from schemas.store import Store

CHUNK, WAITS_S = 256, 1.0  # verdicts of a step that are made durable at once, sooner where they come slowly


async def curate(pool: Pool, steps: Sequence[Step], store: Store | None = None, progress: Progress = unseen) -> Pool:
    """The pool after every step has spoken of what the ones before it left.

    With a `store`, verdicts of single rows are kept in it. What sees the whole pool is asked anew each time.

    Raises UsageError for a step that speaks of a pair of another pool, and for two whole-pool steps under one name:
    the second would unsay what the first said.
    """
    if store:
        await store.put(*pool.edited)
    pool = pool.unjudged()
    for gates, run in groupby(steps, lambda step: isinstance(step, Named) and step.gate is not None):
        for group in [list(run)] if gates else [[step] for step in run]:
            pool = await _heard(pool, group, store, progress)
    return pool


async def _heard(pool: Pool, steps: Sequence[Step], store: Store | None, progress: Progress) -> Pool:
    """The pool after a step, or after gates that share one pass over the rows."""
    ids = [id_of(step) for step in steps]
    for at, id_ in enumerate(ids):
        if not id_.per_row and (id_ in pool.steps or id_ in ids[:at]):
            raise UsageError(
                f"two steps are called {id_.by} and have the same settings.",
                why="What the second says would take the place of what the first said.",
                fix="Name each with `curate.steps.named(step, NAME, SETTINGS)`.",
            )
    gates = [step for step in steps if isinstance(step, Named) and step.gate]
    first = ids[0]
    accepted = not gates and (first.scores or not first.per_row)
    pool.know(ids)
    total = max(pool.count_unsettled(id_, accepted=accepted) for id_ in ids)
    shown, done = "gates" if gates else By.read(first.by).name, 0
    hearings = [pool.hear(id_) for id_ in ids]
    progress(shown, {"done": 0, "total": total})
    heard = _of_gates(pool, gates, hearings, store) if gates else _of_step(pool, steps[0], hearings[0], store)
    async for rows in heard:
        done = min(done + rows, total)
        progress(shown, {"done": done, "total": total})
    for hearing in hearings:
        pool = hearing.over(pool)
    return pool


async def _of_gates(
    pool: Pool, gates: Sequence[Named], hearings: Sequence[Hearing], store: Store | None
) -> AsyncIterator[int]:
    """The number of rows of each chunk that gates have judged, which are durable then."""
    names = [gate.id[:2] for gate in gates]
    async for chunk, judged in asked(pool, gates):
        steps = [names[place] for place in judged.places]
        if chunk.known:  # crashed on before: what is said again is not kept again
            judgements = [
                one for id_, body in zip(chunk.ids, judged.bodies, strict=True) for one in said_in(id_, steps, body)
            ]
            new = [verdict for one in judgements if (verdict := one.verdict()) not in chunk.known.get(one.pair_id, ())]
            if store and new:
                await store.put(*new)
            for place, name in zip(judged.places, steps, strict=True):
                of_it = (verdict for verdict in new if (verdict.by, verdict.fingerprint) == name)
                hearings[place].add(of_it, stored=store is not None)
        else:
            if store:
                await store.put_judged(steps, list(zip(chunk.ids, judged.bodies, strict=True)))
            _hear(hearings, chunk, judged, steps, stored=store is not None)
        if store:
            failpoint("mid_curate")
        yield len(chunk.ids) if judged.places[0] == chunk.places[0] else 0


def _hear(
    hearings: Sequence[Hearing], chunk: Unjudged, judged: JudgedPairs, steps: Sequence[StepName], *, stored: bool
) -> None:
    """Tell each step's hearing what gates said of a chunk; `steps` are those of `judged`."""
    if not stored:
        for id_, body in zip(chunk.ids, judged.bodies, strict=True):
            for place, judgement in zip(judged.places, said_in(id_, steps, body), strict=True):
                hearings[place].add([judgement.verdict()])
        return
    opinions = (
        hearings[0].numbers(judged.meanings)[np.array(judged.opinions)].reshape(len(chunk.ids), len(judged.places))
    )
    flags: list[dict[int, tuple[str, ...]]] = [{} for _ in judged.places]
    for row, column, marks in judged.flags:
        flags[column][chunk.slots[row]] = marks
    for column, place in enumerate(judged.places):
        hearings[place].opinions.add_all(chunk.slots, opinions[:, column], flags[column])


async def _of_step(pool: Pool, step: Step, hearing: Hearing, store: Store | None) -> AsyncIterator[int]:
    """The number of verdicts of each chunk that a step has given, which are durable then if they are about one row."""
    id_ = id_of(step)
    sink = store if id_.per_row else None
    async for chunk in _chunks(step(pool), id_, step.at_once if isinstance(step, Named) else 1):
        try:
            hearing.add(chunk, stored=sink is not None)
        except KeyError as stranger:
            raise UsageError(
                f"{id_.by} judged the pair {stranger}, which is not in the pool.",
                fix="A step may speak only of pairs that the pool gave it: `pool.rows()`, `pool.accepted()`.",
            ) from None
        if sink:
            await sink.put(*chunk)
            failpoint("mid_curate")
        yield len(chunk)


async def _one_by_one(given: object) -> AsyncIterator[Any]:
    for one in given if isinstance(given, Iterable) else [given]:
        yield one


async def _chunks(given: object, step: StepId, at_once: int) -> AsyncIterator[list[Verdict]]:
    """The verdicts that a step gives, `at_once` together, as an async generator, a plain one or a list, in chunks, each
    under the name of the step. Raises UsageError for what is no verdict."""
    verdicts = given if isinstance(given, AsyncIterable) else _one_by_one(given)
    chunk: list[Verdict] = []
    since = time.monotonic()
    async for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise UsageError(
                f"the step {step.by} gave {verdict!r:.80}, which is no verdict.",
                fix='A step yields verdicts of rows of the pool: yield row.verdict(False, "why").',
            )
        if (verdict.by, verdict.fingerprint) != (step.by, step.settings):
            verdict = verdict.model_copy(update={"by": step.by, "fingerprint": step.settings})
        chunk.append(verdict)
        if len(chunk) >= CHUNK or (len(chunk) % at_once == 0 and time.monotonic() - since >= WAITS_S):
            yield chunk
            chunk, since = [], time.monotonic()
    if chunk:
        yield chunk
