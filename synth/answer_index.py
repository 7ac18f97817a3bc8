"""An index of the answers in the store: the attempts at every sample of every question ever asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.id_map import IdMap

Attempts = tuple[tuple[int, str], ...]
"""(attempt, status) of each answer to a sample, in order of attempts."""


class AnswerIndex:
    """key -> its attempts. Nearly all keys share a few values, so each stores a small number: 23 to 35 bytes per
    key."""

    def __init__(self, calls: Iterable[tuple[str, int, str]] = ()) -> None:
        self._numbers, self._attempt_lists = IdMap(), list[Attempts]()
        self._number_of: dict[Attempts, int] = {}
        for key, attempt, status in calls:
            self.add(key, attempt, status)

    def __contains__(self, key: str) -> bool:
        return key in self._numbers

    def of(self, key: str) -> Attempts:
        """The attempts of a key; empty if it was never answered."""
        number = self._numbers.get(key)
        return () if number is None else self._attempt_lists[number]

    def consecutive(self, keys: Sequence[str], samples: Sequence[int]) -> list[int]:
        """The first of `samples` that one request with a seed can cover: consecutive ones of the same attempt."""
        group, tried = [samples[0]], len(self.of(keys[samples[0]]))
        for sample in samples[1:]:
            if sample != group[-1] + 1 or len(self.of(keys[sample])) != tried:
                break
            group.append(sample)
        return group

    def add(self, key: str, attempt: int, status: str) -> None:
        before = self.of(key) if attempt > 1 else ()  # answers arrive in order of attempts
        self._set(key, (*before, (attempt, status)))

    def mark(self, key: str, attempt: int, status: str) -> None:
        """Change the status of an answer after it was judged again."""
        self._set(key, tuple((n, status if n == attempt else before) for n, before in self.of(key)))

    def _set(self, key: str, rows: Attempts) -> None:
        if (number := self._number_of.get(rows)) is None:
            number = self._number_of[rows] = len(self._attempt_lists)
            self._attempt_lists.append(rows)
        self._numbers[key] = number
