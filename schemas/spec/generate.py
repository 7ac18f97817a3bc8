"""`[generate]`: from seeds to candidates."""

from __future__ import annotations

from typing import get_args

from pydantic import Field, field_validator

from schemas.records import Direction, Sampling
from schemas.spec.section import Drawing, Section


class ForwardSettings(Section):
    """Input seed to `n` candidates. `teacher` names one of `[teachers.NAME]`; without it `[teacher]` is asked."""

    enabled: bool = True
    n: int = Field(default=4, ge=1, le=64)
    prompt: str = "enhance"
    teacher: str | None = None
    sampling: Drawing = Sampling(temperature=0.9, max_tokens=512)
    candidates: int | None = Field(default=None, ge=1)

    @property
    def samples(self) -> int:
        """The candidates of one seed."""
        return self.n


class BackwardSettings(Section):
    """Excellent output to one simple version at each abstraction level (Prompt Expansion, Datta et al. 2023)."""

    enabled: bool = True
    levels: tuple[str, ...] = (
        "three to five words",
        "a short phrase of six to ten words",
        "one plain sentence",
    )
    prompt: str = "simplify"
    teacher: str | None = None
    sampling: Drawing = Sampling(temperature=0.7, max_tokens=96)
    accepted: int | None = Field(default=None, ge=1)
    candidates: int | None = Field(default=None, ge=1)

    @field_validator("levels")
    @classmethod
    def _are_questions_of_their_own(cls, levels: tuple[str, ...]) -> tuple[str, ...]:
        questions = [" ".join(level.split()) for level in levels]
        if not all(questions) or not questions:
            raise ValueError("name a level in words; enabled = false asks for none")
        if twice := next((level for level in questions if questions.count(level) > 1), None):
            raise ValueError(f"'{twice}' stands twice: both would be one question, and one answer two rows")
        return levels

    @property
    def samples(self) -> int:
        """The candidates of one seed."""
        return len(self.levels)


class GenerateSettings(Section):
    """The generation of pairs. `accepted` stops forward generation once so many of its rows have passed the gates, and
    `backward.accepted` the other direction; `candidates` of a direction stops it once so many were asked for.
    `run` goes on to curation only if at most the share `unanswered_at_most` of the rows got no answer."""

    forward: ForwardSettings = ForwardSettings()
    backward: BackwardSettings = BackwardSettings()
    accepted: int | None = Field(default=None, ge=1)
    unanswered_at_most: float = Field(default=0.02, ge=0, le=1)

    @property
    def directions(self) -> dict[Direction, ForwardSettings | BackwardSettings]:
        """The settings of each direction that is enabled."""
        ways = {name: getattr(self, name) for name in get_args(Direction)}
        return {name: way for name, way in ways.items() if way.enabled}

    @property
    def targets(self) -> dict[str, int]:
        """Rows to be accepted, by direction, where there is a number."""
        wanted = {"forward": self.accepted, "backward": self.backward.accepted}
        return {way: rows for way, rows in wanted.items() if rows is not None}

    @property
    def limits(self) -> dict[str, int]:
        """Candidates to be asked for at most, by direction, where there is a number."""
        most = {"forward": self.forward.candidates, "backward": self.backward.candidates}
        return {way: candidates for way, candidates in most.items() if candidates is not None}
