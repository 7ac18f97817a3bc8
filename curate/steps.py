"""The steps of curation, each a function of the pool, and the list of steps that a spec asks for.

    steps = [*map(each, gates), decontaminate(held_out, 0.7), scored(scorer, ...), best(1), duplicates(0.7), split(...)]

The order is gates, contamination, scores, best of n, duplicates, certificate, selection, split. So the reason of a
duplicate names a row that is accepted, and only rows that pass the cheap steps are scored.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from curate.gates import GateStep, gates_of
from curate.gates.processes import JudgedPairs, judging
from curate.gates.user import check_plain, guarded
from curate.pool import Pool
from curate.rows import CONTAMINATION, DUPLICATE, SPLIT, StepId, Survivor, Unjudged, batched_by_input, pair_of
from curate.scorers import Score, Scorer, own_scorer
from curate.scorers.choose import ChosenScorer
from curate.selection.best import BEST, LengthFit, ranked, scored_outputs
from curate.selection.spread import at_random, by_quota, length_group, refuse_unknown, row_vectors, spread_out
from curate.similarity.contamination import HeldOut, check_jaccard, collect_held_out, repeated_exchanges, with_test_rows
from curate.similarity.near_duplicates import find_repeated_rows
from curate.similarity.overlap import Overlap
from curate.split import SPLITS, recorded_splits, split_of
from schemas.errors import PairsmithError, UsageError, several_texts
from schemas.functions import Identity, check_named, check_takes_one, crash_of, function_identity
from schemas.gate_verdicts import decode_verdicts
from schemas.identity import construct
from schemas.kinds import KINDS, KindName
from schemas.project import Project
from schemas.records import Pair, Reason, Seed, Split, Verdict, content_id, identity
from schemas.spec import SplitSettings

Step = Callable[[Pool], AsyncIterator[Verdict] | Iterable[Verdict]]
"""A step, async or plain, reads a pool and yields verdicts on its rows. It never drops a row: one without a verdict is
not judged and waits. `pool.accepted()` are the rows that the steps before it keep."""

CERTIFIED, SELECTED = "pool/certified@1", "pool/selected@2"
CHOSEN, NOT_CHOSEN, UNCERTIFIED = "chosen", "not_chosen", "uncertified"
NO_CERTIFICATE: tuple[frozenset[str], str] = (frozenset(), "none")
CertificateOf = Callable[[Sequence[StepId]], tuple[Collection[str], str]]
"""Returns the rows and the id of the certificate that is bound to these steps."""
_SCORED = 256  # rows in one call of a scorer


@dataclass(frozen=True)
class NamedStep:
    """A step, gate or scorer with its identity. `gate` is set if it only applies a gate to single rows, in one pass
    with the next such steps. It yields verdicts in batches of `at_once`. `beside` rebuilds its gates beside seeds."""

    id: StepId
    look: Callable[..., Any]
    gate: GateStep | None = None
    at_once: int = 1
    beside: Callable[[Sequence[Seed]], Mapping[str, NamedStep]] | None = None

    def __call__(self, judged: Any) -> Any:
        return self.look(judged)

    def verdict(
        self, pair_id: str, keep: bool | None, score: float | None, reason: Reason, flags: tuple[str, ...] = ()
    ) -> Verdict:
        ids = {"pair_id": pair_id, "by": self.id.by, "fingerprint": self.id.settings}
        return construct(Verdict, {**ids, "keep": keep, "score": score, "reason": reason, "flags": flags})


def named(function: Callable[..., Any], by: str, settings: Any = None, **counts: bool) -> NamedStep:
    """A step, gate or scorer with the name `by` and a hash of `settings` (anything JSON can represent). `counts` are
    fields of StepId. Needed for callables without source code of their own, such as a lambda."""
    check_named(function, by)
    return NamedStep(StepId(by, content_id("step", [by, settings]), **counts), function)


def id_of(step: Step) -> StepId:
    """The identity given by `named`, else the function's qualified name and the hash of its source: after an edit it is
    a different step.

    Raises UsageError for one that has neither, e.g. an object, or for a function that does not take a pool.
    """
    if isinstance(step, NamedStep):
        return step.id
    identity = _identity(step, "step", "pool")
    return StepId(f"pool/{identity.name}@1", identity.source)


def each(gate: GateStep | Callable[[Pair], Any]) -> NamedStep:
    """Apply a gate to every row that it has not judged yet, including rejected ones, so that every reason is counted.

    A gate of your own is a function of a pair that returns True, False, None, or one of these with a reason
    (docs/gates.md).
    """
    gate = gate if isinstance(gate, GateStep) else _own_gate(gate)
    id_ = StepId(gate.by, gate.fingerprint, per_row=True)

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        async for chunk, judged in run_gates(pool, [step]):
            for pair_id, body in zip(chunk.ids, judged.bodies, strict=True):
                for given in decode_verdicts(pair_id, [id_[:2]], body):
                    yield given.verdict()

    step = NamedStep(id_, look, gate)
    return step


async def run_gates(pool: Pool, steps: Sequence[NamedStep]) -> AsyncIterator[tuple[Unjudged, JudgedPairs]]:
    """The verdicts of gates on the rows that they have not judged yet; `places` index into `steps`. All gates share one
    pass over the rows, on every core if there are many rows."""
    ids, gates = [step.id for step in steps], [step.gate for step in steps if step.gate]
    in_flight: deque[tuple[Unjudged, asyncio.Task[list[JudgedPairs]]]] = deque()
    rows = max(pool.count_pending(id_, accepted=False) for id_ in ids)
    async with judging(gates, rows) as (judge_chunk, at_once, size):
        chunks = pool.unjudged_by(ids, size)
        try:
            while True:
                while len(in_flight) < at_once and (chunk := next(chunks, None)):
                    pairs = pool.bodies_of(chunk.slots)
                    in_flight.append((chunk, asyncio.create_task(judge_chunk(pairs, chunk.places))))
                if not in_flight:
                    return
                chunk, answer = in_flight[0]
                try:
                    answers = await answer
                except (PairsmithError, ValidationError):
                    pool.source.pairs(chunk.ids)  # reports a damaged pair with the store's own error
                    raise
                for judged in answers:
                    yield chunk, judged
                in_flight.popleft()
        finally:
            for _, answer in in_flight:
                answer.cancel()
            await asyncio.gather(*(answer for _, answer in in_flight), return_exceptions=True)


def _own_gate(function: Callable[[Pair], Any]) -> GateStep:
    check_plain(function.look if isinstance(function, NamedStep) else function)
    identity = _identity(function, "gate", "pair")
    step = content_id("gate", [f"user:{identity.name}", 1, identity.source])
    return GateStep(f"gate/user:{identity.name}@1", step, guarded(function, identity.name))


def _identity(function: Callable[..., Any], role: str, of: str) -> Identity:
    check_takes_one(function.look if isinstance(function, NamedStep) else function, role, of)
    return Identity(*function.id[:2]) if isinstance(function, NamedStep) else function_identity(function)


def scored(
    scorer: Callable[..., Any], by: str = "", settings: str = "", *, compares: bool = True, at_once: int = _SCORED
) -> NamedStep:
    """Apply a scorer to the accepted rows that it has not scored yet, at most `at_once` per call.

    With `compares`, its score becomes the row's score. If it crashes on a row, only that row waits, and is scored again
    next time. An error that the user can fix (PairsmithError) ends the step.

    A scorer of your own is a function of a pair, which may be async, that returns a number, None, or one of these with
    a reason. One that scores a batch (`Scorer`) needs a name `by` and a hash of its `settings`.
    """
    batch: Scorer = scorer
    if not by:
        identity = _identity(scorer, "scorer", "pair")
        batch, by, settings, at_once = own_scorer(scorer), f"score/{identity.name}@1", identity.source, 1
    id_ = StepId(by, settings, per_row=True, scores=compares)

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for chunk in batched_by_input(pool.unsettled(id_), at_once):
            for row, score in zip(chunk, await _scores(batch, [pair_of(row) for row in chunk]), strict=True):
                judgement = {"score": score.value, "reason": score.reason, "flags": score.flags}
                keep = None if score.value is None else not score.rejects
                verdict = Verdict(pair_id=pair_of(row).id, by=by, fingerprint=settings, keep=keep, **judgement)
                if verdict not in row.verdicts:
                    yield verdict

    return NamedStep(id_, look, at_once=at_once)


async def _scores(scorer: Scorer, pairs: Sequence[Pair]) -> Sequence[Score]:
    """The scores of a batch, each a finite number or None. If the batch crashes, its pairs are scored one by one."""
    try:
        scores = await scorer(pairs)
        if len(scores) != len(pairs):
            raise ValueError(f"the scorer returned {len(scores)} scores for {len(pairs)} pairs")
        if not_finite := next((s.value for s in scores if s.value is not None and not math.isfinite(s.value)), None):
            raise ValueError(f"a score is {not_finite}")
        return scores
    except PairsmithError:
        raise
    except Exception as error:  # an error of a scorer only affects the row that it is raised for
        if len(pairs) == 1:
            return [Score(None, crash_of(error))]
        return [(await _scores(scorer, [pair]))[0] for pair in pairs]


def decontaminate(
    held_out: HeldOut | Mapping[str, str] | Iterable[str], jaccard: float = 0.7, beside: Sequence[str] = ()
) -> NamedStep:
    """Reject rows that repeat a held-out text: with a Jaccard similarity of word bigrams of at least `jaccard`, or as a
    part of theirs (`curate.similarity.overlap.contaminated`). No review overrides it. `held_out` are texts, or a map
    from test seed id to text. The rows of test seeds are the test and stay; inputs that a teacher wrote for them are
    held out as well. `beside` are texts of seeds without rows, which may share a template with the rows."""
    check_jaccard("decontaminate", jaccard)
    if isinstance(held_out, Mapping):
        texts = several_texts(held_out.values(), "held_out")
        held_out = HeldOut(texts, tuple(f"test seed {id_}" for id_ in held_out), frozenset(held_out))
    elif not isinstance(held_out, HeldOut):
        texts = several_texts(held_out, "held_out")
        held_out = HeldOut(texts, tuple(f"held-out text {n}" for n in range(1, len(texts) + 1)), frozenset())
    known = held_out

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        held_out = with_test_rows(pool, known)
        of_test = bytearray(row.seed_id in held_out.seed_ids for row in pool.survivors())

        def rows() -> Iterator[tuple[str, ...]]:
            for is_test, pair in zip(of_test, pool.texts(), strict=True):
                yield ("", "") if is_test else (pair.asked, pair.output)
            yield from ((text,) for text in beside)

        touches = held_out.repeated_by(rows, jaccard)
        repeated = repeated_exchanges(pool, held_out, jaccard)
        for number, row in enumerate(pool.survivors()):
            touch = None if of_test[number] else touches.get(number)
            reason = _contaminated(touch, held_out)
            if not touch and not of_test[number] and (touch := repeated.get(number)):
                reason = Reason("contamination", f"it repeats {held_out.exchanges[touch.held_out][0]}")
            yield step.verdict(row.pair_id, touch is None, touch and touch.similarity, reason)

    step = named(look, CONTAMINATION, known.settings(jaccard), final=True)
    return step


def _contaminated(touch: Overlap | None, held_out: HeldOut) -> Reason:
    if touch is None:
        return Reason("clean")
    near = f"its {('input', 'output')[touch.text]} text is {touch.similarity:.0%} like it"
    return Reason("contamination", f"near-duplicate of {held_out.names[touch.held_out]} ({near})")


def best(n: int = 1, *, length_control: bool = False) -> NamedStep:
    """Keep the `n` best scores of every input, with `length_control` after subtracting what length explains.

    Rows accepted in review are kept and count first. A row without a score cannot be compared and waits. If a later
    step rejects a winner, the next one does not move up. If no earlier step scores, the first `n` in pool order are
    kept.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise UsageError(f"best: n must be a whole number of at least 1, not {n!r}.")

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        fit = LengthFit.of(scored_outputs(pool)) if length_control else LengthFit()
        for rows in pool.by_input():
            candidates = {pair_of(row).id: row for row in rows if row.keep}
            chosen = {id_ for id_, row in candidates.items() if row.by_people}
            scores = {
                id_: None if row.score is None else fit.residual(row.score, pair_of(row).output)
                for id_, row in candidates.items()
            }
            if not any(step.scores for step in pool.steps):
                scores = {id_: -float(number) for number, id_ in enumerate(candidates)}
            order = ranked(scores, chosen, {id_ for id_, row in candidates.items() if row.flags})
            for rank, id_ in enumerate(order, 1):
                keep, place = rank <= n or id_ in chosen, f"rank {rank} of {len(order)}"
                reason = Reason("accepted", "in review") if id_ in chosen else Reason("best", place)
                yield step.verdict(id_, keep, None, reason if keep else Reason("outranked", place))
            for id_ in candidates.keys() - set(order):
                yield step.verdict(id_, None, None, Reason("unscored", "it cannot be compared"))

    step = named(look, BEST, [n, "length"] if length_control else n)
    return step


