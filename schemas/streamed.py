"""Rows that are never in memory as a whole: in chunks, or as sequences that can be iterated any number of times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar, overload

R = TypeVar("R")


def batched(rows: Iterable[R], size: int) -> Iterator[list[R]]:
    """The rows in lists of `size`, of which the last may be shorter."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch


class Streamed(Sequence[R]):
    """A sequence whose rows are read from storage a chunk at a time. Accessing a row by index reads all rows before it,
    so iterate to access many rows."""

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        places = range(len(self))[place]
        return self._select(places) if isinstance(places, range) else self._select(range(places, places + 1))[0]

    def _select(self, places: range) -> list[R]:
        """The rows at these places."""
        if places.step < 0:
            return self._select(places[::-1])[::-1]
        return list(islice(self, places.start, places.stop, places.step))

    @abstractmethod
    def __iter__(self) -> Iterator[R]: ...

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == other for one, other in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # too long to hash


class FilteredRows(Streamed[R]):
    """The rows of a sequence that satisfy a predicate."""

    def __init__(self, rows: Sequence[R], predicate: Callable[[R], bool]) -> None:
        self._rows, self._predicate = rows, predicate

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __iter__(self) -> Iterator[R]:
        return filter(self._predicate, self._rows)
