"""Flag labels that the other rows contradict. Looking at a single row, no rule can detect that a valid label is wrong.

A linear classifier learns the labels from the characters of the texts (hashed 2- to 4-grams, for any language) and
scores each label for each row. With ridge regression, the prediction for a row by a fit without it has a closed form
(Allen's PRESS, 1974), so nothing is trained twice. That such a disagreement indicates a wrong label is the idea of
confident learning (Northcutt et al. 2021).

A row is flagged if another label leads by more than is usual among these rows, so labels that are hard to predict from
characters get few flags, not many. If fewer than half of the labels are predicted, none is flagged.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from curate.pool import Pool
from curate.rows import StepId, pair_of
from curate.similarity.neighbours import Vectors, unit_rows
from curate.steps import NamedStep
from schemas.records import Reason, Verdict, content_id
from schemas.streamed import batched

UNLIKELY = "pool/unlikely_label@1"
FLAG = "unlikely_label"
LEAST, _SPREADS = 0.3, 2.25  # least lead of another label, absolute and in spreads; measured by bench/curate
_LEAST_PREDICTED = 0.5  # least share of rows whose own label is predicted; with fewer, texts do not determine labels
_ROWS, _ROWS_PER_LABEL = 50, 5  # least number of rows, and of rows with a label, to learn from
_FITTED = 8_192  # rows to fit to, spread evenly over the pool; the others are only predicted
_DIMENSIONS, _GRAMS, _CHARACTERS = 512, (2, 3, 4), 2_000
_BLOCK, _RIDGE, _CONSTANT = 512, 1.0, 0.3
_GOLDEN = 0.6180339887498949  # multiples modulo 1 are evenly distributed and unrelated to any order of the labels
_MIX, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x100000001B3)


class LikelierLabel(NamedTuple):
    """Another label, by index, and how far it is ahead of the row's own."""

    label: int
    ahead: float


def unlikely_labels() -> NamedStep:
    """The step: flag an accepted row if the other rows predict another label for its text. It rejects none."""

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        ids, labels, names = list[str](), array("L"), dict[str, int]()
        rows = map(pair_of, pool.accepted(verdicts=False))
        with Vectors(1) as vectors:
            for block in batched(rows, _BLOCK):
                ids += (pair.id for pair in block)
                labels.extend(names.setdefault(pair.output, len(names)) for pair in block)
                vectors.add(character_vectors([pair.asked for pair in block]))
            likelier = find_likelier_labels(vectors, np.asarray(labels, np.int64))
        label_of = list(names)
        for number, id_ in enumerate(ids):
            if other := likelier.get(number):
                sentence = f"texts like this one are labelled '{label_of[other.label]}' in the other rows"
                yield step.verdict(id_, True, -other.ahead, Reason(FLAG, sentence), (FLAG,))
            else:
                yield step.verdict(id_, True, None, Reason("likely"))

    step = NamedStep(StepId(UNLIKELY, content_id("step", [UNLIKELY, LEAST, _SPREADS])), look)
    return step


def find_likelier_labels(vectors: Vectors, labels: np.ndarray) -> dict[int, LikelierLabel]:
    """Map the index of a row to the label that the other rows predict for it, if that is far ahead of its own.

    `labels` [rows] are indices from 0. The rows of each label have the same total weight.
    """
    if len(labels) < _ROWS:
        return {}
    fitted = np.arange(len(labels)) * _GOLDEN % 1 < _FITTED / len(labels)
    counts = np.bincount(labels[fitted], minlength=labels.max() + 1)
    known = counts >= _ROWS_PER_LABEL
    if known.sum() < 2:
        return {}
    weights = np.where(fitted, (fitted.sum() / len(counts) / np.maximum(counts, 1))[labels], 0.0)
    inverse, coefficients = _fit(vectors, labels, weights, len(counts))
    best, ahead = np.zeros(len(labels), np.int64), np.zeros(len(labels))
    for rows, texts in _blocks(vectors):
        labelled, at = labels[rows], np.arange(len(labels[rows]))
        given = texts @ coefficients
        leverage = weights[rows] * ((texts @ inverse) * texts).sum(axis=1)
        given[at, labelled] -= 1  # leave-one-out prediction: 1 + (fitted - 1) / (1 - leverage)
        given /= (1 - leverage)[:, None]
        own_score = given[at, labelled] + 1
        given[at, labelled] = given[:, ~known] = -np.inf
        best[rows] = given.argmax(axis=1)
        ahead[rows] = np.where(known[labelled], given.max(axis=1) - own_score, -np.inf)
    bound = _bound(ahead[np.isfinite(ahead)])
    return {int(row): LikelierLabel(int(best[row]), float(ahead[row])) for row in np.flatnonzero(ahead > bound)}


def _bound(ahead: np.ndarray) -> float:
    """The least lead of another label to flag a row, from the median and the spread (median absolute deviation, which a
    few wrong labels do not move) over these rows."""
    if (ahead < 0).mean() < _LEAST_PREDICTED:
        return np.inf
    middle = float(np.median(ahead))
    return max(LEAST, middle + _SPREADS * 1.4826 * float(np.median(np.abs(ahead - middle))))


def _fit(vectors: Vectors, labels: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted ridge regression of each label on the texts: the inverse of the second moments, and the coefficients."""
    moments, products = _RIDGE * np.eye(_DIMENSIONS + 1), np.zeros((_DIMENSIONS + 1, count))
    for rows, texts in _blocks(vectors):
        some = np.flatnonzero(weights[rows])
        weighted = texts[some] * weights[rows][some, None]
        moments += weighted.T @ texts[some]
        products += weighted.T @ (labels[rows][some, None] == np.arange(count)).astype(np.float64)
    inverse = np.linalg.inv(moments)
    return inverse, inverse @ products


def _blocks(vectors: Vectors) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of rows, and their text vectors with a constant column."""
    for first in range(0, vectors.rows, _BLOCK):
        texts = vectors.block(0, first, first + _BLOCK).astype(np.float64)
        yield slice(first, first + len(texts)), np.hstack([texts, np.full((len(texts), 1), _CONSTANT)])


def character_vectors(texts: Sequence[str]) -> np.ndarray:
    """Vectors [texts, 512] of unit length: signed, hashed counts of the 2- to 4-grams of characters."""
    plain = [f" {' '.join(text.casefold().split())[:_CHARACTERS]} " for text in texts]
    sizes = np.array([len(text) for text in plain])
    characters = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    text_of = np.repeat(np.arange(len(plain)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(characters))
    counts, runs = np.zeros(len(plain) * _DIMENSIONS), np.zeros(len(characters), np.uint64)
    for length in range(1, max(_GRAMS) + 1):
        runs = runs[: len(characters) - length + 1] * _STEP ^ characters[length - 1 :]
        if length in _GRAMS:
            inside = left[: len(runs)] >= length  # no n-gram crosses into the next text
            hashed = runs[inside] * _MIX
            hashed ^= hashed >> np.uint64(32)
            places = text_of[: len(runs)][inside] * _DIMENSIONS + (hashed % np.uint64(_DIMENSIONS)).astype(np.int64)
            signs = np.where(hashed >> np.uint64(63), 1.0, -1.0)
            counts += np.bincount(places, weights=signs, minlength=len(counts))
    return unit_rows(counts.reshape(-1, _DIMENSIONS))
