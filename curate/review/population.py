"""The population that review samples from: the programs' verdicts on every row, independent of reviews."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from curate.arrays.opinions import FALSE, NONE
from curate.gates import gates_of
from curate.pool import Pool
from curate.review.acceptance import Drawn, drawn_so_far
from curate.review.decision import current_answers
from curate.review.sampling import SamplingRow, sampled_ids
from curate.selection.best import LengthFit, ranked
from curate.states import last_curation, skim_states
from curate.steps import each
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Pair, Verdict
from schemas.reviews import Sampled
from schemas.spec import ReviewSettings
from schemas.store import Store
from schemas.store.latest import last_judged, stored_steps

Scores = Mapping[str, float]  # pair id -> score
StepKey = tuple[str, str]  # a step's name and the hash of its settings
Steps = Iterable[tuple[str, str, bool]]  # name, hash of settings, and whether its score compares candidates
NO_STEP: StepKey = ("", "")


@dataclass(frozen=True)
class Population:
    """The candidates of the present spec. Only a `SamplingRow` each is in memory; texts and verdicts are read on
    demand.

    `rows` are by pair id, in pool order. `inputs` maps every pair id to the candidates of its input. `scores` are those
    of the scorer that judged most rows; `compared_by` is its name if another one scores now, and else empty. `rejected`
    maps every gate to the row with the lowest id that it rejected. `doubted` are the rows with findings.
    `not_asked` are rows that the scorer has not been asked about, because reviewers rejected or edited them before it
    was added: which of them it would choose is unknown, and they count as chosen, so that the rate of its choice is not
    too high. Only where there may be such rows (`depends_on_reviews`) does anything here depend on reviews.
    """

    pool: Pool
    rows: Mapping[str, SamplingRow]
    inputs: Mapping[str, tuple[str, ...]]
    scores: Scores
    rejected: Mapping[str, str]
    doubted: Collection[str]
    compared_by: str = ""
    not_asked: Collection[str] = ()
    depends_on_reviews: bool = False
    _drawn: dict[object, Drawn] = field(default_factory=dict, compare=False, repr=False)

    def drawn(self, sampled: Mapping[str, Iterable[Sampled]], spec: ReviewSettings) -> Drawn:
        """The rows of the population drawn so far, kept until others are drawn: an answer draws none."""
        chosen = sampled_ids(record for id_, records in sampled.items() if id_ in self.rows for record in records)
        settings = spec.seed, spec.accept_at_least, spec.confidence
        key = settings, frozenset((reason, frozenset(ids)) for reason, ids in chosen.items())
        if key not in self._drawn:
            self._drawn.clear()
            self._drawn[key] = drawn_so_far(list(self.rows.values()), chosen, spec)
        return self._drawn[key]

    def pairs(self, pair_ids: Iterable[str]) -> dict[str, Pair]:
        """The pairs of `pair_ids` that belong to the population, in the given order."""
        wanted = [pair_id for pair_id in pair_ids if pair_id in self.rows]
        known = {pair.id: pair for pair in self.pool.source.pairs(wanted)} if wanted else {}
        return {pair_id: known[pair_id] for pair_id in wanted}

    def other_candidates(self, pair_id: str) -> list[str]:
        """The other candidates of the same input, best score first."""
        others = [other for other in self.inputs.get(pair_id, ()) if other != pair_id]
        return sorted(others, key=lambda other: (-self.scores.get(other, -math.inf), other))

    def findings(self, pair_id: str) -> list[Verdict]:
        """The verdicts of gates that rejected, flagged or could not judge a row, and those of judges, in the order of
        the steps."""
        if pair_id not in self.doubted:
            return []
        return _findings(self.pool, self.pool.source.verdicts([pair_id]).get(pair_id, ()))


def _judged_by_gates(project: Project, store: Store, fingerprints: Sequence[str], progress: Progress) -> Pool:
    forward_n = project.spec.generate.forward.n
    pool = Pool.read(store, fingerprints, people=False, forward_n=forward_n, progress=progress)
    gates = [each(gate).id for gate in gates_of(project, store.active_seeds())]
    pool.load_known(gates)  # in one pass: `judged_by` would read all verdicts once for each gate
    for gate in gates:
        pool = pool.judged_by(gate, ())
    return pool


def read_population(
    project: Project,
    store: Store,
    fingerprints: Sequence[str],
    judged_by: Steps | None = None,
    progress: Progress = unseen,
) -> Population:
    """Read the candidates of the generations `fingerprints` with active seeds, and the verdicts of gates, scorers and
    judges.

    `judged_by` are the steps of a curation that has no receipt yet.
    """
    pool = _judged_by_gates(project, store, fingerprints, progress)
    passed: dict[str, bool | None] = {}
    flagged: set[str] = set()
    inputs: list[tuple[str, ...]] = []
    for candidates in pool.by_input(texts=False):
        keeps = {row.candidate.pair_id or "": row.keep for row in candidates}
        passed |= keeps
        flagged |= {row.candidate.pair_id or "" for row in candidates if row.flags}
        inputs.append(tuple(keeps))
    if judged_by is None and (curated := last_judged(store.receipts("curate"))):
        judged_by = curated.facts.get("judged_by")
    judges, compares = _judges_and_comparer(judged_by)
    stored = _stored_opinions(store, project, judges, passed)
    doubted, rejected = _doubted_by_gates(pool)
    doubted |= stored.judged
    rejected |= stored.rejected
    scorers = _most_used(stored.scores, compares)
    percentiles = [_percentiles(inputs, scores) for scores in scorers.values()]
    scores = next(iter(scorers.values()), None) if compares is not NO_STEP else None
    older = next((by for by, _ in scorers), "") if scores and compares not in (None, next(iter(scorers))) else ""
    select = project.spec.curate.select
    left = {id_ for id_, keep in passed.items() if keep} - stored.not_kept
    compared = _without_length(pool, inputs, scores, left) if scores and select.length_control else scores
    accepted, margins = _best_and_margins(inputs, left, compared, select.best, flagged | stored.flagged)
    asked = scores.keys() | stored.without_score[next(iter(scorers))] if scores and not older else left
    unscored = left - asked
    not_asked = _not_asked(store, unscored)
    flagged |= _flagged_by_curation(store)
    rows = _sampling_rows(passed, accepted | not_asked, percentiles, margins, flagged)
    by_pair_id = {pair_id: ids for ids in inputs for pair_id in ids}
    return Population(pool, rows, by_pair_id, scores or {}, rejected, doubted, older, not_asked, bool(unscored))


class _StoredOpinions(NamedTuple):
    """What scorers and judges have said of the rows: the scores of each scorer and the rows to which it gave none, the
    rows that any judge has judged and for each the lowest id that it rejected, and the rows that the last curation's
    judges did not keep or flagged."""

    scores: defaultdict[StepKey, dict[str, float]]
    without_score: defaultdict[StepKey, set[str]]
    judged: set[str]
    rejected: dict[str, str]
    not_kept: set[str]
    flagged: set[str]


def _stored_opinions(
    store: Store, project: Project, judges: Collection[StepKey], rows: Container[str]
) -> _StoredOpinions:
    """Read the latest verdicts of all scorers and judges on these rows; `judges` are those of the last curation."""
    scorer = "judge/" if project.spec.curate.score.model == "judge" else "score/"
    stored = _StoredOpinions(defaultdict(dict), defaultdict(set), set(), {}, set(), set())
    for step in stored_steps(store, scorer, "judge/"):
        latest = {one.pair_id: one for one in store.verdicts_of_steps([step]) if one.pair_id in rows}
        if step[0].startswith(scorer):
            for pair_id, verdict in latest.items():
                if verdict.score is None:
                    stored.without_score[step].add(pair_id)
                else:
                    stored.scores[step][pair_id] = verdict.score
        if step in judges:
            stored.not_kept.update(pair_id for pair_id, verdict in latest.items() if verdict.keep is not True)
            stored.flagged.update(pair_id for pair_id, verdict in latest.items() if verdict.flags)
        if step[0].startswith("judge/"):
            stored.judged.update(latest)
            against = min((pair_id for pair_id, verdict in latest.items() if verdict.keep is False), default=None)
            if against is not None:
                stored.rejected[step[0]] = min(against, stored.rejected.get(step[0], against))
    return stored


def _doubted_by_gates(pool: Pool) -> tuple[set[str], dict[str, str]]:
    """The rows that gates rejected, flagged or could not judge, and for every gate the lowest id that it rejected."""
    doubted, rejected = set[str](), dict[str, str]()
    for gate, opinions, keep in pool.opinions_by_step():
        doubted |= {*pool.pair_ids(opinions.flags), *pool.pair_ids(np.flatnonzero(keep == NONE))}
        against = pool.pair_ids(np.flatnonzero(keep == FALSE))
        doubted |= set(against)
        if against:
            rejected[gate.by] = min(against)
    return doubted, rejected


def _sampling_rows(
    passed: Mapping[str, bool | None],
    accepted: Collection[str],
    percentiles: Sequence[Mapping[str, float]],
    margins: Mapping[str, float],
    flagged: Collection[str],
) -> dict[str, SamplingRow]:
    """What sampling needs to know about each pair, by its id. `percentiles` are those of each scorer."""
    rows = {}
    for pair_id, keep in passed.items():
        ranks = [by_pair[pair_id] for by_pair in percentiles if pair_id in by_pair]
        rows[pair_id] = SamplingRow(
            pair_id=pair_id,
            passed=keep,
            accepted=pair_id in accepted,
            disagreement=max(ranks) - min(ranks) if len(ranks) > 1 else None,
            margin=margins.get(pair_id),
            flagged=pair_id in flagged,
        )
    return rows


def _flagged_by_curation(store: Store) -> set[str]:
    """The rows flagged by any step of the last curation: gates, judges and steps that read the whole pool."""
    curated = last_curation(store)
    states = skim_states(store, curated) if curated else ()
    return {state["pair_id"] for state in states if state.get("flags") and state.get("pair_id")}


def _not_asked(store: Store, unscored: Collection[str]) -> set[str]:
    """The rows among `unscored` that only reviewers keep from the scorer."""
    reviewed = {
        id_
        for id_, reviews in (store.reviews() if unscored else {}).items()
        if id_ in unscored and any(answer.decision != "accept" for answer in current_answers(reviews))
    }
    curated = last_curation(store) if reviewed else None
    for state in skim_states(store, curated) if curated else ():
        if (state.get("reason") or {}).get("code") == "contamination":
            reviewed.discard(state.get("pair_id"))
    return reviewed


def _judges_and_comparer(steps: Steps | None) -> tuple[set[StepKey], StepKey | None]:
    """The per-row steps other than gates and scorers, and the step whose scores compare candidates.

    The latter is NO_STEP if no step compares, and None if no receipt says so, e.g. of an earlier version.
    """
    if steps is None:
        return set(), None
    judges = {(by, settings) for by, settings, _ in steps if not by.startswith("score/")}
    return judges, next(((by, settings) for by, settings, compares in steps if compares), NO_STEP)


def _without_length(pool: Pool, inputs: Sequence[Sequence[str]], scores: Scores, left: Collection[str]) -> Scores:
    """The scores minus what length explains, fitted on the rows that are left, as `curate.steps.best` compares them."""

    def outputs() -> Iterator[list[tuple[str, str]]]:
        texts = pool.texts_of(id_ for ids in inputs for id_ in ids if id_ in scores)
        for ids in inputs:
            yield [(id_, next(texts).output) for id_ in ids if id_ in scores]

    fit = LengthFit.of([(output, scores[id_]) for id_, output in rows if id_ in left] for rows in outputs())
    return {id_: fit.residual(scores[id_], output) for rows in outputs() for id_, output in rows}


def _findings(pool: Pool, verdicts: Iterable[Verdict]) -> list[Verdict]:
    gates = {(gate.by, gate.settings) for gate in pool.steps}
    doubting = [v for v in verdicts if v.keep is not True or v.flags or v.by.startswith("judge/")]
    return [v for v in doubting if v.by.startswith("judge/") or (v.by, v.fingerprint) in gates]


def _most_used(by_settings: Mapping[StepKey, Scores], compares: StepKey | None) -> dict[StepKey, Scores]:
    """The scores of every scorer under its most used settings, the scorer of most rows first; on a tie the one in
    `compares`.

    A scorer that was added after reviews was not applied to the rows that reviewers rejected, so its best candidates
    would depend on their decisions.
    """
    chosen: dict[str, StepKey] = {}
    for step_key in sorted(
        by_settings, key=lambda step_key: (-len(by_settings[step_key]), step_key != compares, step_key)
    ):
        chosen.setdefault(step_key[0], step_key)
    return {step_key: by_settings[step_key] for step_key in chosen.values()}


def _percentiles(inputs: Iterable[Sequence[str]], scores: Scores) -> dict[str, float]:
    """The share of the other scored candidates of its input that a row beats, ties counting half. Absent if there is no
    other."""
    percentiles = {}
    for candidates in inputs:
        ids = [pair_id for pair_id in candidates if pair_id in scores]
        counts = Counter(scores[pair_id] for pair_id in ids)
        for pair_id in ids if len(ids) > 1 else ():
            below = sum(times for score, times in counts.items() if score < scores[pair_id])
            percentiles[pair_id] = (below + (counts[scores[pair_id]] - 1) / 2) / (len(ids) - 1)
    return percentiles


def _best_and_margins(
    inputs: Iterable[Collection[str]], left: set[str], scores: Scores | None, best: int, flagged: Collection[str]
) -> tuple[set[str], dict[str, float]]:
    """The rows of `left` that are among the best of their input, and every row's distance from that cut."""
    if scores is None:
        return left, {}
    accepted: set[str] = set()
    margins: dict[str, float] = {}
    for candidates in inputs:
        order = ranked({pair_id: scores.get(pair_id) for pair_id in candidates if pair_id in left}, (), flagged)
        accepted.update(order[:best])
        if len(order) > best:
            cut = statistics.fmean([scores[order[best - 1]], scores[order[best]]])
            margins.update({pair_id: abs(scores[pair_id] - cut) for pair_id in order})
    return accepted, margins
