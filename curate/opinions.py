"""What steps say of a pool's slots, as arrays: two bytes an opinion. Only `curate/pool.py` reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from curate.rows import ORDER
from schemas.records import Reason

FALSE, NONE, TRUE = 0, 1, 2  # the places of `ORDER`
_MOST = np.iinfo(np.uint16).max  # codes of a user's own may be more


class Meanings:
    """Numbers for (keep, code), so that an opinion takes two bytes. Number 0: the step is silent."""

    def __init__(self) -> None:
        self._number: dict[tuple[bool | None, str], int] = {(None, "unjudged"): 0}
        self.meanings: list[tuple[bool | None, str]] = list(self._number)

    def number(self, keep: bool | None, code: str) -> int:
        number = self._number.setdefault((keep, code), len(self.meanings))
        if number == len(self.meanings):
            self.meanings.append((keep, code))
        return number

    def keeps(self) -> Any:
        """Number -> 0 (reject), 1 (cannot tell) or 2 (keep)."""
        return np.array([ORDER.index(keep) for keep, _ in self.meanings], np.int8)

    def numbers(self, code: str) -> list[int]:
        return [number for number, (_, other) in enumerate(self.meanings) if other == code]


class Opinions:
    """The opinions of one step: an opinion a slot, and what is kept nowhere else: scores and reasons, if there are."""

    def __init__(self, slots: int) -> None:
        self.opinions: Any = np.zeros(slots, np.uint16)
        self.scores: Any = None  # NaN for none; one a slot, as soon as there is one
        self.reasons: list[Reason | None] = []  # one a slot, or none at all
        self.flags: dict[int, tuple[str, ...]] = {}  # few

    def copy(self) -> Opinions:
        other = Opinions(0)
        other.opinions, other.scores = self.opinions.copy(), None if self.scores is None else self.scores.copy()
        other.reasons, other.flags = self.reasons.copy(), self.flags.copy()
        return other

    def score(self, slot: int) -> float | None:
        return None if self.scores is None or np.isnan(self.scores[slot]) else float(self.scores[slot])

    def add(
        self, slot: int, opinion: int, score: float | None, reason: Reason | None, flags: tuple[str, ...] = ()
    ) -> None:
        if opinion > _MOST:
            self.opinions = self.opinions.astype(np.uint32, copy=False)
        self.opinions[slot] = opinion
        if score is not None and self.scores is None:
            self.scores = np.full(len(self.opinions), np.nan, np.float64)
        if self.scores is not None:
            self.scores[slot] = np.nan if score is None else score
        if flags:
            self.flags[slot] = flags
        else:
            self.flags.pop(slot, None)
        if reason and not self.reasons:
            self.reasons = [None] * len(self.opinions)
        if self.reasons:
            self.reasons[slot] = reason

    def add_all(self, slots: Sequence[int], opinions: Any, flags: Mapping[int, tuple[str, ...]]) -> None:
        """Opinions of several slots, of which the source keeps the rest."""
        if opinions.max(initial=0) > _MOST:
            self.opinions = self.opinions.astype(np.uint32, copy=False)
        self.opinions[slots] = opinions
        if self.flags:
            for slot in slots:
                self.flags.pop(slot, None)
        self.flags.update(flags)


def grouped(slots: Any, groups: Any, alone: Collection[int] | None = None) -> tuple[Any, Any]:
    """`slots` in the order in which their groups first come, those of a group together, and the sizes of the groups;
    of groups of one only those of the slots `alone`, if they are given."""
    _, first, group = np.unique(groups[slots], return_index=True, return_inverse=True)
    slots, sizes = slots[np.argsort(first[group], kind="stable")], np.bincount(group)[np.argsort(first)]
    if alone is None:
        return slots, sizes
    wanted = (sizes > 1) | np.isin(slots[np.cumsum(sizes) - sizes], list(alone))
    return slots[np.repeat(wanted, sizes)], sizes[wanted]


def deviation_within(scores: Any, groups: Any) -> float:
    """The standard deviation of scores around the mean of their group, pooled; 0 where no group has two."""
    _, group = np.unique(groups, return_inverse=True)
    rows, sums = np.bincount(group), np.bincount(group, scores)
    free = int((rows - 1).sum())
    squares = float(((scores - (sums / np.maximum(rows, 1))[group]) ** 2).sum())
    return float(np.sqrt(squares / free)) if free else 0.0