def duplicates(
    jaccard: float = 0.7,
    by_seed: Callable[[str], Split] = lambda seed_id: "train",
    kind: KindName = "rewrite",
) -> NamedStep:
    """Keep one of several rows that are duplicates for this kind of task: with a Jaccard similarity of word bigrams of
    at least `jaccard`; no review overrides it. `by_seed` maps a seed id to its split (default: all are for training).
    The order of preference is: test rows (training rows may not repeat them), then validation rows, rows accepted in
    review, rows without flags, the higher score, the smaller id.

    A row is flagged if another row has its output for another input (`one_output`, where texts are rewritten), as are
    both of two duplicates with different labels (`two_labels`).
    """
    check_jaccard("duplicates", jaccard)
    if (same := KINDS.get(kind)) is None:
        raise UsageError(f"duplicates: kind = {kind!r}.", fix=f"It is one of {', '.join(KINDS)}.")

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        order = pool.sorted_by(_preference(row, by_seed) for row in pool.survivors())
        repeats = find_repeated_rows(lambda: pool.texts(order), jaccard, same, pool.progress)
        for first in range(0, len(order), _SCORED):
            for number, id_ in enumerate(pool.pair_ids(order[first : first + _SCORED]), first):
                flags = (same.flag,) if same.flag and number in repeats.flagged else ()
                other = f"a near-duplicate {has}" if (has := repeats.other_labels.get(number)) else ""
                if repeat := repeats.of.get(number):
                    (earlier,) = pool.pair_ids([order[repeat.earlier]])
                    other = f"{repeat.similarity:.0%} like accepted pair {earlier}{other and f', but {other}'}"
                reason = Reason("duplicate" if repeat else "unique", other)
                yield step.verdict(id_, repeat is None, repeat.similarity if repeat else None, reason, flags)

    step = named(look, DUPLICATE, [jaccard, same.duplicate, same.flag, same.equal_numbers], final=True)
    return step


