"""Labels that the other rows speak against: of one row no rule can tell that a label of the list is the wrong one.

A linear classifier learns the labels of all other rows from the letters of their texts (hashed 2- to 4-grams, so any
language will do), and says how strongly it would give a row its own label and each other one. Ridge regression tells
what each row would get from a fit without it in closed form (Allen's PRESS, 1974), so nothing is trained twice; the
idea that such a disagreement is a wrong label is that of confident learning (Northcutt et al. 2021).

Flagged is a row for which another label is farther ahead than is usual among these rows, so that labels which letters
tell badly give few flags and not many. Where they do not tell half of the labels, there are none.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from curate.neighbours import Vectors
from curate.pool import Pool
from curate.rows import StepId
from curate.steps import Named
from schemas.records import Reason, Verdict, content_id

UNLIKELY = "pool/unlikely_label@1"
FLAG = "unlikely_label"
LEAST, _SPREADS = 0.3, 2.25  # by which another label is ahead of a row's own; measured in docs/curation.md
_TOLD = 0.5  # of the rows, how many are given their own label: with fewer the texts do not tell it
_ROWS, _OF_A_LABEL = 50, 5  # with fewer rows, or fewer of a label, nothing is learnt
_FITTED = 8_192  # rows that are learnt from, evenly over the pool; the others are compared with what was learnt
_DIMENSIONS, _GRAMS, _CHARACTERS = 512, (2, 3, 4), 2_000
_BLOCK, _RIDGE, _CONSTANT = 512, 1.0, 0.3
_GOLDEN = 0.6180339887498949  # its multiples fall evenly, and in no order that labels may stand in
_MIX, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x100000001B3)


class Likelier(NamedTuple):
    """The number of another label, and by how much it is ahead of the row's own."""

    label: int
    ahead: float


def unlikely_labels() -> Named:
    """Flags an accepted row whose text the other rows would give another label; none goes."""

    async def look(pool: Pool) -> AsyncIterator[Verdict]:
        ids, labels, names = list[str](), array("L"), dict[str, int]()
        rows = (row.pair for row in pool.accepted(verdicts=False) if row.pair is not None)
        with Vectors(1) as vectors:
            while block := list(islice(rows, _BLOCK)):
                ids += (pair.id for pair in block)
                labels.extend(names.setdefault(pair.output, len(names)) for pair in block)
                vectors.add(letters_of([pair.asked for pair in block]))
            likelier = likelier_labels(vectors, np.asarray(labels, np.int64))
        label_of = list(names)
        for number, id_ in enumerate(ids):
            if other := likelier.get(number):
                sentence = f"texts like this one are labelled '{label_of[other.label]}' in the other rows"
                yield step.verdict(id_, True, -other.ahead, Reason(FLAG, sentence), (FLAG,))
            else:
                yield step.verdict(id_, True, None, Reason("likely"))

    step = Named(StepId(UNLIKELY, content_id("step", [UNLIKELY, LEAST, _SPREADS])), look)
    return step


def likelier_labels(vectors: Vectors, labels: np.ndarray) -> dict[int, Likelier]:
    """Number of a row -> the label that the other rows give it, where that is far ahead of its own.

    `labels` [rows] are numbers from 0. The rows of one label weigh as much together as those of any other.
    """
    if len(labels) < _ROWS:
        return {}
    fitted = np.arange(len(labels)) * _GOLDEN % 1 < _FITTED / len(labels)
    counts = np.bincount(labels[fitted], minlength=labels.max() + 1)
    known = counts >= _OF_A_LABEL
    if known.sum() < 2:
        return {}
    weights = np.where(fitted, (fitted.sum() / len(counts) / np.maximum(counts, 1))[labels], 0.0)
    inverse, coefficients = _fit(vectors, labels, weights, len(counts))
    best, ahead = np.zeros(len(labels), np.int64), np.zeros(len(labels))
    for rows, texts in _blocks(vectors):
        own, at = labels[rows], np.arange(len(labels[rows]))
        given = texts @ coefficients
        leverage = weights[rows] * ((texts @ inverse) * texts).sum(axis=1)
        given[at, own] -= 1  # what a fit without the row gives it is 1 less its error over 1 less its leverage
        given /= (1 - leverage)[:, None]
        mine = given[at, own] + 1
        given[at, own] = given[:, ~known] = -np.inf
        best[rows], ahead[rows] = given.argmax(axis=1), np.where(known[own], given.max(axis=1) - mine, -np.inf)
    bound = _bound(ahead[np.isfinite(ahead)])
    return {int(row): Likelier(int(best[row]), float(ahead[row])) for row in np.flatnonzero(ahead > bound)}


def _bound(ahead: np.ndarray) -> float:
    """How far ahead another label has to be: farther than it is for nearly all of these rows, by the middle and the
    spread of them (the median absolute deviation, which a few wrong labels leave as it is)."""
    if (ahead < 0).mean() < _TOLD:
        return np.inf
    middle = float(np.median(ahead))
    return max(LEAST, middle + _SPREADS * 1.4826 * float(np.median(np.abs(ahead - middle))))


def _fit(vectors: Vectors, labels: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted ridge regression of each label on the texts: the inverse of their moments, and the coefficients."""
    moments, products = _RIDGE * np.eye(_DIMENSIONS + 1), np.zeros((_DIMENSIONS + 1, count))
    for rows, texts in _blocks(vectors):
        some = np.flatnonzero(weights[rows])
        weighted = texts[some] * weights[rows][some, None]
        moments += weighted.T @ texts[some]
        products += weighted.T @ (labels[rows][some, None] == np.arange(count)).astype(np.float64)
    inverse = np.linalg.inv(moments)
    return inverse, inverse @ products


def _blocks(vectors: Vectors) -> Iterator[tuple[slice, np.ndarray]]:
    """Places of rows, and their texts with a constant."""
    for first in range(0, vectors.rows, _BLOCK):
        texts = vectors.block(0, first, first + _BLOCK).astype(np.float64)
        yield slice(first, first + len(texts)), np.hstack([texts, np.full((len(texts), 1), _CONSTANT)])


def letters_of(texts: Sequence[str]) -> np.ndarray:
    """[texts, 512] of unit length: signed, hashed counts of the runs of 2 to 4 characters of each text."""
    plain = [f" {' '.join(text.casefold().split())[:_CHARACTERS]} " for text in texts]
    sizes = np.array([len(text) for text in plain])
    characters = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    text_of = np.repeat(np.arange(len(plain)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(characters))
    counts, runs = np.zeros(len(plain) * _DIMENSIONS), np.zeros(len(characters), np.uint64)
    for length in range(1, max(_GRAMS) + 1):
        runs = runs[: len(characters) - length + 1] * _STEP ^ characters[length - 1 :]
        if length in _GRAMS:
            whole = left[: len(runs)] >= length  # no run goes on into the next text
            hashed = runs[whole] * _MIX
            hashed ^= hashed >> np.uint64(32)
            places = text_of[: len(runs)][whole] * _DIMENSIONS + (hashed % np.uint64(_DIMENSIONS)).astype(np.int64)
            signs = np.where(hashed >> np.uint64(63), 1.0, -1.0)
            counts += np.bincount(places, weights=signs, minlength=len(counts))
    vectors = counts.reshape(-1, _DIMENSIONS)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
