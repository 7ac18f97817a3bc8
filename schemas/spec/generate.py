"""`[generate]`: from seeds to candidates."""

from __future__ import annotations

from typing import get_args

from pydantic import Field, field_validator

from schemas.records import Direction, Sampling
from schemas.spec.section import Drawing, Section


class ForwardSettings(Section):
    """From an input seed to `n` candidates. `teacher` names one of `[teachers.NAME]`; the default is `[teacher]`."""

    enabled: bool = True
    n: int = Field(default=4, ge=1, le=64)
    prompt: str = "enhance"
    teacher: str | None = None
    sampling: Drawing = Sampling(temperature=0.9, max_tokens=512)
    candidates: int | None = Field(default=None, ge=1)

    @property
    def samples(self) -> int:
        """The number of candidates per seed."""
        return self.n


class BackwardSettings(Section):
    """From an excellent output to one simple version at each abstraction level (Prompt Expansion, Datta et al.
    2023)."""

    enabled: bool = True
    levels: tuple[str, ...] = ("three to five words", "a short phrase of six to ten words", "one plain sentence")
    prompt: str = "simplify"
    teacher: str | None = None
    sampling: Drawing = Sampling(temperature=0.7, max_tokens=96)
    accepted: int | None = Field(default=None, ge=1)
    candidates: int | None = Field(default=None, ge=1)

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: tuple[str, ...]) -> tuple[str, ...]:
        normalized = [" ".join(level.split()) for level in levels]
        if not all(normalized) or not normalized:
            raise ValueError("describe every level in words; to generate none, set enabled = false")
        if twice := next((level for level in normalized if normalized.count(level) > 1), None):
            raise ValueError(f"'{twice}' appears twice: both would be the same request, and its answer two rows")
        return levels

    @property
    def samples(self) -> int:
        """The number of candidates per seed."""
        return len(self.levels)


class GenerateSettings(Section):
    """The generation of pairs. `accepted` stops forward generation once that many of its rows have passed the gates, of
    each input at most as many as curation keeps; `backward.accepted` does so for backward generation. `candidates` of a
    direction stops it once that many were requested. `run` continues to curation only if at most the share
    `unanswered_at_most` of the rows got no answer."""

    forward: ForwardSettings = ForwardSettings()
    backward: BackwardSettings = BackwardSettings()
    accepted: int | None = Field(default=None, ge=1)
    unanswered_at_most: float = Field(default=0.02, ge=0, le=1)

    @property
    def directions(self) -> dict[Direction, ForwardSettings | BackwardSettings]:
        """The settings of each enabled direction."""
        settings = {name: getattr(self, name) for name in get_args(Direction)}
        return {name: direction for name, direction in settings.items() if direction.enabled}

    @property
    def targets(self) -> dict[str, int]:
        """The number of rows to be accepted, for each direction that has one."""
        targets = {"forward": self.accepted, "backward": self.backward.accepted}
        return {direction: rows for direction, rows in targets.items() if rows is not None}

    @property
    def limits(self) -> dict[str, int]:
        """The maximum number of candidates to request, for each direction that has one."""
        limits = {"forward": self.forward.candidates, "backward": self.backward.candidates}
        return {direction: candidates for direction, candidates in limits.items() if candidates is not None}
