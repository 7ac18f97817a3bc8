"""The typed shape of `pairsmith.toml`. Every key has a default or is required; an unknown key is an error.

Reading the file, overriding keys and saying where a mistake stands is `schemas.spec_file`.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from schemas.spec.curate import (
    CurateSettings,
    DuplicateSettings,
    GateSettings,
    LengthSettings,
    Mode,
    ScoreSettings,
    SelectSettings,
)
from schemas.spec.generate import BackwardSettings, ForwardSettings, GenerateSettings
from schemas.spec.review import ReviewSettings, ReviewShares
from schemas.spec.section import Drawing, Pattern, Regex, Section, UserFunction, given
from schemas.spec.task import Exemplar, SeedSource, TaskSettings
from schemas.spec.teacher import TeacherSettings
from schemas.spec.train import EvaluateSettings, SplitSettings, TrainSettings

__all__ = [
    "BackwardSettings",
    "CurateSettings",
    "Drawing",
    "DuplicateSettings",
    "EvaluateSettings",
    "Exemplar",
    "ForwardSettings",
    "GateSettings",
    "GenerateSettings",
    "LengthSettings",
    "Pattern",
    "Regex",
    "ReviewSettings",
    "ReviewShares",
    "ScoreSettings",
    "Section",
    "SeedSource",
    "SelectSettings",
    "Spec",
    "SplitSettings",
    "StoreSettings",
    "TaskSettings",
    "TeacherSettings",
    "TrainSettings",
    "UserFunction",
    "given",
]


class StoreSettings(Section):
    """The place of the records: a SQLAlchemy URL. Absent: `pairsmith.db` beside the spec file. `url_env` names a
    variable."""

    url: str | None = None
    url_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class Spec(Section):
    """The whole file. Only `[task]` is compulsory; what a stage needs beside it, that stage asks for."""

    task: TaskSettings
    seeds: tuple[SeedSource, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    teacher: TeacherSettings = TeacherSettings()
    generate: GenerateSettings = GenerateSettings()
    curate: CurateSettings = CurateSettings()
    review: ReviewSettings = ReviewSettings()
    split: SplitSettings = SplitSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    store: StoreSettings = StoreSettings()

    @model_validator(mode="after")
    def _checks_are_not_gates(self) -> Spec:
        gates = {p.pattern for p in (*self.curate.gates.must, *self.curate.gates.must_not)}
        for check in self.evaluate.checks:
            if check.pattern in gates:
                raise ValueError(f"evaluate.checks '{check.name}' is also a gate, so it proves nothing about selection")
        for name in self.evaluate.user:
            if name in self.curate.gates.user:
                raise ValueError(f"evaluate.user '{name}' is also a gate, so it proves nothing about selection")
        return self
