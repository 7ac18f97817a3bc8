"""The curation stage: candidates in; accepted, rejected, waiting and failed rows out, each with its reasons in the
store.

Steps only annotate: each appends verdicts where none stand yet for its name and scope, so a second run appends
nothing and a killed run goes on where it stopped. What is accepted is then read off the verdicts. A person's review
outranks gates and scores; it does not outrank duplicates and leaks, which are about other rows than the one that
was reviewed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from curate.duplicates import duplicates, leaks, twins
from curate.gates import GateStep, gates_for, judge
from curate.review.decision import Decision, decide, edited_pair
from curate.scorers.choose import Chosen, Progress, Serve, choose
from curate.selection import best
from curate.split import PARTS, Part, part_of
from schemas.errors import NoWork, RowCountMismatch
from schemas.failpoints import failpoint
from schemas.records import (
    Artifact,
    Candidate,
    Counts,
    Json,
    Pair,
    Review,
    Seed,
    Verdict,
    content_id,
    identity,
)
from schemas.spec_file import Project
from schemas.store import Store
from synth.embedded.process import embedded
from synth.embedded.weights import Weights, embedded_weights

SPLIT = "pool/split@1"
_CHUNK = 64  # rows whose gates are asked before the verdicts are made durable
_SCORED = 256  # rows scored before the scores are made durable


class Step(NamedTuple):
    """A step that the spec lists: the name and scope of its verdicts."""

    by: str
    fingerprint: str


@dataclass(frozen=True)
class Accepted:
    """A row that left the stage: its pair (corrected, if a person did), its split, and every verdict that let it."""

    pair: Pair
    part: Part
    score: float | None
    verdicts: tuple[Verdict, ...]
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True)
class CurateResult:
    """`reasons` counts the first word of why rows are not accepted; its sum is rejected + waiting + failed. `steps`
    are those that every accepted row has a verdict from."""

    counts: Counts
    reasons: dict[str, int]
    accepted: tuple[Accepted, ...]
    steps: tuple[Step, ...]
    facts: Json = field(default_factory=dict)


class _Row(NamedTuple):
    """A place in the pool with the pair that stands there now. `decision` is people's, if there is one."""

    pair: Pair
    decision: Decision | None

    @property
    def accepted(self) -> bool:
        """By people: as it was, or with the text they gave it."""
        return self.decision is not None and self.decision.verdict in ("accept", "edit")

    reviews: tuple[Review, ...]


