"""Near vectors are found without comparing all pairs: how many of them is measured against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from curate import neighbours
from curate.neighbours import Vectors, find_near_earlier


def alike(rows: int, cosine: float, share: float = 0.2, dimensions: int = 64) -> np.ndarray:
    """Vectors in 40 directions, as texts of few subjects have them; a `share` of them has one of the others near."""
    draw = np.random.default_rng(1)
    subjects = draw.normal(size=(40, dimensions))
    vectors = subjects[draw.integers(40, size=rows)] + draw.normal(size=(rows, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in draw.choice(np.arange(1, rows), int(share * rows), replace=False):
        away = draw.normal(size=dimensions)
        other = vectors[draw.integers(row)]
        away -= (away @ other) * other
        vectors[row] = cosine * other + np.sqrt(1 - cosine**2) * away / np.linalg.norm(away)
    return vectors.astype(np.float32)


def found(sides: list[np.ndarray], groups: np.ndarray, cosine: float) -> dict[int, neighbours.NearRow]:
    with Vectors(len(sides)) as vectors:
        for first in range(0, len(groups), 1_000):
            vectors.add(*(side[first : first + 1_000] for side in sides))
        return find_near_earlier(vectors, groups, cosine)


def of_all_pairs(vectors: np.ndarray, cosine: float) -> dict[int, int]:
    """Row -> the first one before it that is so near."""
    near = np.tril(vectors @ vectors.T >= cosine, -1)
    return {int(row): int(near[row].argmax()) for row in np.flatnonzero(near.any(axis=1))}


@pytest.mark.slow
@pytest.mark.parametrize("cosine", [0.85, 0.9])
def test_hardly_a_near_row_is_missed(cosine: float) -> None:
    """Of 8,000 rows, a fifth of them just as near to another as is asked: at least 99 % are found, and what is found
    is near, as all pairs say."""
    vectors = alike(8_000, cosine + 0.005)
    wanted, like = of_all_pairs(vectors, cosine), found([vectors], np.zeros(len(vectors), np.int64), cosine)
    assert len(wanted) > 1_000
    assert len(wanted.keys() & like.keys()) >= 0.99 * len(wanted)
    assert like.keys() <= wanted.keys()
    for row, near in like.items():
        assert near.earlier < row
        assert near.cosine == pytest.approx(float(vectors[row] @ vectors[near.earlier]), abs=1e-5)
        assert near.cosine >= cosine - 1e-5


def test_few_rows_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the row that is named is the first one that is near, in blocks of any size."""
    vectors = alike(600, 0.9)
    wanted = of_all_pairs(vectors, 0.85)
    for size in (2_048, 100):
        monkeypatch.setattr(neighbours, "_BLOCK", size)
        like = found([vectors], np.zeros(len(vectors), np.int64), 0.85)
        assert {row: near.earlier for row, near in like.items()} == wanted


@pytest.mark.parametrize("exact", [4_096, 50])
def test_every_side_and_the_group_have_to_be_the_same(monkeypatch: pytest.MonkeyPatch, exact: int) -> None:
    """Rows that are near on one side only, or whose numbers differ, are not alike."""
    monkeypatch.setattr(neighbours, "EXACT", exact)
    one = np.repeat(alike(100, 0.9, share=0.0), 2, axis=0)  # rows 2n and 2n + 1 are equal
    other, groups = one.copy(), np.zeros(200, np.int64)
    other[1] = -other[1]
    groups[3] = 1
    like = found([one, other], groups, 0.99)
    assert {row: near.earlier for row, near in like.items()} == {row: row - 1 for row in range(5, 200, 2)}


def test_work_grows_less_than_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the rows are compared at most ten times as often, where all pairs would be sixteen times as many."""
    compared: list[int] = []
    monkeypatch.setattr(neighbours, "EXACT", 0)
    monkeypatch.setattr(
        neighbours._Search, "compare", lambda self, queries, members: compared.append(len(queries) * len(members))
    )
    costs = []
    for rows in (2_000, 8_000):
        compared.clear()
        vectors = alike(rows, 0.9)
        found([vectors], np.zeros(rows, np.int64), 0.9)
        costs.append(sum(compared))
    assert costs[1] <= 10 * costs[0]
    assert costs[1] < 8_000**2 / 2
