"""A row of a pool: the pair in a slot, with the verdicts of steps and the reviews of people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from curate.review.decision import Decision
from schemas.errors import UsageError
from schemas.records import Candidate, Pair, Reason, State, Verdict
from schemas.reviews import Review
from schemas.streamed import batched

ROWS = 512  # rows whose texts are in memory at a time
ORDER = (False, None, True)
STATE: dict[bool | None, State] = {True: "accepted", False: "rejected", None: "waiting"}  # of `Row.keep`
_ROW_CHARACTERS = 1_000  # so that 32 rows have 8,000 tokens, which a local model reads within a minute
_SHOWN = 60  # characters of a text in the representation of a row
REVIEW, GENERATE = "review", "generate"  # what decides a row if no step does
CONTAMINATION, DUPLICATE, SPLIT = "pool/contamination@4", "pool/duplicate@4", "pool/split@1"
JUDGE = "judge/checklist@2"


def fold(keeps: Iterable[bool | None]) -> bool | None:
    """Combine verdicts to the least of False < None < True: a rejection decides, then a step that could
    not judge."""
    return min(keeps, key=ORDER.index, default=True)


class StepId(NamedTuple):
    """The identity of a step, and how its verdicts count.

    `by` is the name in its verdicts, `settings` the hash of everything that shapes them. `per_row`: a verdict depends
    on its row alone, so it is stored and never computed again. `final`: a verdict depends on other rows as well, so no
    review overrides it. `scores`: its score is the row's score.
    """

    by: str
    settings: str
    per_row: bool = False
    final: bool = False
    scores: bool = False


class Row(NamedTuple):
    """A slot with its present pair (None: generation failed).

    `verdicts` are those of the pool's steps, in order; `reviews` are those of the pair and of the pairs it replaces.
    A `decision` without reviews is one against a pair with the same texts.
    `keep` is the fold of all of them, reviews first. `step` and `reason` say what decided a row that is not kept, and
    why. `flags` are those of its verdicts: they mark what is worth a look and decide nothing.
    """

    candidate: Candidate
    pair: Pair | None
    verdicts: tuple[Verdict, ...] = ()
    reviews: tuple[Review, ...] = ()
    decision: Decision | None = None
    score: float | None = None
    keep: bool | None = None
    step: str | None = None
    reason: Reason | None = None
    flags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        code = self.candidate.failure.code if self.candidate.failure else "no pair"
        state = STATE[self.keep] if self.pair else f"failed ({code})"
        why = f" ({self.reason.code})" if self.reason and self.pair else ""
        texts = f"{_excerpt(self.pair.input)} -> {_excerpt(self.pair.output)}, " if self.pair else ""
        return f"Row({texts}{state}{why})"

    @property
    def by_people(self) -> bool:
        """True if reviewers accepted it, unchanged or with an edit."""
        return self.decision is not None and self.decision.verdict in ("accept", "edit")

    @property
    def input(self) -> str:
        """The input of its pair. Raises UsageError if generation failed."""
        return pair_of(self).input

    @property
    def output(self) -> str:
        """The output of its pair. Raises UsageError if generation failed."""
        return pair_of(self).output

    def verdict(self, keep: bool | None, why: str | Reason = "", score: float | None = None) -> Verdict:
        """The verdict of a step of your own on this row. `why` begins with a code, as in "late: it was sent on
        Sunday". Raises UsageError for a slot without a pair, another kind of verdict or reason, or a score that is no
        finite number."""
        pair = pair_of(self)
        given: Any = keep
        given = given.item() if type(keep).__module__ == "numpy" else given
        if not (given is None or isinstance(given, int)) or given not in _UNEXPLAINED:
            raise UsageError(f"a verdict is {keep!r:.80}.", fix="It is True, False or None.")
        if score is not None and not math.isfinite(score):
            raise UsageError(f"the score of a verdict is {score}.", fix="It is a finite number, or None.")
        if not isinstance(why, str | Reason):
            raise UsageError(f"the reason of a verdict is {why!r:.80}.", fix='Write a text: "late: sent on Sunday".')
        reason = why if isinstance(why, Reason) else Reason.read(why or _UNEXPLAINED[given])
        return Verdict(pair_id=pair.id, by="", fingerprint="", keep=given, score=score, reason=reason)


_UNEXPLAINED: dict[object, str] = {True: "ok", False: "user", None: "unsure"}  # as of a gate


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def pair_of(row: Row) -> Pair:
    """The pair of a row. Raises UsageError if generation failed."""
    if row.pair is None:
        raise UsageError("a slot that failed has no pair.", fix="Look at `pool.accepted()`, or at `row.pair` first.")
    return row.pair


def batched_by_input(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """The rows in lists of at most `size`, and of fewer if their texts are long, because what a step says about a list
    is shown and stored at once. The candidates of one input, whose input is computed once, stay together."""
    batch: list[Row] = []
    length = 0
    for _, candidates in groupby(rows, key=lambda row: pair_of(row).input):
        for part in batched(candidates, size):
            added = len(pair_of(part[0]).input) + sum(len(pair_of(row).output) for row in part)
            if batch and (len(batch) + len(part) > size or length + added > size * _ROW_CHARACTERS):
                yield batch
                batch, length = [], 0
            batch, length = [*batch, *part], length + added
    if batch:
        yield batch


class Survivor(NamedTuple):
    """The facts about an accepted row that steps without need for its texts use."""

    pair_id: str
    seed_id: str
    by_people: bool
    flagged: bool
    score: float | None


class Unjudged(NamedTuple):
    """Pairs that the steps at `places` have not judged. `known` holds the verdicts of pairs on which a step crashed."""

    slots: list[int]
    ids: list[str]
    places: tuple[int, ...]
    known: Mapping[str, Sequence[Verdict]]


SHOWN_COLUMNS = ("state", "input", "output", "score", "reason")


def display_values(row: Row) -> tuple[Any, ...]:
    """The values of SHOWN_COLUMNS for a row, for a notebook."""
    if row.pair is None:
        return "failed", None, None, None, row.reason
    state = STATE[row.keep]
    return state, row.pair.input, row.pair.output, row.score, row.reason


def as_dataset(rows: Iterable[Row]) -> Any:
    """A `datasets.Dataset` of rows that have a pair: ids, system, input, output, score."""
    import datasets

    names = ("pair_id", "seed_id", "system", "input", "output", "score")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        pair = pair_of(row)
        values = (pair.id, pair.seed_id, pair.system, pair.input, pair.output, row.score)
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return datasets.Dataset.from_dict(columns)
