"""Select the best candidates of an input. Scores only compare answers to the same input.

Many scorers prefer length for its own sake. How much of a score length explains is measured within inputs, over the
whole pool: candidates of one input differ only in what was written, so inputs that need long answers do not matter. On
request this part is subtracted from the score before comparing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from curate.pool import Pool
from schemas.records import Json
from schemas.wording import counted

BEST = "pool/best@1"


def ranked(
    scores: Mapping[str, float | None], chosen: Collection[str] = (), flagged: Collection[str] = ()
) -> list[str]:
    """The ids of one input's candidates, best first; ties go to the smaller id.

    A candidate without a score cannot be compared and is left out. Those in `chosen`, accepted in review, come first,
    with or without a score; those in `flagged` come last.
    """
    compared = [id_ for id_, score in scores.items() if id_ in chosen or score is not None]
    return sorted(compared, key=lambda id_: (id_ not in chosen, id_ in flagged, -(scores[id_] or 0.0), id_))


@dataclass(frozen=True)
class LengthFit:
    """How log length explains scores within inputs: `slope` in score per e-fold of characters, and `r_squared`, the
    share of the variance explained. Based on `rows` candidates of `inputs` that have several; slope 0 if nothing
    varies."""

    slope: float = 0.0
    r_squared: float = 0.0
    rows: int = 0
    inputs: int = 0

    @classmethod
    def of(cls, inputs: Iterable[Sequence[tuple[str, float]]]) -> LengthFit:
        """Fit to (output, score) of the candidates of each input."""
        xx = xy = yy = 0.0
        rows = compared = 0
        for candidates in inputs:
            if len(candidates) < 2:
                continue
            # Relative to the first, so that equal values differ by nothing from their mean, not by a rounding error.
            (text, first), *_ = candidates
            lengths = [log_length(other) - log_length(text) for other, _ in candidates]
            scores = [score - first for _, score in candidates]
            mean_length, mean_score = math.fsum(lengths) / len(lengths), math.fsum(scores) / len(scores)
            for length, score in zip(lengths, scores, strict=True):
                xx += (length - mean_length) ** 2
                xy += (length - mean_length) * (score - mean_score)
                yy += (score - mean_score) ** 2
            rows, compared = rows + len(candidates), compared + 1
        if not xx or not yy:
            return cls(rows=rows, inputs=compared)
        return cls(xy / xx, min(1.0, xy * xy / (xx * yy)), rows, compared)

    def residual(self, score: float, text: str) -> float:
        """The score minus what length explains of it."""
        return score - self.slope * log_length(text)


def log_length(text: str) -> float:
    """The logarithm of a text's length in characters, a measure that works in every script."""
    return math.log(1 + len(text))


def scored_outputs(pool: Pool, *, kept: bool = True) -> Iterator[list[tuple[str, float]]]:
    """Output and score of the candidates of each input: those kept so far, or all that have a score."""
    for rows in pool.by_input():
        yield [
            (row.pair.output, row.score)
            for row in rows
            if row.pair is not None and row.score is not None and (row.keep or not kept)
        ]


def selection_summary(pool: Pool, n: int, *, length_control: bool = False) -> Json | None:
    """What `best` changed in a curated pool, for a receipt; None if it did not run.

    Of `inputs` with more than `n` candidates it left out `left_out` rows, and for `not_first` of them it kept others
    than the first ones. `by_people` rows beyond `n` of their input stay because reviewers accepted them. `length_slope`
    and `length_r_squared` are those of `LengthFit`.
    """
    if not any(step.by == BEST for step in pool.steps):
        return None
    inputs = left_out = not_first = by_people = 0
    for rows in pool.by_input(verdicts=True):
        kept = [verdict.keep for row in rows for verdict in row.verdicts if verdict.by == BEST]
        by_people += max(0, kept.count(True) - n)
        if (out := kept.count(False)) == 0:
            continue
        inputs, left_out = inputs + 1, left_out + out
        first = [keep for keep in kept if keep is not None][:n]
        not_first += not all(first)
    length = LengthFit.of(scored_outputs(pool, kept=False))
    return {
        "best": n,
        "inputs": inputs,
        "left_out": left_out,
        "not_first": not_first,
        "by_people": by_people,
        "length_slope": length.slope,
        "length_r_squared": length.r_squared,
        "length_control": length_control,
    }


def in_words(facts: Json) -> str:
    """A sentence on what selection changed, and how much of the score length explains."""
    best = f"the best {facts['best']}" if facts["best"] > 1 else "the best"
    if not facts["left_out"] and (more := facts.get("by_people", 0)):
        rows = counted(more, "row", "rows")
        return f"selection left out nothing: {rows} beyond {best} of an input stay, because reviewers accepted them"
    if not facts["left_out"]:
        return f"selection changed nothing: no input had more candidates left than {best}"
    share = f"{facts['length_r_squared']:.0%}"
    side = f" ({'longer' if facts['length_slope'] > 0 else 'shorter'} is better)" if share != "0%" else ""
    if facts["length_control"]:
        length = f"length explained {share} of the score within inputs, and was subtracted"
    else:
        length = f"length explains {share} of the score within inputs{side}"
    return (
        f"keeping {best} left out {facts['left_out']:,} rows of {facts['inputs']:,} inputs with more candidates; for"
        f" {facts['not_first']:,} of these inputs, others than the first were kept; {length}"
    )