def _preference(row: Survivor, by_seed: Callable[[str], Split]) -> tuple[int, bool, bool, float]:
    rank = SPLITS[::-1].index(by_seed(row.seed_id))
    return rank, not row.by_people, row.flagged, float("inf") if row.score is None else -row.score


def split(settings: SplitSettings, recorded: Mapping[str, Split]) -> NamedStep:
    """Name the split of every accepted row in the code of its reason, by the row's seed (curate/split.py). For a seed
    without a `recorded` split, the hash decides."""

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        reasons = {name: Reason(name, "split") for name in SPLITS}
        for row in pool.survivors():
            name = recorded.get(row.seed_id) or split_of(row.seed_id, settings)
            yield step.verdict(row.pair_id, True, None, reasons[name])

    step = named(look, SPLIT, [identity(settings), recorded] if recorded else identity(settings), final=True)
    return step


def certified_only(rows: Collection[str], certificate: str) -> NamedStep:
    """Keep the `rows` that a certificate names and those accepted in review; the others wait for review."""

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        for row in pool.survivors():
            keep = row.by_people or row.pair_id in rows
            reason = Reason("certified") if keep else Reason(UNCERTIFIED, "it is not in the certificate")
            yield step.verdict(row.pair_id, keep or None, None, reason)

    step = named(look, CERTIFIED, certificate)
    return step


