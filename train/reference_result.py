"""The result of a comparison with references: exact matches, F1 and similarities, each with its interval."""

from __future__ import annotations

from schemas.records import Record
from train.intervals import Interval


class MeanEstimate(Record):
    """A mean over test inputs, between 0 and 1, with its interval."""

    value: float
    low: float
    high: float


class ReferenceResult(Record):
    """One system under one decoding, on the test inputs that have a reference.

    `exact`: the share of answers identical to the reference, character by character, in the form of the task. `chrf`:
    the mean character n-gram F-score of an answer (Popovic 2015, chrF2 of `sacrebleu`). `rouge_l`: the mean F1 of the
    longest common subsequence of words (Lin 2004), with words as the gates split them. `similarity`: the mean cosine of
    a static embedding (curate/static_embedding.py), if it is installed. For labels: `macro_f1`, the mean F1 of the
    labels that occur in the references, and `confusion`, reference -> answer -> count; `untested` are the labels of
    the task that no reference is. For JSON: `field_f1`, over pairs of path and value, where all items of a list share
    one path.
    """

    inputs: int
    exact: Interval
    chrf: MeanEstimate | None = None
    rouge_l: MeanEstimate | None = None
    similarity: MeanEstimate | None = None
    macro_f1: MeanEstimate | None = None
    confusion: dict[str, dict[str, int]] | None = None
    field_f1: MeanEstimate | None = None
    untested: tuple[str, ...] = ()
