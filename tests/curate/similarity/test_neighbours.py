"""Similar vectors are found without comparing all pairs; the share of those found is measured against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from curate.similarity import neighbours
from curate.similarity.neighbours import Vectors, find_near_earlier


def similar_vectors(rows: int, cosine: float, share: float = 0.2, dimensions: int = 64) -> np.ndarray:
    """Vectors in 40 directions, like texts on few subjects; a `share` of them is similar to one of the others."""
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


def find_near(sides: list[np.ndarray], groups: np.ndarray, cosine: float) -> dict[int, neighbours.NearRow]:
    with Vectors(len(sides)) as vectors:
        for first in range(0, len(groups), 1_000):
            vectors.add(*(side[first : first + 1_000] for side in sides))
        return find_near_earlier(vectors, groups, cosine)


def brute_force(vectors: np.ndarray, cosine: float) -> dict[int, int]:
    """Row -> the first earlier row that is at least this similar."""
    near = np.tril(vectors @ vectors.T >= cosine, -1)
    return {int(row): int(near[row].argmax()) for row in np.flatnonzero(near.any(axis=1))}


@pytest.mark.slow
@pytest.mark.parametrize("cosine", [0.85, 0.9])
def test_at_most_one_in_a_hundred_near_rows_is_missed(cosine: float) -> None:
    """Of 8,000 rows, a fifth of them just at the requested similarity, at least 99 % are found, and none that is not
    similar, compared with all pairs."""
    vectors = similar_vectors(8_000, cosine + 0.005)
    expected, near_rows = brute_force(vectors, cosine), find_near([vectors], np.zeros(len(vectors), np.int64), cosine)
    assert len(expected) > 1_000
    assert len(expected.keys() & near_rows.keys()) >= 0.99 * len(expected)
    assert near_rows.keys() <= expected.keys()
    for row, near in near_rows.items():
        assert near.earlier < row
        assert near.cosine == pytest.approx(float(vectors[row] @ vectors[near.earlier]), abs=1e-5)
        assert near.cosine >= cosine - 1e-5


def test_few_rows_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few rows all pairs are compared, so the reported row is the first similar one, for any block size."""
    vectors = similar_vectors(600, 0.9)
    expected = brute_force(vectors, 0.85)
    for size in (2_048, 100):
        monkeypatch.setattr(neighbours, "_BLOCK", size)
        near_rows = find_near([vectors], np.zeros(len(vectors), np.int64), 0.85)
        assert {row: near.earlier for row, near in near_rows.items()} == expected


@pytest.mark.parametrize("exact", [4_096, 50])
def test_all_sides_and_the_group_must_match(monkeypatch: pytest.MonkeyPatch, exact: int) -> None:
    """Rows that are similar on one side only, or whose numbers differ, do not match."""
    monkeypatch.setattr(neighbours, "EXACT", exact)
    one = np.repeat(similar_vectors(100, 0.9, share=0.0), 2, axis=0)  # rows 2n and 2n + 1 are equal
    other, groups = one.copy(), np.zeros(200, np.int64)
    other[1] = -other[1]
    groups[3] = 1
    near_rows = find_near([one, other], groups, 0.99)
    assert {row: near.earlier for row, near in near_rows.items()} == {row: row - 1 for row in range(5, 200, 2)}


def test_work_grows_less_than_quadratically(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the rows need at most ten times the comparisons; all pairs would need sixteen times."""
    compared: list[int] = []
    monkeypatch.setattr(neighbours, "EXACT", 0)
    monkeypatch.setattr(
        neighbours._Search, "compare", lambda self, queries, members: compared.append(len(queries) * len(members))
    )
    costs = []
    for rows in (2_000, 8_000):
        compared.clear()
        vectors = similar_vectors(rows, 0.9)
        find_near([vectors], np.zeros(rows, np.int64), 0.9)
        costs.append(sum(compared))
    assert costs[1] <= 10 * costs[0]
    assert costs[1] < 8_000**2 / 2