def choose_rows(rows: int, spread: str, seeds: Sequence[Seed], by_seed: Callable[[str], Split]) -> NamedStep:
    """Keep `rows` rows of the training split, chosen by `spread` (`curate.selection.spread`). Rows accepted in review
    come first, and the other splits are kept whole."""
    kinds = {seed.id: seed.kind for seed in seeds}
    refuse_unknown(spread, {name for seed in seeds for name in seed.columns})

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        by_people, ids = list[str](), list[str]()
        for row in pool.survivors():
            if by_seed(row.seed_id) == "train":
                (by_people if row.by_people else ids).append(row.pair_id)
            else:
                yield step.verdict(row.pair_id, True, None, Reason("apart", "it is not in the training split"))
        order = [*at_random(by_people, "people"), *at_random(ids, spread)]
        chosen = set(_chosen(pool, order, len(by_people), rows, spread, kinds) if len(order) > rows else order)
        for id_ in order:
            reason = Reason(CHOSEN, spread) if id_ in chosen else Reason(NOT_CHOSEN, f"{rows} rows are enough")
            yield step.verdict(id_, id_ in chosen, None, reason)

    step = named(look, SELECTED, [rows, spread], final=True)
    return step


def _chosen(
    pool: Pool, order: Sequence[str], first: int, rows: int, spread: str, kinds: Mapping[str, str]
) -> Sequence[str]:
    """The ids of the `rows` chosen pairs; the `first` ones of `order` are always among them."""
    if spread == "random" or first >= rows:
        return order[:rows]
    if spread == "diverse":
        return [order[place] for place in spread_out(row_vectors(pool, order), rows, range(first))]

    def group(pair: Pair) -> str:
        of_all = {"length": length_group(pair), "kind": kinds.get(pair.seed_id, "")}
        return of_all.get(spread, pair.columns.get(spread, ""))

    groups = {pair.id: group(pair) for pair in map(pair_of, pool.rows(order, verdicts=False))}
    return [*order[:first], *by_quota(order[first:], groups.__getitem__, rows - first, order[:first])]


