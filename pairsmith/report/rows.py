"""The rows of a project for the report, read in chunks: numbers, and a few example rows for every reason."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from curate.gates.words import count_words
from curate.selection.best import in_words
from curate.states import skim_states
from pairsmith.report.evidence import Distribution, NotAccepted, ReasonCount, RowExample, Scorer
from pairsmith.style.reasons import shorten_ids
from schemas.records import Reason, Receipt
from schemas.step_names import display_step
from schemas.store import Store
from schemas.streamed import batched

_EXAMPLES = 3  # for each reason
_DRAWN = 10  # accepted rows, and as many rejected ones
_CHUNK = 2_000
_OUTCOMES: tuple[NotAccepted, ...] = ("rejected", "waiting", "failed")
_Numbers = tuple[list[float], list[float]]  # for rows that were not accepted, and for accepted rows


class _RowReason(NamedTuple):
    """A row with a reason's explanation, or an accepted row with a short description."""

    pair_id: str | None
    seed_id: str
    detail: str


class ReportRows:
    """The rows of the last successful curation, or if there is none, of the last successful generation.

    Memory holds two numbers per row and a few rows for every reason.
    """

    def __init__(
        self, store: Store, generated: Receipt | None, curated: Receipt | None, hide: Callable[[str], str] = str
    ) -> None:
        self._store, self._curated, self._hide = store, curated, hide
        self.prompts, self.teachers = Counter[str](), Counter[str]()
        self._words: _Numbers = ([], [])
        self._scores: _Numbers = ([], [])
        self._examples = _Examples()
        self._accepted, self._rejected = _Reservoir("accepted", _DRAWN), _Reservoir("rejected", _DRAWN)
        self.seeds_with_rows = set[str]()
        if curated:
            self._read(self._states(curated))
        elif generated:
            self._read(self._candidates(generated))

    def _candidates(self, generated: Receipt) -> Iterator[tuple[str, bool]]:
        """The pairs of a generation, none of which is accepted yet."""
        active = self._store.active_seed_ids()
        for fingerprint in generated.facts.get("scopes", {}).values():
            for candidate in self._store.each_candidate(fingerprint):
                if candidate.failure and candidate.seed_id in active:
                    row = _RowReason(None, candidate.seed_id, str(candidate.failure))
                    self._examples["failed", candidate.failure.code].add(row)
                elif candidate.pair_id and candidate.seed_id in active:
                    yield candidate.pair_id, False

    def _states(self, curated: Receipt) -> Iterator[tuple[str, bool]]:
        """The pairs in the slots of a curation, and whether they are accepted."""
        for state in skim_states(self._store, curated):
            accepted = state["state"] == "accepted"
            if why := state["reason"]:
                row = _RowReason(state["pair_id"], state["seed_id"], str(Reason(**why)))
                self._examples[state["state"], why["code"]].add(row)
                if state["state"] == "rejected":
                    self._rejected.add(row)
            elif accepted:
                self.seeds_with_rows.add(state["seed_id"])
                self._accepted.add(_RowReason(state["pair_id"], state["seed_id"], _summarise(state)))
            if state["score"] is not None:
                self._scores[accepted].append(state["score"])
            if state["pair_id"]:
                yield state["pair_id"], accepted

    def _read(self, ids: Iterator[tuple[str, bool]]) -> None:
        for chunk in batched(ids, _CHUNK):
            for accepted in (False, True):
                for pair in self._store.skim_pairs(id_ for id_, yes in chunk if yes is accepted):
                    self._words[accepted].append(float(count_words(pair["output"])))
                    while (origin := pair["origin"])["by"] == "edited":
                        (pair,) = self._store.skim_pairs([origin["parent_id"]])
                    if origin["by"] == "generated":
                        self.prompts[origin["prompt"]] += 1
                        self.teachers[origin["teacher"]] += 1

    @property
    def lengths(self) -> Distribution | None:
        """Word counts of the outputs; None without a pair."""
        return _distribution(self._words) if any(self._words) else None

    @property
    def scorer(self) -> Scorer | None:
        """The scorer that curation chose, with its scores."""
        facts: dict[str, Any] | None = self._curated.facts.get("scorer") if self._curated else None
        if self._curated is None or facts is None:
            return None
        missing = self._curated.facts.get("steps", {}).get(facts["by"], {}).get("waiting", 0)
        selection = self._curated.facts.get("selection")
        changed = in_words(selection) if selection else ""
        return Scorer(display_step(facts["by"]), facts["why"], _distribution(self._scores, missing), changed)

    def accepted(self) -> tuple[RowExample, ...]:
        """A few accepted rows, drawn at random."""
        return self._shown(self._accepted.drawn)

    def rejected(self) -> tuple[RowExample, ...]:
        """A few rejected rows, drawn at random regardless of the reason."""
        return self._shown(self._rejected.drawn)

    def of(self, pair_ids: Sequence[str], by: str) -> tuple[RowExample, ...]:
        """These rows, each with the last explanation of the step `by`."""
        verdicts = self._store.verdicts(pair_ids) if pair_ids else {}
        reasons = {id_: next((v.reason for v in reversed(verdicts.get(id_, ())) if v.by == by), "") for id_ in pair_ids}
        return self._shown([_RowReason(id_, "", str(reasons[id_])) for id_ in pair_ids])

    def reasons(self, receipt: Receipt) -> list[ReasonCount]:
        """The receipt's reasons, most frequent first, with a few example rows for each."""
        possible: tuple[NotAccepted, ...] = ("failed",) if receipt.command == "generate" else _OUTCOMES
        ranked = []
        for code, count in sorted(receipt.reasons.items(), key=lambda item: (-item[1], item[0])):
            outcome = max(possible, key=lambda candidate: self._examples[candidate, code].count)
            ranked.append(ReasonCount(code, outcome, count, self._shown(self._examples[outcome, code].drawn)))
        return ranked

    def _shown(self, rows: Sequence[_RowReason]) -> tuple[RowExample, ...]:
        pairs = {pair.id: pair for pair in self._store.pairs(row.pair_id for row in rows if row.pair_id)}
        seeds = self._store.seeds_by_id(row.seed_id for row in rows if row.pair_id is None)
        examples, hide = [], self._hide
        for row in rows:
            pair, detail = pairs.get(row.pair_id or ""), hide(shorten_ids(row.detail))
            if pair:
                columns = tuple((name, hide(text)) for name, text in pair.columns.items())
                examples.append(RowExample(pair.id, hide(pair.input), hide(pair.output), detail, columns))
            else:
                text = hide(seeds[row.seed_id].body) if row.seed_id in seeds else ""
                examples.append(RowExample(row.seed_id, text, None, detail))
        return tuple(examples)