async def curate(
    project: Project,
    store: Store,
    *,
    fingerprints: Sequence[str],
    weights: Callable[[], Weights] = embedded_weights,
    serve: Serve = embedded,
    progress: Progress | None = None,
) -> CurateResult:
    """Judge the candidates of the generation scopes `scopes` and of the seeds that are active now.

    `weights` (the embedded model's) and `serve` (which starts it) are called only if the spec's scorer needs the
    embedded model. Raises NoWork without a candidate and RowCountMismatch if a row got lost.
    """
    seeds = {seed.id: seed for seed in store.seeds()}
    places = [c for fingerprint in fingerprints for c in store.candidates(fingerprint) if c.seed_id in seeds]
    if not places:
        raise NoWork(
            "there are no candidates to curate.",
            why="The pool of the present spec is empty.",
            fix="Run `pairsmith generate` first.",
        )
    work = _Work(project, store, progress)
    rows = await work.rows(places)
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder)
    await work.judge(list(rows.values()), gates)
    steps = [Step(gate.by, gate.fingerprint) for gate in gates]

    parts: dict[str, Part] = {id_: part_of(seed, project.spec.split) for id_, seed in seeds.items()}
    pool = _preferred([row for row in rows.values() if work.passes(row, steps)], parts)
    held_out = {id_: seed.text for id_, seed in seeds.items() if seed.text and parts[id_] == "test"}
    settings = project.spec.curate
    pool = await work.narrow(pool, steps, leaks([r.pair for r in pool], held_out, settings.duplicates.jaccard))
    if settings.duplicates.enabled:
        pool = await work.narrow(pool, steps, duplicates([r.pair for r in pool], settings.duplicates.jaccard))

    scores: dict[str, float | None] = {}
    async with AsyncExitStack() as opened:
        chosen = await choose(
            project, list(seeds.values()), weights=weights, serve=serve, opened=opened, progress=progress
        )
        if chosen:
            scores = await work.score([row.pair for row in pool], chosen)
    if chosen:
        steps.append(Step(chosen.by, chosen.fingerprint))
        by_people = {row.pair.id for row in pool if row.accepted}
        verdicts = best([row.pair for row in pool], scores, settings.select.best, by_people)
        pool = await work.narrow(pool, steps, verdicts)
    split_fingerprint = content_id("scope", [SPLIT, identity(project.spec.split)])
    placed = [
        Verdict(
            pair_id=row.pair.id,
            by=SPLIT,
            fingerprint=split_fingerprint,
            keep=True,
            reason=f"{parts[row.pair.seed_id]} split",
        )
        for row in pool
    ]
    pool = await work.narrow(pool, steps, placed, fingerprint=split_fingerprint)

    counts, reasons = work.count(places, rows, steps, {row.pair.id for row in pool})
    order = {row.pair.id: at for at, row in enumerate(rows.values())}
    accepted = tuple(
        Accepted(
            row.pair,
            parts[row.pair.seed_id],
            scores.get(row.pair.id),
            work.verdicts_of(row, steps),
            row.reviews,
        )
        for row in sorted(pool, key=lambda row: order[row.pair.id])
    )
    facts = {
        "scopes": list(fingerprints),
        "verdicts_appended": work.appended,
        "steps": work.tally(rows, steps),
        "splits": {part: sum(row.part == part for row in accepted) for part in PARTS},
        "near_duplicate_seeds": _twins_apart(seeds, parts, settings.duplicates.jaccard),
        "reviewed": sum(row.decision is not None for row in rows.values()),
        "undecided": sum(row.decision is not None and row.decision.verdict == "undecided" for row in rows.values()),
        "scorer": {"by": chosen.by, "why": chosen.sentence, **chosen.facts} if chosen else None,
    }
    return CurateResult(counts, reasons, accepted, tuple(steps), facts)