def steps_for(
    project: Project,
    seeds: Sequence[Seed],
    chosen: ChosenScorer | None,
    judge: ChosenScorer | None = None,
    certificate: CertificateOf | None = None,
) -> list[NamedStep]:
    """The steps that a spec asks for. `seeds` are the active ones, `chosen` is the scorer, which may be None or the
    judge, and `certificate` finds the rows of the present certificate."""
    spec, curate = project.spec, project.spec.curate
    from curate.similarity.semantic import semantic_steps

    recorded = recorded_splits(seeds, spec.split)

    def by_seed(seed_id: str) -> Split:
        return recorded.get(seed_id) or split_of(seed_id, spec.split)

    held_out = collect_held_out(spec, project.folder, seeds)
    inference = _inference(project, curate.nli) if curate.nli else []
    scorers = dict.fromkeys(scorer for scorer in (judge, chosen) if scorer)
    compared = [scored(s.score, s.by, s.fingerprint, compares=s is chosen, at_once=s.at_once) for s in scorers]
    steps = [
        *(each(gate) for gate in gates_of(project, seeds)),
        decontaminate(held_out, curate.duplicates.jaccard),
        *inference,
        *compared,
        *([best(curate.select.best, length_control=curate.select.length_control)] if chosen else []),
        *([duplicates(curate.duplicates.jaccard, by_seed, spec.task.kind)] if curate.duplicates.enabled else []),
        *semantic_steps(spec, held_out),
    ]
    if curate.select.certified:
        steps.append(certified_only(*(certificate([step.id for step in steps]) if certificate else NO_CERTIFICATE)))
    if curate.select.rows is not None:
        steps.append(choose_rows(curate.select.rows, curate.select.spread, seeds, by_seed))
    return [*steps, split(spec.split, recorded)]


def _inference(project: Project, name: str) -> list[NamedStep]:
    from curate.flags.contradiction import contradictions
    from synth.embedded.weights import folder_weights

    folder, tokens = project.folder / name, project.spec.curate.score.batch_tokens
    if not folder.is_dir():
        return [contradictions(name, batch_tokens=tokens)]
    return [contradictions(folder, batch_tokens=tokens, revision=folder_weights(folder).revision)]
