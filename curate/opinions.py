"""What steps say of a pool's slots, as arrays: four bytes an opinion. Only `curate/pool.py` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.records import Reason, Verdict

FALSE, NONE, TRUE = 0, 1, 2
ORDER = (False, None, True)


class Meanings:
    """Numbers for (keep, code), so that an opinion takes four bytes. Number 0: the step is silent."""

    def __init__(self) -> None:
        self._number: dict[tuple[bool | None, str], int] = {(None, "unjudged"): 0}
        self.meanings: list[tuple[bool | None, str]] = list(self._number)

    def number(self, verdict: Verdict) -> int:
        meaning = verdict.keep, verdict.reason.code
        number = self._number.setdefault(meaning, len(self.meanings))
        if number == len(self.meanings):
            self.meanings.append(meaning)
        return number

    def keeps(self) -> Any:
        """Number -> 0 (reject), 1 (cannot tell) or 2 (keep)."""
        return np.array([ORDER.index(keep) for keep, _ in self.meanings], np.int8)

    def numbers(self, code: str) -> list[int]:
        return [number for number, (_, other) in enumerate(self.meanings) if other == code]


class Opinions:
    """The opinions of one step: an opinion a slot, scores, and the reasons that are kept nowhere else."""

    def __init__(self, slots: int) -> None:
        self.opinions: Any = np.zeros(slots, np.int32)
        self.scores: Any = np.full(slots, np.nan, np.float64)
        self.reasons: list[Reason | None] = []  # one a slot, or none at all
        self.flags: dict[int, tuple[str, ...]] = {}  # few

    def copy(self) -> Opinions:
        other = Opinions(0)
        other.opinions, other.scores = self.opinions.copy(), self.scores.copy()
        other.reasons, other.flags = self.reasons.copy(), self.flags.copy()
        return other

    def add(self, slot: int, opinion: int, score: float | None, reason: Reason | None) -> None:
        self.opinions[slot] = opinion
        self.scores[slot] = np.nan if score is None else score
        if reason and not self.reasons:
            self.reasons = [None] * len(self.opinions)
        if self.reasons:
            self.reasons[slot] = reason
