"""The verdicts of steps on a pool's slots as arrays, two bytes per opinion. Only `curate/pool.py` reads them.

An opinion is a verdict without its text: a number that stands for (keep, code).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from curate.rows import ORDER
from schemas.records import Reason

FALSE, NONE, TRUE = 0, 1, 2  # indices in `ORDER`
_MOST = np.iinfo(np.uint16).max  # codes of user-defined steps may exceed it


class OpinionTable:
    """Numbers for (keep, code), so that an opinion takes two bytes. Number 0 means that the step has not judged the
    slot."""

    def __init__(self) -> None:
        self._number: dict[tuple[bool | None, str], int] = {(None, "unjudged"): 0}
        self.meanings: list[tuple[bool | None, str]] = list(self._number)

    def number(self, keep: bool | None, code: str) -> int:
        number = self._number.setdefault((keep, code), len(self.meanings))
        if number == len(self.meanings):
            self.meanings.append((keep, code))
        return number

    def keeps(self) -> Any:
        """Number -> 0 (reject), 1 (cannot judge) or 2 (keep), as an array."""
        return np.array([ORDER.index(keep) for keep, _ in self.meanings], np.int8)

    def numbers(self, code: str) -> list[int]:
        return [number for number, (_, other) in enumerate(self.meanings) if other == code]


class Opinions:
    """The opinions of one step, one per slot, and its scores and reasons if they are not stored elsewhere."""

    def __init__(self, slots: int) -> None:
        self.values: Any = np.zeros(slots, np.uint16)
        self.scores: Any = None  # one per slot, NaN for none; allocated with the first score
        self.reasons: list[Reason | None] = []  # one per slot, or empty
        self.flags: dict[int, tuple[str, ...]] = {}  # sparse

    def copy(self) -> Opinions:
        other = Opinions(0)
        other.values, other.scores = self.values.copy(), None if self.scores is None else self.scores.copy()
        other.reasons, other.flags = self.reasons.copy(), self.flags.copy()
        return other

    def score(self, slot: int) -> float | None:
        return None if self.scores is None or np.isnan(self.scores[slot]) else float(self.scores[slot])

    def add(
        self, slot: int, opinion: int, score: float | None, reason: Reason | None, flags: tuple[str, ...] = ()
    ) -> None:
        if opinion > _MOST:
            self.values = self.values.astype(np.uint32, copy=False)
        self.values[slot] = opinion
        if score is not None and self.scores is None:
            self.scores = np.full(len(self.values), np.nan, np.float64)
        if self.scores is not None:
            self.scores[slot] = np.nan if score is None else score
        if flags:
            self.flags[slot] = flags
        else:
            self.flags.pop(slot, None)
        if reason and not self.reasons:
            self.reasons = [None] * len(self.values)
        if self.reasons:
            self.reasons[slot] = reason

    def add_all(self, slots: Sequence[int], opinions: Any, flags: Mapping[int, tuple[str, ...]]) -> None:
        """Set the opinions of several slots whose scores and reasons the source stores."""
        if opinions.max(initial=0) > _MOST:
            self.values = self.values.astype(np.uint32, copy=False)
        self.values[slots] = opinions
        if self.flags:
            for slot in slots:
                self.flags.pop(slot, None)
        self.flags.update(flags)


def grouped(slots: Any, groups: Any, alone: Collection[int] | None = None) -> tuple[Any, Any]:
    """`slots` sorted so that groups are together, in the order of their first slots, and the sizes of the groups.

    With `alone`, groups of one are left out unless their slot is in `alone`.
    """
    _, first, group = np.unique(groups[slots], return_index=True, return_inverse=True)
    slots, sizes = slots[np.argsort(first[group], kind="stable")], np.bincount(group)[np.argsort(first)]
    if alone is None:
        return slots, sizes
    to_read = (sizes > 1) | np.isin(slots[np.cumsum(sizes) - sizes], list(alone))
    return slots[np.repeat(to_read, sizes)], sizes[to_read]


def deviation_within(scores: Any, groups: Any) -> float:
    """The standard deviation of scores around the mean of their group, pooled; 0 if no group has two."""
    _, group = np.unique(groups, return_inverse=True)
    rows, sums = np.bincount(group), np.bincount(group, scores)
    free = int((rows - 1).sum())
    squares = float(((scores - (sums / np.maximum(rows, 1))[group]) ** 2).sum())
    return float(np.sqrt(squares / free)) if free else 0.0
