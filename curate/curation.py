"""Curation: steps say what they think of the rows of a pool, in turn. That is all of it.

A step only annotates; what is accepted is read off what was said (`Row.keep`). People outrank gates and scores, not
contamination and duplicates. What a step says of single rows is durable in chunks, so a second run asks nothing twice,
a killed one goes on where it stopped, and a step that crashed on a row is asked again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from curate.pool import Pool, StepId
from curate.steps import Step, id_of
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
    for step in steps:
        id_ = id_of(step)
        if id_ in pool.steps and not id_.per_row:
            raise UsageError(
                f"two steps are called {id_.by} and have the same settings.",
                why="What the second says would take the place of what the first said.",
                fix="Name each with `curate.steps.named(step, NAME, SETTINGS)`.",
            )
        hearing, done = pool.hear(id_), 0
        sink, total = (
            store if id_.per_row else None,
            pool.count_unsettled(id_, accepted=id_.scores or not id_.per_row),
        )
        shown = "gates" if id_.by.startswith("gate/") else id_.by.partition("/")[2].partition("@")[0]
        progress(shown, {"done": 0, "total": total})
        async for chunk in _chunks(step(pool), id_):
            if strangers := [verdict.pair_id for verdict in chunk if verdict.pair_id not in pool]:
                raise UsageError(
                    f"{id_.by} judged the pair '{strangers[0]}', which is not in the pool.",
                    fix="A step may speak only of pairs that the pool gave it: `pool.rows()`, `pool.accepted()`.",
                )
            if sink:
                await sink.put(*chunk)
                failpoint("mid_curate")
            hearing.add(chunk, stored=sink is not None)
            done += len(chunk)
            progress(shown, {"done": min(done, total), "total": total})
        pool = hearing.pool
    return pool


async def _chunks(verdicts: AsyncIterator[Verdict], step: StepId) -> AsyncIterator[list[Verdict]]:
    """The verdicts in chunks, each under the name of the step that gave it."""
    chunk: list[Verdict] = []
    async for verdict in verdicts:
        if (verdict.by, verdict.fingerprint) != (step.by, step.settings):
            verdict = verdict.model_copy(update={"by": step.by, "fingerprint": step.settings})
        chunk.append(verdict)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
