"""Curate a project: its pool under the spec's steps, and the result for receipts, cards and exports."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from curate.certificate.certifying import current_parts, present_certificate
from curate.curation import curate
from curate.pool import Pool
from curate.preferences import Preference, preferences
from curate.rows import StepId, pair_of
from curate.scorers.choose import EMBEDDED_MODEL, ChosenScorer, EmbeddedModel, choose
from curate.scorers.remote import RemoteScorers
from curate.selection.best import selection_summary
from curate.selection.spread import at_random, farness, row_vectors
from curate.similarity.near_duplicates import duplicates
from curate.split import seed_split
from curate.states import Accepted, AcceptedRows, write_states
from curate.steps import CHOSEN, NOT_CHOSEN, SELECTED, CertificateOf, steps_for
from curate.tallies import tally
from schemas.errors import NoWork, RowCountMismatch
from schemas.progress import Progress, reporting, unseen
from schemas.project import Project
from schemas.records import Artifact, Counts, Json, Pair, Seed, content_id
from schemas.store import Store
from schemas.streamed import Streamed


@dataclass(frozen=True)
class CurateResult:
    """The result of a curation.

    `reasons` counts the codes of rows that are not accepted; it sums to rejected + waiting + failed. Every accepted row
    has a verdict from each of `steps`. `facts["curation"]` names the stored row states. `preferences` are pairs of a
    better and a worse answer to one input. `random_arm` has as many training rows as selection chose, drawn at random
    from the same rows. Accepted rows, preferences and the random arm are read from the store during iteration.
    """

    counts: Counts
    reasons: dict[str, int]
    accepted: Sequence[Accepted]
    steps: tuple[StepId, ...]
    facts: Json = field(default_factory=dict)
    preferences: Sequence[Preference] = ()
    random_arm: Sequence[Pair] = ()


async def curate_project(
    project: Project,
    store: Store,
    *,
    fingerprints: Sequence[str],
    own: EmbeddedModel = EMBEDDED_MODEL,
    remote_scorers: RemoteScorers | None = None,
    progress: Progress = unseen,
) -> CurateResult:
    """Judge the candidates of the generations `fingerprints` and of the active seeds, and store the state of every
    slot.

    `own` is started only if the spec's scorer needs the embedded model; `remote_scorers` are the spec's judges and
    served reward model (`curate.scorers.remote.open_remote_scorers`). Raises NoWork without candidates and
    RowCountMismatch if the counts do not add up.
    """
    pool = Pool.read(store, fingerprints, forward_n=project.spec.generate.forward.n, progress=progress)
    seeds = store.active_seeds()
    if not len(pool):
        raise _nothing_to_curate(store, fingerprints)
    before = store.verdict_count()
    certificate = present_certificate(project, store, fingerprints)
    pool, chosen = await judged(project, pool, seeds, store, own, remote_scorers, certificate, progress)
    if chosen and chosen.fitted:
        await store.put(_reward_model(chosen, project.folder))
    counts = _checked_counts(pool)
    curation = content_id("curation", [fingerprints, [[s.by, s.settings] for s in pool.steps], time.time_ns()])
    by_mark = await write_states(store, pool, curation, progress)
    people = pool.decisions()
    facts = {
        "scopes": list(fingerprints),
        "curation": curation,
        "verdicts_appended": store.verdict_count() - before,
        "steps": tally(pool),
        **by_mark,
        "jaccard": project.spec.curate.duplicates.jaccard,
        **_near_duplicates_across_splits(project, seeds, progress),
        "reviewed": len(people),
        "undecided": sum(decision.verdict == "undecided" for decision in people),
        "judged_by": [[s.by, s.settings, s.scores] for s in pool.steps if s.per_row and not s.by.startswith("gate/")],
        "gates": {s.by: s.settings for s in pool.steps if s.by.startswith("gate/")},
        "shaped_rows": current_parts(project, store, fingerprints, pool.steps),
        "scorer": {"by": chosen.by, "why": chosen.sentence, **chosen.facts} if chosen else None,
    }
    select = project.spec.curate.select
    if chosen and (selection := selection_summary(pool, select.best, length_control=select.length_control)):
        facts["selection"] = selection
    if remote_scorers and remote_scorers.judge:
        # Includes rows of earlier runs, which are not judged again and which this run's judge did not count.
        facts["judge"] = remote_scorers.judge.facts | {"unreadable": pool.reasons.get("unreadable", 0)}
    arm, facts["choice"] = _random_arm(project, pool)
    preferred = preferences(project, pool, seeds)
    return CurateResult(counts, pool.reasons, AcceptedRows(pool), pool.steps, facts, preferred, arm)


async def judged(
    project: Project,
    pool: Pool,
    seeds: Sequence[Seed],
    store: Store | None,
    embedded: EmbeddedModel = EMBEDDED_MODEL,
    remote_scorers: RemoteScorers | None = None,
    certificate: CertificateOf | None = None,
    progress: Progress = unseen,
) -> tuple[Pool, ChosenScorer | None]:
    """The pool under the steps of the spec, and the scorer. Verdicts on single rows are stored if there is a `store`;
    `certificate` finds the rows of the present certificate."""
    judge, served = (remote_scorers.as_judge, remote_scorers.as_reward) if remote_scorers else (None, None)
    assert (judge is not None) == bool(project.spec.curate.judge.teachers), "the judge of the spec must be opened"
    assert (served is not None) == (project.spec.curate.score.teacher is not None), (
        "the served scorer of the spec must be opened"
    )
    async with AsyncExitStack() as stack:
        chosen = await choose(project, seeds, stack, embedded, by_http=(judge, served), progress=progress)
        return await curate(pool, steps_for(project, seeds, chosen, judge, certificate), store, progress), chosen


class PairsOf(Streamed[Pair]):
    """The pairs with these ids, read from the pool during iteration."""

    def __init__(self, pool: Pool, ids: Sequence[str]) -> None:
        self._pool, self._ids = pool, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Pair]:
        return map(pair_of, self._pool.rows(self._ids, verdicts=False))


def _random_arm(project: Project, pool: Pool) -> tuple[Sequence[Pair], Json | None]:
    """A random arm of the size of the selection, and how well each of the two covers the rows (see
    `curate.selection.spread`). Empty if selection left no row out.
    """
    if project.spec.curate.select.rows is None:
        return (), None
    judged = zip(pool.pair_ids(range(len(pool))), pool.codes(SELECTED), strict=True)
    codes = {id_: code for id_, code in judged if code in (CHOSEN, NOT_CHOSEN)}
    ids, chosen = list(codes), [id_ for id_, code in codes.items() if code == CHOSEN]
    if len(chosen) == len(ids):
        return (), None
    random, place = at_random(ids, "random arm")[: len(chosen)], {id_: at for at, id_ in enumerate(ids)}
    vectors = row_vectors(pool, ids)
    distances = {
        name: farness(vectors, [place[id_] for id_ in arm]) for name, arm in (("chosen", chosen), ("random", random))
    }
    facts = {"of": len(ids), "rows": len(chosen), "spread": project.spec.curate.select.spread, "farness": distances}
    return PairsOf(pool, random), facts


def _nothing_to_curate(store: Store, fingerprints: Sequence[str]) -> NoWork:
    """The error that says what is missing: any generation, active seeds, or candidates of the spec as it is now."""
    if next(store.each_candidate(), None) is None:
        return NoWork("there are no candidates to curate: nothing has been generated.", fix="Run `pairsmith generate`.")
    if any(next(store.each_candidate(fingerprint), None) for fingerprint in fingerprints):
        return NoWork(
            "there are no candidates to curate: none of those in the store belongs to an active seed.",
            why="Only candidates of the seeds that were last read are curated.",
            fix="Run `pairsmith generate`, which reads the seeds (in Python: store.set_active_seeds(seeds)).",
        )
    return NoWork(
        "there are no candidates to curate: those in the store were generated under other settings.",
        why="The style, the exemplars, a prompt, the sampling or the teacher has changed since.",
        fix="Run `pairsmith generate`, or undo the change; what was generated before stays in the store.",
    )


def _checked_counts(pool: Pool) -> Counts:
    counts = pool.counts
    if not counts.adds_up or sum(pool.reasons.values()) != counts.rows_in - counts.accepted:
        raise RowCountMismatch(
            f"{counts.rows_in} rows came in, but {counts.accepted} accepted + {counts.rejected} rejected + "
            f"{counts.waiting} waiting + {counts.failed} failed is a different number.",
            fix="This is a defect of pairsmith; the store is intact.",
        )
    return counts


def _near_duplicates_across_splits(project: Project, seeds: Sequence[Seed], progress: Progress) -> Json:
    """Seeds in another split than the first seed that they are near-duplicates of: their number, and the first hundred
    with that seed. They are reported, because the split is by hash and cannot avoid them.

    Pairs of seeds would be too many: ten thousand messages with one text have fifty million.
    """
    texts = ((seed.body,) for seed in reporting(seeds, progress, "seeds", len(seeds)))
    of = duplicates(texts, project.spec.curate.duplicates.jaccard, progress)
    numbers = {number for pair in of.values() for number in pair[:2]}
    places = {
        number: (seed.id, seed.source, seed_split(seed, project.spec.split))
        for number, seed in enumerate(seeds if numbers else ())
        if number in numbers
    }
    apart = [one for _, one in sorted(of.items()) if places[one.earlier][2] != places[one.later][2]]
    listed: list[Json] = []
    for later, earlier, similarity in apart[:_LISTED]:
        ids, sources, splits = map(list, zip(places[earlier], places[later], strict=True))
        listed.append({"seeds": ids, "sources": sources, "splits": splits, "jaccard": round(similarity, 3)})
    return {"near_duplicate_seeds": listed, "near_duplicate_seed_count": len(apart)}


_LISTED = 100  # near-duplicate seeds in a receipt, which every command reads


def _reward_model(chosen: ChosenScorer, folder: Path) -> Artifact:
    assert chosen.fitted is not None
    return Artifact(
        id=content_id("artifact", ["reward_model", chosen.facts["identity"]]),
        kind="reward_model",
        path=chosen.fitted.folder.relative_to(folder).as_posix(),
        facts=chosen.facts,
    )