def _distribution(of: _Numbers, missing: int = 0) -> Distribution:
    others, accepted = of
    return Distribution((*others, *accepted), tuple(accepted), missing)


def _summarise(state: dict[str, Any]) -> str:
    """A short description of an accepted row: its split, and its score if it has one."""
    return f"{state['split']}, score {state['score']:.3g}" if state["score"] is not None else str(state["split"])


class _Reservoir:
    """A uniform random sample of at most `capacity` rows of a stream (reservoir sampling, Vitter's algorithm R).

    The first rows would all come from the first seeds. `seed` makes the sample repeatable.
    """

    def __init__(self, seed: str, capacity: int) -> None:
        self.drawn: list[_RowReason] = []
        self.count = 0
        self._random, self._capacity = random.Random(seed), capacity

    def add(self, row: _RowReason) -> None:
        self.count += 1
        if len(self.drawn) < self._capacity:
            self.drawn.append(row)
        elif (at := int(self._random.random() * self.count)) < self._capacity:
            self.drawn[at] = row


class _Examples(dict[tuple[str, str], _Reservoir]):
    """The number of rows for each outcome and reason, and a few of them."""

    def __missing__(self, outcome_and_code: tuple[str, str]) -> _Reservoir:
        _, code = outcome_and_code
        self[outcome_and_code] = reservoir = _Reservoir(code, _EXAMPLES)
        return reservoir
