"""The steps of curation, each a function of the pool, and the list that a spec means.

    steps = [*map(each, gates), decontaminate(held_out, 0.7), scored(scorer, ...), best(1), duplicates(0.7), split(...)]

Gates, contamination, scores, best of n, duplicates, split: in this order, so that a duplicate's reason names a row that
is accepted, and only what survives the cheap steps is scored.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from curate.duplicates import Contamination, contaminations
from curate.duplicates import duplicates as find_duplicates
from curate.gates import GateStep, gates_for, judge
from curate.pool import DUPLICATE, Pool, Row, StepId
from curate.scorers import Score, Scorer
from curate.scorers.choose import Chosen
from curate.selection import ranked
from curate.split import SPLITS, seed_split, split_of
from schemas.errors import PairsmithError, UsageError
from schemas.project import Project
from schemas.records import Pair, Reason, Seed, Split, Verdict, content_id, identity
from schemas.spec import SplitSettings

Step = Callable[[Pool], AsyncIterator[Verdict]]
"""Looks at a pool and says something of rows of it. Never drops one: a row that a step is silent about is not judged,
and waits. `pool.accepted()` are the rows that the steps before it keep."""

CONTAMINATION, BEST, SPLIT = "pool/contamination@1", "pool/best@1", "pool/split@1"
_SCORED = 256  # rows in one call of a scorer


@dataclass(frozen=True)
class Named:
    """A step that says what its verdicts are called and what shapes them."""

    id: StepId
    look: Step

    def __call__(self, pool: Pool) -> AsyncIterator[Verdict]:
        return self.look(pool)


def named(step: Step, by: str, settings: Any = None, **counts: bool) -> Named:
    """`step` under the name `by` and a hash of `settings` (anything JSON can hold); `counts`: fields of StepId."""
    return Named(StepId(by, content_id("step", [by, settings]), **counts), step)


def id_of(step: Step) -> StepId:
    """What `named` says, else the function's qualified name and the hash of its source: an edit is another step.

    Raises UsageError for what has neither, such as an object, or a function that was typed into a shell.
    """
    if isinstance(step, Named):
        return step.id
    try:
        name = f"{step.__module__}.{step.__qualname__}"
        source = hashlib.sha256(inspect.getsource(step).encode()).hexdigest()[:32]
    except (AttributeError, OSError, TypeError):
        raise UsageError(
            f"a step has no name of its own, or no source that can be read: {step!r}.",
            fix="Name it with `curate.steps.named(step, NAME, SETTINGS)`.",
        ) from None
    return StepId(f"pool/{name}@1", source)


def each(gate: GateStep) -> Named:
    """A gate over every row that it has not judged yet, rejected ones too, so that every reason is counted."""
    id_ = StepId(gate.by, gate.fingerprint, per_row=True)

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for row in pool.unsettled(id_):
            (verdict,) = judge(_pair(row), [gate])
            if verdict not in row.verdicts:
                yield verdict

    return Named(id_, look)


def scored(scorer: Scorer, by: str, settings: str) -> Named:
    """A scorer over the accepted rows that have no score yet. A row that it crashes on waits, alone, and is asked again
    next time; an error that a person can mend (PairsmithError) ends the step.
    """
    id_ = StepId(by, settings, per_row=True, scores=True)

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        rows = pool.unsettled(id_, accepted=True)
        while batch := list(islice(rows, _SCORED)):
            for row, score in zip(batch, await _scores(scorer, [_pair(row) for row in batch]), strict=True):
                keep = None if score.value is None else True
                pair_id = _pair(row).id
                verdict = Verdict(
                    pair_id=pair_id, by=by, fingerprint=settings, keep=keep, score=score.value, reason=score.reason
                )
                if verdict not in row.verdicts:
                    yield verdict

    return Named(id_, look)


async def _scores(scorer: Scorer, pairs: Sequence[Pair]) -> Sequence[Score]:
    """The scores of a batch, a finite number or None for each; if that crashes, of each pair alone."""
    try:
        scores = await scorer(pairs)
        if len(scores) != len(pairs):
            raise ValueError(f"{len(scores)} scores came back for {len(pairs)} pairs")
        if odd := next((s.value for s in scores if s.value is not None and not math.isfinite(s.value)), None):
            raise ValueError(f"a score is {odd}")
        return scores
    except PairsmithError:
        raise
    except Exception as error:  # whatever a scorer raises costs the row it is raised for
        if len(pairs) == 1:
            return [Score(None, Reason("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))]
        return [(await _scores(scorer, [pair]))[0] for pair in pairs]


def decontaminate(held_out: Mapping[str, str], jaccard: float) -> Named:
    """Rejects rows that hold the text of a seed of the test split; `held_out` maps such a seed's id to its text.

    No review outranks it: the proof would be spoilt.
    """

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for met in contaminations((_pair(row) for row in pool.accepted()), held_out, jaccard):
            yield step.verdict(met.pair, met.seed_id is None, met.similarity, _contaminated(met))

    step = _Whole(CONTAMINATION, [sorted(held_out.items()), jaccard], final=True)
    return Named(step.id, look)


def _contaminated(met: Contamination) -> Reason:
    if met.seed_id is None:
        return Reason("clean")
    near = f"its {met.side} text is {met.similarity:.0%} like it"
    return Reason("contamination", f"near-duplicate of test seed {met.seed_id} ({near})")


def best(n: int) -> Named:
    """Keeps the `n` best scores of every input. What people accepted is kept and counts first; a row without a score
    cannot be compared and waits. Where a later step rejects a winner, the next one does not move up.
    """

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for rows in pool.by_input():
            rivals = {_pair(row).id: row for row in rows if row.keep}
            chosen = {id_ for id_, row in rivals.items() if row.by_people}
            order = ranked({id_: row.score for id_, row in rivals.items()}, chosen)
            for rank, id_ in enumerate(order, 1):
                pair, keep, place = _pair(rivals[id_]), rank <= n or id_ in chosen, f"rank {rank} of {len(order)}"
                reason = Reason("accepted", "by a person") if id_ in chosen else Reason("best", place)
                yield step.verdict(pair, keep, None, reason if keep else Reason("outranked", place))
            for id_ in rivals.keys() - set(order):
                yield step.verdict(_pair(rivals[id_]), None, None, Reason("unscored", "it cannot be compared"))

    step = _Whole(BEST, n)
    return Named(step.id, look)


def duplicates(jaccard: float, by_seed: Callable[[str], Split] = lambda seed_id: "train") -> Named:
    """Of rows alike one stays: of the test first (what is trained on may not repeat them), then of validation, then
    what people accepted, then the higher score, then the smaller id. No review outranks it.
    """

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        order = sorted((_preference(row, by_seed), _pair(row).id) for row in pool.accepted())
        rows = pool.rows(id_ for _, id_ in order)
        for pair, of, similarity in find_duplicates((_pair(row) for row in rows), jaccard):
            reason = Reason("duplicate", f"{similarity:.0%} like accepted pair {of.id}") if of else Reason("unique")
            yield step.verdict(pair, of is None, similarity, reason)

    step = _Whole(DUPLICATE, jaccard, final=True)
    return Named(step.id, look)


def _preference(row: Row, by_seed: Callable[[str], Split]) -> tuple[int, bool, float]:
    rank = SPLITS[::-1].index(by_seed(_pair(row).seed_id))
    return rank, not row.by_people, float("inf") if row.score is None else -row.score


def split(settings: SplitSettings, seeds: Sequence[Seed] = ()) -> Named:
    """Names the split of every accepted row, in the code of its reason; by the row's seed (curate/split.py).

    `seeds` tell the splits that their sources name; for a row of any other seed the hash decides.
    """
    by_source = {seed.id: seed_split(seed, settings) for seed in seeds if "use" in seed.meta}

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for row in pool.accepted():
            seed_id = _pair(row).seed_id
            name = by_source.get(seed_id) or split_of(seed_id, settings)
            yield step.verdict(_pair(row), True, None, Reason(name, "split"))

    step = _Whole(SPLIT, [identity(settings), by_source] if by_source else identity(settings), final=True)
    return Named(step.id, look)


def steps_for(project: Project, seeds: Sequence[Seed], chosen: Chosen | None) -> list[Named]:
    """The steps that a spec means; `seeds` are the active ones, `chosen` the scorer, which may be none."""
    spec, curate = project.spec, project.spec.curate
    splits = {seed.id: seed_split(seed, spec.split) for seed in seeds}
    held_out = {seed.id: seed.text for seed in seeds if seed.text and splits[seed.id] == "test"}
    compared = [scored(chosen.score, chosen.by, chosen.fingerprint), best(curate.select.best)] if chosen else []
    return [
        *(each(gate) for gate in gates_for(spec.task, curate.gates, project.folder)),
        decontaminate(held_out, curate.duplicates.jaccard),
        *compared,
        *([duplicates(curate.duplicates.jaccard, splits.__getitem__)] if curate.duplicates.enabled else []),
        split(spec.split, seeds),
    ]


class _Whole:
    """The name under which a step that sees the whole pool speaks."""

    def __init__(self, by: str, settings: Any, *, final: bool = False) -> None:
        self.id = StepId(by, content_id("step", [by, settings]), final=final)

    def verdict(self, pair: Pair, keep: bool | None, score: float | None, reason: Reason) -> Verdict:
        return Verdict(
            pair_id=pair.id, by=self.id.by, fingerprint=self.id.settings, keep=keep, score=score, reason=reason
        )


def _pair(row: Row) -> Pair:
    assert row.pair is not None, "a failed slot is never asked about"
    return row.pair