class _Work:
    """The verdicts of the pool's pairs, as they stand in the store and grow."""

    def __init__(self, project: Project, store: Store, progress: Progress | None) -> None:
        self._project, self._store, self._progress = project, store, progress
        self._verdicts: dict[str, dict[Step, Verdict]] = {}
        self.appended = 0

    async def rows(self, places: Sequence[Candidate]) -> dict[str, _Row]:
        """Candidate pair id -> its row, in the pool's order. A correction takes the place of what it corrects."""
        ids = list(dict.fromkeys(place.pair_id for place in places if place.pair_id))
        pairs = {pair.id: pair for pair in self._store.pairs(ids)}
        reviews = self._store.reviews()
        rows: dict[str, _Row] = {}
        for id_ in ids:
            row = _reviewed(pairs[id_], reviews)
            if row.pair.id != id_:
                await self._store.put(row.pair)
            rows[id_] = row
        for pair_id, found in self._store.verdicts(row.pair.id for row in rows.values()).items():
            self._verdicts[pair_id] = {Step(v.by, v.fingerprint): v for v in found}
        return rows

    async def judge(self, rows: Sequence[_Row], gates: Sequence[GateStep]) -> None:
        """Ask the gates that have not spoken of a row, and those that crashed again."""
        for start in range(0, len(rows), _CHUNK):
            new: list[Verdict] = []
            for row in rows[start : start + _CHUNK]:
                own = self._verdicts.get(row.pair.id, {})
                open_ = [gate for gate in gates if _unsettled(own.get(Step(gate.by, gate.fingerprint)))]
                new += judge(row.pair, open_) if open_ else []
            await self.append(new)
            if self._progress:
                self._progress("gates", {"done": min(start + _CHUNK, len(rows)), "total": len(rows)})

    async def append(self, verdicts: Sequence[Verdict]) -> None:
        """Make durable those that say something new."""
        new = [v for v in verdicts if self._verdicts.get(v.pair_id, {}).get(Step(v.by, v.fingerprint)) != v]
        for start in range(0, len(new), _CHUNK * 8):
            part = new[start : start + _CHUNK * 8]
            await self._store.put(*part)
            for verdict in part:
                self._verdicts.setdefault(verdict.pair_id, {})[Step(verdict.by, verdict.fingerprint)] = verdict
            self.appended += len(part)
            failpoint("mid_curate")

    async def narrow(
        self, pool: list[_Row], steps: list[Step], verdicts: Sequence[Verdict], fingerprint: str | None = None
    ) -> list[_Row]:
        """Add a pool step's verdicts (one a row, in order); the rows it keeps."""
        await self.append(verdicts)
        if not verdicts:
            return pool
        steps.append(Step(verdicts[0].by, fingerprint or verdicts[0].fingerprint))
        return [row for row, verdict in zip(pool, verdicts, strict=True) if verdict.keep]

    async def score(self, pairs: Sequence[Pair], chosen: Chosen) -> dict[str, float | None]:
        """Scores by pair id; only pairs that have none, or whose scoring crashed, are scored."""
        step = Step(chosen.by, chosen.fingerprint)
        open_ = [pair for pair in pairs if _unsettled(self._verdicts.get(pair.id, {}).get(step))]
        for start in range(0, len(open_), _SCORED):
            part = open_[start : start + _SCORED]
            scores = await chosen.score(part)
            await self.append(
                [
                    Verdict(
                        pair_id=pair.id,
                        by=step.by,
                        fingerprint=step.fingerprint,
                        keep=None if score.value is None else True,
                        score=score.value,
                        reason=score.reason,
                    )
                    for pair, score in zip(part, scores, strict=True)
                ]
            )
            if self._progress:
                self._progress("score", {"done": start + len(part), "total": len(open_)})
        if chosen.fitted:
            self._store.write(_artifact(chosen, self._project.folder))
        return {pair.id: self._verdicts[pair.id][step].score for pair in pairs}

    def passes(self, row: _Row, gates: Sequence[Step]) -> bool:
        """Whether a row enters the pool: people accepted it, or no person decided and every gate kept it. A row that
        people are not agreed about waits for them."""
        if row.decision:
            return row.accepted
        own = self._verdicts.get(row.pair.id, {})
        return all(own[step].keep for step in gates)

    def verdicts_of(self, row: _Row, steps: Sequence[Step]) -> tuple[Verdict, ...]:
        own = self._verdicts.get(row.pair.id, {})
        return tuple(own[step] for step in steps if step in own)

    def tally(self, rows: Mapping[str, _Row], steps: Sequence[Step]) -> Json:
        """step -> how many rows it kept, rejected, left waiting."""
        tally: Json = {step.by: {"kept": 0, "rejected": 0, "waiting": 0} for step in steps}
        for row in rows.values():
            for verdict in self.verdicts_of(row, steps):
                name = {True: "kept", False: "rejected", None: "waiting"}[verdict.keep]
                tally[verdict.by][name] += 1
        return tally

    def count(
        self, places: Sequence[Candidate], rows: Mapping[str, _Row], steps: Sequence[Step], accepted: set[str]
    ) -> tuple[Counts, dict[str, int]]:
        """The conservation sum over all places, and why the rest is not accepted."""
        reasons: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        met: set[str] = set()
        for place in places:
            if place.pair_id is None:
                ends["failed"] += 1
                reasons[_word(place.failure or "")] += 1
                continue
            row = rows[place.pair_id]
            if row.pair.id in met:
                end, reason = "rejected", "duplicate"
            elif row.pair.id in accepted:
                end, reason = "accepted", ""
            else:
                end, reason = self._why_not(row, steps)
            met.add(row.pair.id)
            ends[end] += 1
            if reason:
                reasons[_word(reason)] += 1
        counts = Counts(rows_in=len(places), **ends)
        if not counts.conserved:
            raise RowCountMismatch(
                f"{counts.rows_in} rows came in, but {counts.accepted} accepted + {counts.rejected} rejected + "
                f"{counts.waiting} waiting + {counts.failed} failed is another number.",
                fix="This is a defect of pairsmith; the store is intact.",
            )
        return counts, dict(reasons.most_common())

    def _why_not(self, row: _Row, steps: Sequence[Step]) -> tuple[str, str]:
        """rejected or waiting, and why: the first rejection in the order of the steps, else what it waits for."""
        if row.decision and row.decision.verdict == "reject":
            return "rejected", "review: a person rejected it"
        if row.decision and row.decision.verdict == "undecided":
            return "waiting", row.decision.why
        own = self.verdicts_of(row, steps)
        blocking = [v for v in own if not (row.decision and v.by.startswith(("gate/", "score/")))]
        rejecting = next((v for v in blocking if v.keep is False), None)
        if rejecting:
            return "rejected", rejecting.reason
        waiting = next((v for v in blocking if v.keep is None), None)
        return ("waiting", waiting.reason) if waiting else ("waiting", "unjudged")


