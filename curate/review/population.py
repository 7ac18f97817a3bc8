"""What review knows of every candidate: what programs said of it, before and apart from what people said."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from curate import population as judged_pool
from curate.gates import gates_for
from curate.review.sampling import SamplingRow
from curate.selection import ranked
from curate.steps import each
from schemas.project import Project
from schemas.records import Pair, Verdict
from schemas.store import Store


@dataclass(frozen=True)
class Population:
    """The candidates of the present spec. `scores` are those of the scorer that judged most rows, whose name is
    `scorer`; `findings` the verdicts that did not keep a row, and what judges said, in the order of the steps; `inputs`
    the candidates of every candidate's input."""

    pairs: Mapping[str, Pair]
    rows: Mapping[str, SamplingRow]
    scores: Mapping[str, float]
    scorer: str | None
    findings: Mapping[str, tuple[Verdict, ...]]
    inputs: Mapping[str, tuple[str, ...]]

    def other_candidates(self, pair: Pair) -> list[Pair]:
        """The other candidates of the same input, best score first."""
        others = [id_ for id_ in self.inputs.get(pair.id, ()) if id_ != pair.id]
        return [self.pairs[id_] for id_ in sorted(others, key=lambda id_: (-self.scores.get(id_, -math.inf), id_))]


def read_population(project: Project, store: Store, fingerprints: Sequence[str]) -> Population:
    """The candidates of the generation scopes `scopes` whose seeds are active, as the gates judged them."""
    judged = judged_pool.Population.read(store, fingerprints, people=False)
    gates = [each(gate).id for gate in gates_for(project.spec.task, project.spec.curate.gates, project.folder)]
    for gate in gates:
        judged = judged.judged_by(gate, ())
    inputs = [{row.pair.id: row for row in rows if row.pair} for rows in judged.by_input()]
    found = {id_: row for other_candidates in inputs for id_, row in other_candidates.items()}
    pairs = {id_: row.pair for id_, row in found.items() if row.pair}
    passed = {id_: row.keep for id_, row in found.items()}
    verdicts = store.verdicts(pairs)
    scores = _scores(verdicts)
    first = next(iter(scores), None)
    percentiles = {by: _percentiles(inputs, of) for by, of in scores.items()}
    accepted, margin = _by_score(inputs, passed, scores[first] if first else None, project.spec.curate.select.best)
    rows = {}
    for id_ in pairs:
        told = [percentiles[by][id_] for by in scores if id_ in percentiles[by]]
        rows[id_] = SamplingRow(
            pair_id=id_,
            passed=passed[id_],
            accepted=id_ in accepted,
            percentile=percentiles[first].get(id_) if first else None,
            disagreement=max(told) - min(told) if len(told) > 1 else None,
            margin=margin.get(id_),
        )
    named = {(gate.by, gate.settings) for gate in gates}
    findings = {id_: tuple(v for v in own if _is_finding(v, named)) for id_, own in verdicts.items()}
    together = {id_: tuple(other_candidates) for other_candidates in inputs for id_ in other_candidates}
    return Population(pairs, rows, scores[first] if first else {}, first, findings, together)


def _is_finding(verdict: Verdict, gates: Collection[tuple[str, str]]) -> bool:
    if verdict.by.startswith("judge/"):
        return True
    return verdict.keep is not True and (verdict.by, verdict.fingerprint) in gates


def _scores(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, dict[str, float]]:
    """scorer -> pair id -> score, the scorer that judged most rows first; of each only its most used settings."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for id_, own in verdicts.items():
        for verdict in own:
            if verdict.by.startswith("score/") and verdict.score is not None:
                found[verdict.by, verdict.fingerprint][id_] = verdict.score
    chosen: dict[str, dict[str, float]] = {}
    for (by, _), scores in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        chosen.setdefault(by, scores)
    return chosen


def _percentiles(inputs: Iterable[Collection[str]], scores: Mapping[str, float]) -> dict[str, float]:
    """The share of the scored rivals of the same input that a row beats, ties by half; absent without a rival."""
    found = {}
    for other_candidates in inputs:
        ids = [id_ for id_ in other_candidates if id_ in scores]
        counts = Counter(scores[id_] for id_ in ids)
        for id_ in ids if len(ids) > 1 else ():
            below = sum(times for score, times in counts.items() if score < scores[id_])
            found[id_] = (below + (counts[scores[id_]] - 1) / 2) / (len(ids) - 1)
    return found


def _by_score(
    inputs: Iterable[Collection[str]],
    passed: Mapping[str, bool | None],
    scores: Mapping[str, float] | None,
    best: int,
) -> tuple[set[str], dict[str, float]]:
    """The rows that passed and are among the best of their input, and every row's distance from that cut."""
    if scores is None:
        return {id_ for id_, keep in passed.items() if keep}, {}
    accepted: set[str] = set()
    margin: dict[str, float] = {}
    for other_candidates in inputs:
        order = ranked({id_: scores.get(id_) for id_ in other_candidates if passed[id_]})
        accepted.update(order[:best])
        if len(order) > best:
            cut = statistics.fmean([scores[order[best - 1]], scores[order[best]]])
            margin.update({id_: abs(scores[id_] - cut) for id_ in order})
    return accepted, margin
