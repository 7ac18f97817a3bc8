"""For each of very many vectors, find an earlier one that is near: an inverted file (IVF, Jegou et al. 2011) on disk.

Up to EXACT rows, every row is compared with every one before it. More rows are divided into cells around centres that
are drawn from them and refined twice (spherical k-means). A row is compared with the rows of the PROBES cells nearest
to it, whichever of two rows comes first. The cost grows with rows x square root of rows instead of rows squared. A pair
is missed only if neither row has the other's cell among its own: at a cosine of 0.85 in fewer than one of a hundred
cases (tests/curate/similarity/test_neighbours.py measures it). The similarities reported are exact.

Memory holds blocks of products, some 100 MB, and 150 bytes per row. The vectors are in a temporary file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

EXACT = 4_096  # rows up to which all pairs are compared
PROBES = 8
_CELLS = 4_096  # at most
_BLOCK = 2_048  # rows on either side of a block of products: 16 MB
_ROWS_PER_CELL = 32  # rows sampled per centre


class NearRow(NamedTuple):
    """An earlier row and the cosine to it, the least one over the sides."""

    earlier: int
    cosine: float


class Vectors:
    """Rows of unit length in a temporary file, deleted at the end of the `with`. Each row has one or more sides."""

    def __init__(self, sides: int) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(sides)]  # noqa: SIM115  closed by __exit__
        self.rows, self.dimensions = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    @property
    def sides(self) -> int:
        return len(self._files)

    def add(self, *sides: np.ndarray) -> None:
        """Append rows, with an array [rows, dimensions] for each side."""
        for file, vectors in zip(self._files, sides, strict=True):
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
        self.rows += len(sides[0])
        self.dimensions = sides[0].shape[1]

    def block(self, side: int, first: int, end: int) -> np.ndarray:
        """The rows from `first` up to, but not including, `end`."""
        width, file = 4 * self.dimensions, self._files[side]
        file.seek(first * width)
        return np.frombuffer(file.read((end - first) * width), np.float32).reshape(-1, self.dimensions)

    def select(self, side: int, rows: Any) -> np.ndarray:
        """The rows with these indices."""
        self._files[side].flush()
        shape = (self.rows, self.dimensions)
        return np.array(np.memmap(self._files[side], np.float32, "r", shape=shape)[rows])


def find_near_earlier(vectors: Vectors, groups: Sequence[int], cosine: float) -> dict[int, NearRow]:
    """Map each row to the first earlier row found that is in the same group (`groups`) and at least `cosine` similar on
    every side."""
    search = _Search(vectors, np.asarray(groups), cosine)
    if vectors.rows <= EXACT:
        rows = np.arange(vectors.rows)
        search.compare(rows, rows)
    else:
        for queries, members in _cells(vectors):
            search.compare(queries, members)
    return search.nearest


class _Search:
    def __init__(self, vectors: Vectors, groups: np.ndarray, cosine: float) -> None:
        self._vectors, self._groups, self._cosine = vectors, groups, cosine
        self.nearest: dict[int, NearRow] = {}

    def compare(self, queries: np.ndarray, members: np.ndarray) -> None:
        """Compare each of `queries` with each of `members`, both in ascending order. Of a near pair, the later row gets
        the earlier."""
        for at in range(0, len(members), _BLOCK):
            block = members[at : at + _BLOCK]
            member_vectors = [self._vectors.select(side, block) for side in range(self._vectors.sides)]
            for start in range(0, len(queries), _BLOCK):
                self._compare(queries[start : start + _BLOCK], block, member_vectors)

    def _compare(self, rows: np.ndarray, others: np.ndarray, member_vectors: Sequence[np.ndarray]) -> None:
        least = self._vectors.select(0, rows) @ member_vectors[0].T
        near = (least >= self._cosine) & (self._groups[rows][:, None] == self._groups[others])
        near &= rows[:, None] != others
        for side in range(1, len(member_vectors)):
            if not (some := np.flatnonzero(near.any(axis=1))).size:
                return
            least[some] = np.minimum(least[some], self._vectors.select(side, rows[some]) @ member_vectors[side].T)
            near &= least >= self._cosine
        before = near & (others < rows[:, None])
        for row in np.flatnonzero(before.any(axis=1)).tolist():
            place = int(before[row].argmax())
            self._record(int(rows[row]), int(others[place]), float(least[row, place]))
        after = near & (others > rows[:, None])
        for place in np.flatnonzero(after.any(axis=0)).tolist():
            row = int(after[:, place].argmax())
            self._record(int(others[place]), int(rows[row]), float(least[row, place]))

    def _record(self, later: int, earlier: int, cosine: float) -> None:
        if later not in self.nearest or earlier < self.nearest[later].earlier:
            self.nearest[later] = NearRow(earlier, min(1.0, cosine))


def _cells(vectors: Vectors) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every cell, the rows that search it and the rows in it."""
    centers = _centers(vectors)
    nearest = np.empty((vectors.rows, min(PROBES, len(centers))), np.int16)
    for first in range(0, vectors.rows, _BLOCK):
        products = vectors.block(0, first, first + _BLOCK) @ centers.T
        some = np.argpartition(-products, nearest.shape[1] - 1, axis=1)[:, : nearest.shape[1]]
        order = np.argsort(-np.take_along_axis(products, some, axis=1), axis=1)
        nearest[first : first + _BLOCK] = np.take_along_axis(some, order, axis=1)
    by_cell = np.argsort(nearest, axis=None, kind="stable")
    ends = np.searchsorted(nearest.reshape(-1)[by_cell], np.arange(len(centers) + 1))
    for cell in range(len(centers)):
        of_cell = by_cell[ends[cell] : ends[cell + 1]]
        rows = of_cell // nearest.shape[1]
        is_nearest = of_cell % nearest.shape[1] == 0
        if is_nearest.any():
            yield rows, rows[is_nearest]


def _centers(vectors: Vectors) -> np.ndarray:
    """The centres of the cells, drawn from the rows with a fixed seed and refined."""
    count = min(_CELLS, 4 * math.isqrt(vectors.rows))
    draw = np.random.default_rng(0)
    sample = vectors.select(
        0, np.sort(draw.choice(vectors.rows, min(vectors.rows, _ROWS_PER_CELL * count), replace=False))
    )
    centers = sample[draw.choice(len(sample), count, replace=False)]
    for _ in range(2):
        sums = centers.copy()
        for first in range(0, len(sample), _BLOCK):
            block = sample[first : first + _BLOCK]
            np.add.at(sums, (block @ centers.T).argmax(axis=1), block)
        centers = unit_rows(sums)
    return centers


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """The rows, each scaled to length 1; a row of zeros stays one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