def _unsettled(verdict: Verdict | None) -> bool:
    """Whether a step has to speak: it has not yet, or it crashed, which may be mended by now."""
    return verdict is None or (verdict.keep is None and verdict.reason.startswith("crashed"))


def _word(reason: str) -> str:
    return reason.split(maxsplit=1)[0].rstrip(":") if reason.strip() else "unknown"


def _reviewed(pair: Pair, reviews: Mapping[str, Sequence[Review]]) -> _Row:
    """The row of a pair after what people decided (curate/review/decision.py says how); simulated answers do not
    count. An edit makes a new pair, which may be reviewed in its turn.
    """
    decided, told = None, []
    while found := decide(reviews.get(pair.id, ()), pair):
        decided = found
        told += [review for review in reviews[pair.id] if not review.simulated]
        if decided.verdict != "edit":
            break
        pair = edited_pair(pair, decided.review)
    return _Row(pair, decided, tuple(told))


def _preferred(rows: Sequence[_Row], parts: Mapping[str, Part]) -> list[_Row]:
    """Of two rows that are alike the earlier one stays: those of the test first (what is trained on may not hold
    them), then validation, then those a person accepted."""
    rank = {"test": 0, "validation": 1, "train": 2}
    return sorted(rows, key=lambda row: (rank[parts[row.pair.seed_id]], not row.accepted))


def _twins_apart(seeds: Mapping[str, Seed], parts: Mapping[str, Part], threshold: float) -> list[Json]:
    """Seeds that are alike but fell into different parts: reported, because hashing cannot see it."""
    texts = [seed for seed in seeds.values() if seed.text]
    return [
        {
            "seeds": [a.id, b.id],
            "sources": [a.source, b.source],
            "parts": [parts[a.id], parts[b.id]],
            "jaccard": round(twin.similarity, 3),
        }
        for twin in twins([seed.text or "" for seed in texts], threshold)
        if parts[(a := texts[twin.first]).id] != parts[(b := texts[twin.second]).id]
    ]


def _artifact(chosen: Chosen, folder: Path) -> Artifact:
    assert chosen.fitted is not None
    return Artifact(
        id=content_id("artifact", ["reward_model", chosen.facts["identity"]]),
        kind="reward_model",
        path=chosen.fitted.folder.relative_to(folder).as_posix(),
        facts=chosen.facts,
    )
