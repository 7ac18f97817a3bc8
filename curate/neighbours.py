"""For each of very many vectors an earlier one that is near: an inverted file (IVF, Jegou et al. 2011), spilt to disk.

Up to EXACT rows every one is compared with every one before it. More are put into cells around centres that are drawn
from them and moved to the middle of their rows twice (spherical k-means); a row is compared with those of the PROBES
cells that it is nearest to, whichever of two rows comes first. So the cost grows with rows x square root of rows where
all pairs grow with the square, and a pair is missed only if neither row has the other's cell among its own: at a
cosine of 0.85 fewer than one in a hundred (tests/curate/test_neighbours.py measures it). What is found is exact.

In memory are blocks of products, some 100 MB, and 150 bytes a row; vectors wait in a temporary file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

EXACT = 4_096  # rows up to which all pairs are compared
PROBES = 8
_CELLS = 4_096  # at most
_BLOCK = 2_048  # rows on either side of a block of products: 16 MB
_OF_A_CELL = 32  # rows that its centre is the middle of, on average


class Near(NamedTuple):
    """The number of an earlier row, and the cosine: the least among the sides."""

    earlier: int
    cosine: float


class Vectors:
    """Rows of unit length in a temporary file, which goes at the end of a `with`. One or more sides a row."""

    def __init__(self, sides: int) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(sides)]  # noqa: SIM115  closed by __exit__
        self.rows, self.dimensions = 0, 0

    def __enter__(self) -> Vectors:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    @property
    def sides(self) -> int:
        return len(self._files)

    def add(self, *sides: np.ndarray) -> None:
        """Rows [rows, dimensions], a side each."""
        for file, vectors in zip(self._files, sides, strict=True):
            file.write(np.ascontiguousarray(vectors, np.float32).tobytes())
        self.rows += len(sides[0])
        self.dimensions = sides[0].shape[1]

    def block(self, side: int, first: int, end: int) -> np.ndarray:
        """The rows from `first` to `end`."""
        width, file = 4 * self.dimensions, self._files[side]
        file.seek(first * width)
        return np.frombuffer(file.read((end - first) * width), np.float32).reshape(-1, self.dimensions)

    def some(self, side: int, rows: Any) -> np.ndarray:
        """The rows with these numbers."""
        self._files[side].flush()
        shape = (self.rows, self.dimensions)
        return np.array(np.memmap(self._files[side], np.float32, "r", shape=shape)[rows])


def near_earlier(vectors: Vectors, groups: Sequence[int], cosine: float) -> dict[int, Near]:
    """Number of a row -> the first row found before it in the same of `groups` that is so near on every side."""
    search = _Search(vectors, np.asarray(groups), cosine)
    if vectors.rows <= EXACT:
        whole = np.arange(vectors.rows)
        search.compare(whole, whole)
    else:
        for queries, members in _cells(vectors):
            search.compare(queries, members)
    return search.nearest


class _Search:
    def __init__(self, vectors: Vectors, groups: np.ndarray, cosine: float) -> None:
        self._vectors, self._groups, self._cosine = vectors, groups, cosine
        self.nearest: dict[int, Near] = {}

    def compare(self, queries: np.ndarray, members: np.ndarray) -> None:
        """Each of `queries` with each of `members`, both in order; of two the later one is near the earlier one."""
        for at in range(0, len(members), _BLOCK):
            block = members[at : at + _BLOCK]
            theirs = [self._vectors.some(side, block) for side in range(self._vectors.sides)]
            for start in range(0, len(queries), _BLOCK):
                self._compare(queries[start : start + _BLOCK], block, theirs)

    def _compare(self, rows: np.ndarray, others: np.ndarray, theirs: Sequence[np.ndarray]) -> None:
        least = self._vectors.some(0, rows) @ theirs[0].T
        near = (least >= self._cosine) & (self._groups[rows][:, None] == self._groups[others])
        near &= rows[:, None] != others
        for side in range(1, len(theirs)):
            if not (some := np.flatnonzero(near.any(axis=1))).size:
                return
            least[some] = np.minimum(least[some], self._vectors.some(side, rows[some]) @ theirs[side].T)
            near &= least >= self._cosine
        before = near & (others < rows[:, None])
        for row in np.flatnonzero(before.any(axis=1)).tolist():
            place = int(before[row].argmax())
            self._keep(int(rows[row]), int(others[place]), float(least[row, place]))
        behind = near & (others > rows[:, None])
        for place in np.flatnonzero(behind.any(axis=0)).tolist():
            row = int(behind[:, place].argmax())
            self._keep(int(others[place]), int(rows[row]), float(least[row, place]))

    def _keep(self, later: int, earlier: int, cosine: float) -> None:
        if later not in self.nearest or earlier < self.nearest[later].earlier:
            self.nearest[later] = Near(earlier, min(1.0, cosine))


def _cells(vectors: Vectors) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that look into a cell and the rows in it, for every cell."""
    centers = _centers(vectors)
    nearest = np.empty((vectors.rows, min(PROBES, len(centers))), np.int16)
    for first in range(0, vectors.rows, _BLOCK):
        products = vectors.block(0, first, first + _BLOCK) @ centers.T
        some = np.argpartition(-products, nearest.shape[1] - 1, axis=1)[:, : nearest.shape[1]]
        order = np.argsort(-np.take_along_axis(products, some, axis=1), axis=1)
        nearest[first : first + _BLOCK] = np.take_along_axis(some, order, axis=1)
    looks = np.argsort(nearest, axis=None, kind="stable")
    ends = np.searchsorted(nearest.reshape(-1)[looks], np.arange(len(centers) + 1))
    for cell in range(len(centers)):
        of_cell = looks[ends[cell] : ends[cell + 1]]
        rows = of_cell // nearest.shape[1]
        home = of_cell % nearest.shape[1] == 0
        if home.any():
            yield rows, rows[home]


def _centers(vectors: Vectors) -> np.ndarray:
    """Centres of cells, drawn with a fixed seed from the rows."""
    count = min(_CELLS, 4 * math.isqrt(vectors.rows))
    draw = np.random.default_rng(0)
    sample = vectors.some(0, np.sort(draw.choice(vectors.rows, min(vectors.rows, _OF_A_CELL * count), replace=False)))
    centers = sample[draw.choice(len(sample), count, replace=False)]
    for _ in range(2):
        sums = centers.copy()
        for first in range(0, len(sample), _BLOCK):
            block = sample[first : first + _BLOCK]
            np.add.at(sums, (block @ centers.T).argmax(axis=1), block)
        centers = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.asarray(centers)
