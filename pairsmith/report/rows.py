"""What the rows of a project tell the report, read a page at a time: numbers, and a few rows for every reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from curate.states import read_states
from pairsmith.report.evidence import Distribution, Example, Outcome, Reason, Scorer
from schemas.records import Candidate, Pair, Receipt, RowState
from schemas.store import Store

_EXAMPLES = 3
_CHUNK = 1_000
_OUTCOMES: tuple[Outcome, ...] = ("rejected", "waiting", "failed")
Met = RowState | Candidate


class Rows:
    """The rows of the last good curation, or before there is one the pairs of the last good generation.

    In memory are two numbers a row and a few rows for every reason.
    """

    def __init__(self, store: Store, generated: Receipt | None, curated: Receipt | None) -> None:
        self._store, self._curated = store, curated
        self.prompts, self.teachers = Counter[str](), Counter[str]()
        self._words: tuple[list[float], list[float]] = (
            [],
            [],
        )  # of rows that were not accepted, and of those that were
        self._scores: tuple[list[float], list[float]] = ([], [])
        self._generation, self._curation = _Examples(), _Examples()
        scopes = generated.facts.get("scopes", {}).values() if generated else ()
        active = {seed.id for seed in store.seeds()}
        candidates = (c for scope in scopes for c in store.each_candidate(scope) if c.seed_id in active)
        self._read(self._candidates(candidates) if curated is None else self._states(candidates, curated))

    def _candidates(self, candidates: Iterable[Candidate]) -> Iterator[tuple[str, bool]]:
        """The pairs of a generation, none of them accepted."""
        for candidate in candidates:
            if candidate.failure:
                self._generation.add("failed", candidate.failure.code, candidate)
            if candidate.pair_id:
                yield candidate.pair_id, False

    def _states(self, candidates: Iterable[Candidate], curated: Receipt) -> Iterator[tuple[str, bool]]:
        """The pairs that stand in the slots of a curation, and whether they are accepted."""
        for _ in self._candidates(candidates):
            pass
        for state in read_states(self._store, curated):
            accepted = state.state == "accepted"
            if state.state != "accepted":
                self._curation.add(state.state, state.reason.code if state.reason else "unknown", state)
            if state.score is not None:
                self._scores[accepted].append(state.score)
            if state.pair_id:
                yield state.pair_id, accepted

    def _read(self, ids: Iterator[tuple[str, bool]]) -> None:
        while chunk := list(islice(ids, _CHUNK)):
            for accepted in (False, True):
                for pair in self._store.pairs(id_ for id_, yes in chunk if yes is accepted):
                    self._words[accepted].append(float(len(pair.enhanced.split())))
                    if pair.origin.by == "generated":
                        self.prompts[pair.origin.prompt] += 1
                        self.teachers[pair.origin.teacher] += 1

    @property
    def lengths(self) -> Distribution | None:
        """Words of the enhanced texts; None without a pair."""
        return _distribution(self._words) if any(self._words) else None

    @property
    def scorer(self) -> Scorer | None:
        """The scorer that the curation chose, with its scores."""
        facts: dict[str, Any] | None = self._curated.facts.get("scorer") if self._curated else None
        if self._curated is None or facts is None:
            return None
        missing = self._curated.facts.get("steps", {}).get(facts["by"], {}).get("waiting", 0)
        return Scorer(facts["by"], facts["why"], _distribution(self._scores, missing))

    def reasons(self, receipt: Receipt) -> list[Reason]:
        """The receipt's reasons, most frequent first, with a few rows that met each."""
        possible: tuple[Outcome, ...] = ("failed",) if receipt.command == "generate" else _OUTCOMES
        met = self._generation if receipt.command == "generate" else self._curation
        found = []
        for code, count in sorted(receipt.reasons.items(), key=lambda item: (-item[1], item[0])):
            outcome = max(possible, key=lambda one: met.counts[one, code])
            found.append(Reason(code, outcome, count, self._shown(met.of(outcome, code))))
        return found

    def _shown(self, rows: Sequence[Met]) -> tuple[Example, ...]:
        pairs: dict[str, Pair] = {pair.id: pair for pair in self._store.pairs(r.pair_id for r in rows if r.pair_id)}
        wanted = {row.seed_id for row in rows if not row.pair_id}
        seeds = {seed.id: seed.text or "" for seed in self._store.seeds(active=False)} if wanted else {}
        return tuple(_example(row, pairs.get(row.pair_id or ""), seeds) for row in rows)


def _example(row: Met, pair: Pair | None, seeds: dict[str, str]) -> Example:
    said = str((row.failure if isinstance(row, Candidate) else row.reason) or "")
    if pair is None:
        return Example(row.seed_id, seeds.get(row.seed_id, ""), None, said)
    return Example(pair.id, pair.simple, pair.enhanced, said)


def _distribution(of: tuple[list[float], list[float]], missing: int = 0) -> Distribution:
    others, accepted = of
    return Distribution((*others, *accepted), tuple(accepted), missing)


class _Examples:
    """How many rows met a reason, and a few of them drawn at random (reservoir sampling, Vitter's algorithm R).

    Drawn, not the first ones: those all come from the first seeds. Seeded by the code, so a report can be redone.
    """

    def __init__(self) -> None:
        self.counts = Counter[tuple[Outcome, str]]()
        self._drawn: dict[tuple[Outcome, str], tuple[random.Random, list[Met]]] = {}

    def add(self, outcome: Outcome, code: str, row: Met) -> None:
        self.counts[outcome, code] += 1
        chance, drawn = self._drawn.setdefault((outcome, code), (random.Random(code), []))
        if len(drawn) < _EXAMPLES:
            drawn.append(row)
        elif (place := chance.randrange(self.counts[outcome, code])) < _EXAMPLES:
            drawn[place] = row

    def of(self, outcome: Outcome, code: str) -> list[Met]:
        return self._drawn[outcome, code][1] if (outcome, code) in self._drawn else []
