"""Lists that are gone through as often as anybody asks and never stand in memory as a whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, overload

R = TypeVar("R")


class Streamed(Sequence[R]):
    """A list whose rows are read a chunk at a time from where they are kept. A row by its number reads those before
    it: who wants many goes through them."""

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        if isinstance(place, slice):
            return list(self)[place]
        number = place if place >= 0 else place + len(self)
        if not 0 <= number < len(self):
            raise IndexError(place)
        return next(islice(self, number, None))

    @abstractmethod
    def __iter__(self) -> Iterator[R]: ...

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == its for one, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it is as long as a table


class Where(Streamed[R]):
    """Those rows of a list that are wanted."""

    def __init__(self, rows: Sequence[R], wanted: Callable[[R], bool]) -> None:
        self._rows, self._wanted = rows, wanted

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __iter__(self) -> Iterator[R]:
        return filter(self._wanted, self._rows)
