"""What review knows of every candidate: read off the verdicts in the store, before and apart from what people said."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from curate.gates import gates_for
from curate.review.router import RouterRow
from schemas.records import Candidate, Pair, Verdict
from schemas.spec_file import Project
from schemas.store import Store


@dataclass(frozen=True)
class Pool:
    """The candidates of the present spec. `scores` are those of the scorer that judged most rows, whose name is
    `scorer`; `findings` the verdicts that did not keep a row, and what judges said, in the order of the steps."""

    pairs: Mapping[str, Pair]
    rows: Mapping[str, RouterRow]
    scores: Mapping[str, float]
    scorer: str | None
    findings: Mapping[str, tuple[Verdict, ...]]

    def rivals(self, pair: Pair) -> list[Pair]:
        """The other candidates of the same input, best score first."""
        found = [p for p in self._by_input.get((pair.seed_id, pair.input), ()) if p is not pair]
        return sorted(found, key=lambda p: (-self.scores.get(p.id, float("-inf")), p.id))

    @cached_property
    def _by_input(self) -> dict[tuple[str, str], list[Pair]]:
        found: dict[tuple[str, str], list[Pair]] = {}
        for pair in self.pairs.values():
            found.setdefault((pair.seed_id, pair.input), []).append(pair)
        return found


def read_pool(project: Project, store: Store, fingerprints: Sequence[str]) -> Pool:
    """The candidates of the generation scopes `scopes` and of the seeds that are active now."""
    seeds = {seed.id for seed in store.seeds()}
    places: list[Candidate] = [
        c for fingerprint in fingerprints for c in store.candidates(fingerprint) if c.seed_id in seeds
    ]
    pairs = {pair.id: pair for pair in store.pairs(place.pair_id for place in places if place.pair_id)}
    verdicts = store.verdicts(pairs)
    gates = {
        (gate.by, gate.fingerprint) for gate in gates_for(project.spec.task, project.spec.curate.gates, project.folder)
    }
    scores = _scores(verdicts)
    first = next(iter(scores), None)
    percentiles = {by: _percentiles(pairs, of) for by, of in scores.items()}
    passed = {id_: _passed(verdicts.get(id_, ()), gates) for id_ in pairs}
    accepted, border = _by_score(pairs, passed, scores[first] if first else None, project.spec.curate.select.best)
    rows = {}
    for id_ in pairs:
        told = [percentiles[by][id_] for by in scores if id_ in percentiles[by]]
        rows[id_] = RouterRow(
            pair_id=id_,
            passed=passed[id_],
            accepted=id_ in accepted,
            percentile=percentiles[first].get(id_) if first else None,
            disagreement=max(told) - min(told) if len(told) > 1 else None,
            border=border.get(id_),
        )
    findings = {
        id_: tuple(v for v in verdicts.get(id_, ()) if _is_finding(v, gates)) for id_ in pairs if id_ in verdicts
    }
    return Pool(pairs, rows, scores[first] if first else {}, first, findings)


def _is_finding(verdict: Verdict, gates: Collection[tuple[str, str]]) -> bool:
    if verdict.by.startswith("judge/"):
        return True
    return verdict.keep is not True and (verdict.by, verdict.fingerprint) in gates


def _passed(verdicts: Sequence[Verdict], gates: Collection[tuple[str, str]]) -> bool | None:
    """False if a gate rejected the row, None if one could not judge it or has not yet."""
    kept = [verdict.keep for verdict in verdicts if (verdict.by, verdict.fingerprint) in gates]
    if False in kept:
        return False
    return None if None in kept or len(kept) < len(gates) else True


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


def _inputs(pairs: Mapping[str, Pair], ids: Collection[str]) -> list[list[str]]:
    inputs: dict[tuple[str, str], list[str]] = {}
    for id_ in ids:
        inputs.setdefault((pairs[id_].seed_id, pairs[id_].input), []).append(id_)
    return list(inputs.values())


def _percentiles(pairs: Mapping[str, Pair], scores: Mapping[str, float]) -> dict[str, float]:
    """The share of the scored rivals of the same input that a row beats, ties by half; absent without a rival."""
    found = {}
    for ids in _inputs(pairs, scores):
        counts = Counter(scores[id_] for id_ in ids)
        for id_ in ids if len(ids) > 1 else ():
            below = sum(times for score, times in counts.items() if score < scores[id_])
            found[id_] = (below + (counts[scores[id_]] - 1) / 2) / (len(ids) - 1)
    return found


def _by_score(
    pairs: Mapping[str, Pair], passed: Mapping[str, bool | None], scores: Mapping[str, float] | None, best: int
) -> tuple[set[str], dict[str, float]]:
    """The rows that passed and are among the best of their input, and every row's distance from that cut."""
    ids = [id_ for id_ in pairs if passed[id_]]
    if scores is None:
        return set(ids), {}
    accepted: set[str] = set()
    border: dict[str, float] = {}
    for rivals in _inputs(pairs, [id_ for id_ in ids if id_ in scores]):
        ranked = sorted(rivals, key=lambda id_: (-scores[id_], id_))
        accepted.update(ranked[:best])
        if len(ranked) > best:
            cut = statistics.fmean([scores[ranked[best - 1]], scores[ranked[best]]])
            border.update({id_: abs(scores[id_] - cut) for id_ in ranked})
    return accepted, border
