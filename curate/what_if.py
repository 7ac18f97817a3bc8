"""What another spec would do to the same rows: counts before and after, and the rows that would change state."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple

from curate.certificate.certifying import present_certificate
from curate.curation import curate
from curate.pool import Pool
from curate.rows import SPLIT, Row, pair_of
from curate.scorers import Score
from curate.scorers.choose import choose
from curate.scorers.remote import RemoteScorers
from curate.split import SPLITS
from curate.states import state_of
from curate.steps import steps_for
from schemas.identity import random_sort_key
from schemas.progress import Progress, reporting, unseen
from schemas.project import Project
from schemas.records import Counts, Pair, Reason, State
from schemas.store import Store

EXAMPLES = 5
_LOWEST = 3
_NOT_ASKED = "not_asked"


class BorderRow(NamedTuple):
    """A row that changes state: its texts, and the reason that keeps it out before or after."""

    pair_id: str
    input: str
    output: str
    why: str


class Move(NamedTuple):
    """Rows that would change from one state to another, with the reason code that keeps them out before or after.

    `examples`, in this order: the three with the lowest and the two with the highest value of what the deciding step
    measures (words, similarity, score), so both its present and its changed bound are among them; five at random where
    it measures nothing.
    """

    before: State
    after: State
    code: str
    rows: int
    examples: tuple[BorderRow, ...]


class WhatIf(NamedTuple):
    """Counts, reasons and accepted rows per split under the present and the changed spec, and the moves, largest
    first."""

    before: Counts
    after: Counts
    reasons_before: dict[str, int]
    reasons_after: dict[str, int]
    moves: tuple[Move, ...]
    splits_before: dict[str, int]
    splits_after: dict[str, int]


async def judge_without_asking(
    project: Project,
    store: Store,
    fingerprints: Sequence[str],
    remote_scorers: RemoteScorers,
    progress: Progress,
) -> Pool:
    """The pool under the steps of a spec. Nothing is stored, and no scorer or judge is called: a row that needs one
    waits as `not_asked`."""
    forward_n, seeds = project.spec.generate.forward.n, store.active_seeds()
    pool = Pool.read(store, fingerprints, forward_n=forward_n, progress=progress)
    judge, served = remote_scorers.as_judge, remote_scorers.as_reward
    async with AsyncExitStack() as stack:
        chosen = await choose(project, seeds, stack, by_http=(judge, served), progress=progress)
    offline = {id(scorer): replace(scorer, score=_not_scored) for scorer in (judge, chosen) if scorer}
    chosen, judge = (offline[id(scorer)] if scorer else None for scorer in (chosen, judge))
    certificate = present_certificate(project, store, fingerprints)
    return await curate(pool, steps_for(project, seeds, chosen, judge, certificate), None, progress)


async def _not_scored(pairs: Sequence[Pair]) -> Sequence[Score]:
    return [Score(None, Reason(_NOT_ASKED, "it has no score yet, and no model is called in a preview"))] * len(pairs)


def compare(before: Pool, after: Pool, progress: Progress = unseen) -> WhatIf:
    """Compare two judgements of the same slots. Only the texts of examples are read."""
    moved: dict[tuple[State, State, str], list[tuple[float, bytes, str, str]]] = {}
    counts: Counter[tuple[State, State, str]] = Counter()
    splits: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    judged = zip(before.outcomes(), before.codes(SPLIT), after.outcomes(), after.codes(SPLIT), strict=True)
    for old, split_before, new, split_after in reporting(judged, progress, "moves", len(before)):
        for into, row, code in ((splits[0], old, split_before), (splits[1], new, split_after)):
            into.update([code if code in SPLITS else "train"] if row.keep else ())
        was, would = state_of(old), state_of(new)
        if was == would:
            continue
        out = new if would != "accepted" else old
        kind = (was, would, out.reason.code if out.reason else "")
        counts[kind] += 1
        id_ = out.candidate.pair_id or ""
        some = moved.setdefault(kind, [])
        insort(some, (_measured(out), random_sort_key(f"what if/{id_}"), id_, str(out.reason or "")))
        if len(some) > EXAMPLES:
            del some[_LOWEST]
    moves = [Move(*kind, rows, tuple(_examples(before, moved[kind]))) for kind, rows in counts.most_common()]
    return WhatIf(before.counts, after.counts, before.reasons, after.reasons, tuple(moves), *map(dict, splits))


def _measured(row: Row) -> float:
    """What the step that keeps the row out measured; 0 if it measures nothing."""
    return next((verdict.score for verdict in row.verdicts if verdict.by == row.step), None) or 0.0


def _examples(pool: Pool, rows: Sequence[tuple[float, bytes, str, str]]) -> Iterator[BorderRow]:
    """The rows with these ids and reasons, with their texts."""
    for row, (*_, why) in zip(pool.rows([row[2] for row in rows], verdicts=False), rows, strict=True):
        pair = pair_of(row)
        yield BorderRow(pair.id, pair.input, pair.output, why)
