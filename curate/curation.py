"""Curation: steps say what they think of the rows of a pool, in turn. That is all of it.

A step only annotates; what is accepted is read off what was said (`Row.keep`). People outrank gates and scores, not
contamination and duplicates. What a step says of single rows is durable in chunks, so a second run asks nothing twice,
a killed one goes on where it stopped, and a step that crashed on a row is asked again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby

from curate.pool import Pool, StepId
from curate.steps import Named, Step, asked, id_of
from schemas.errors import UsageError
from schemas.failpoints import failpoint
from schemas.progress import Progress, unseen
from schemas.records import Verdict
from schemas.store import Store

CHUNK = 256  # verdicts that are made durable at once


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
    first = ids[0]
    sink = store if first.per_row else None
    accepted = first.scores or not first.per_row
    total = max(pool.count_unsettled(id_, accepted=accepted) for id_ in ids)
    shown = "gates" if first.by.startswith("gate/") else first.by.partition("/")[2].partition("@")[0]
    hearings, done = [pool.hear(id_) for id_ in ids], 0
    progress(shown, {"done": 0, "total": total})
    async for chunk in _chunks(_said(pool, steps), ids):
        if strangers := [verdict.pair_id for _, verdict in chunk if verdict.pair_id not in pool]:
            raise UsageError(
                f"{first.by} judged the pair '{strangers[0]}', which is not in the pool.",
                fix="A step may speak only of pairs that the pool gave it: `pool.rows()`, `pool.accepted()`.",
            )
        if sink:
            await sink.put(*(verdict for _, verdict in chunk))
            failpoint("mid_curate")
        for place, verdict in chunk:
            hearings[place].add([verdict], stored=sink is not None)
        done += len({verdict.pair_id for _, verdict in chunk})
        progress(shown, {"done": min(done, total), "total": total})
    for hearing in hearings:
        pool = hearing.over(pool)
    return pool


async def _said(pool: Pool, steps: Sequence[Step]) -> AsyncIterator[tuple[int, Verdict]]:
    gates = [step for step in steps if isinstance(step, Named) and step.gate]
    if len(gates) == len(steps):
        async for place, verdict in asked(pool, gates):
            yield place, verdict
        return
    async for verdict in steps[0](pool):
        yield 0, verdict


async def _chunks(
    verdicts: AsyncIterator[tuple[int, Verdict]], ids: Sequence[StepId]
) -> AsyncIterator[list[tuple[int, Verdict]]]:
    """The verdicts in chunks, each under the name of the step that gave it."""
    chunk: list[tuple[int, Verdict]] = []
    async for place, verdict in verdicts:
        step = ids[place]
        if (verdict.by, verdict.fingerprint) != (step.by, step.settings):
            verdict = verdict.model_copy(update={"by": step.by, "fingerprint": step.settings})
        chunk.append((place, verdict))
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
