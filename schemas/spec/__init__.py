"""The typed model of `pairsmith.toml`. Every key has a default or is required; an unknown key is an error.

`schemas.spec_file` reads the file, applies overrides and locates mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from schemas.kinds import with_defaults
from schemas.labels import label_in
from schemas.records import Direction
from schemas.spec.curate import CurateSettings, GateSettings, JudgeQuestion, LengthSettings, Mode
from schemas.spec.export import ExportSettings
from schemas.spec.generate import BackwardSettings, ForwardSettings, GenerateSettings
from schemas.spec.personal import PersonalSettings
from schemas.spec.review import ReviewSettings, ReviewShares
from schemas.spec.section import Drawing, EnvNameIfAny, Pattern, Section, given, later
from schemas.spec.task import Exemplar, SeedSource, TaskSettings
from schemas.spec.teacher import BatchForm, TeacherSettings
from schemas.spec.train import EvaluateSettings, SplitSettings, TrainSettings

__all__ = [
    "BackwardSettings",
    "BatchForm",
    "Drawing",
    "EvaluateSettings",
    "Exemplar",
    "ForwardSettings",
    "GateSettings",
    "JudgeQuestion",
    "LengthSettings",
    "Mode",
    "Pattern",
    "PersonalSettings",
    "Purpose",
    "ReviewSettings",
    "ReviewShares",
    "Section",
    "SeedSource",
    "Spec",
    "SplitSettings",
    "TaskSettings",
    "TeacherSettings",
    "TrainSettings",
    "given",
]


Purpose = Literal[Direction, "evaluate"]


class StoreSettings(Section):
    """Where the records are stored: a SQLAlchemy URL, or `url_env`, the variable that holds it. Default: `pairsmith.db`
    beside the spec file."""

    url: str | None = None
    url_env: EnvNameIfAny = None


class BudgetSettings(Section):
    """`max_usd` caps the total spending on teachers through the store, for all purposes. The maximum cost of a request
    is reserved before it is sent, so a cap needs a price and a `max_tokens`."""

    max_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Spec(Section):
    """The whole file. Only `[task]` is required; a stage that needs another table reports it."""

    task: TaskSettings
    seeds: tuple[SeedSource, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    teacher: TeacherSettings = TeacherSettings()
    teachers: dict[str, TeacherSettings] = Field(default_factory=dict)
    generate: GenerateSettings = GenerateSettings()
    curate: CurateSettings = CurateSettings()
    review: ReviewSettings = ReviewSettings()
    split: SplitSettings = SplitSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    store: StoreSettings = StoreSettings()
    budget: BudgetSettings = BudgetSettings()
    personal: PersonalSettings = later(PersonalSettings())
    export: ExportSettings = later(ExportSettings())

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher generates anything. False if every source has outputs for its inputs, or is a test set
        beside such sources; then none is measured either, unless `evaluate.teacher` names one."""
        generated = (not source.imported and source.use != "test" for source in self.seeds)
        return any(generated) or not any(source.imported for source in self.seeds)

    @property
    def measures_teacher(self) -> bool:
        """Whether the evaluation compares with a teacher."""
        return self.needs_teacher or self.evaluate.teacher is not None

    def teacher_name(self, purpose: Purpose) -> str | None:
        """The name under `[teachers]` of the teacher for `purpose`; None means `[teacher]`."""
        if purpose == "evaluate":
            return self.evaluate.teacher or self.generate.forward.teacher
        settings: ForwardSettings | BackwardSettings = getattr(self.generate, purpose)
        return settings.teacher

    def teacher_for(self, purpose: Purpose) -> TeacherSettings:
        """The settings of the teacher that writes outputs, writes inputs, or is measured beside the tuned model."""
        name = self.teacher_name(purpose)
        return self.teachers[name] if name else self.teacher

    @model_validator(mode="after")
    def _check_teacher_names(self) -> Spec:
        named = {
            "generate.forward.teacher": self.generate.forward.teacher,
            "generate.backward.teacher": self.generate.backward.teacher,
            "evaluate.teacher": self.evaluate.teacher,
            "curate.score.teacher": self.curate.score.teacher,
        }
        judges = {"curate.judge.teachers": self.curate.judge.teachers, "evaluate.judges": self.evaluate.judges}
        pairs = [*named.items(), *((key, name) for key, names in judges.items() for name in names)]
        for key, name in pairs:
            if name is not None and name not in self.teachers:
                defined = ", ".join(self.teachers) or "none"
                raise ValueError(f"{key} names '{name}', but there is no [teachers.{name}] (defined: {defined})")
        return self

    @model_validator(mode="before")
    @classmethod
    def _apply_kind_defaults(cls, raw: Any) -> Any:
        return with_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _check_exemplar_labels(self) -> Spec:
        for number, exemplar in enumerate(self.exemplars if self.task.labels else ()):
            if label_in(self.task.labels, exemplar.output) is None:
                raise ValueError(f"exemplars.{number}: '{exemplar.output}' is not in task.labels")
        return self

    @model_validator(mode="after")
    def _check_independent_checks(self) -> Spec:
        gates = {p.pattern for p in (*self.curate.gates.must, *self.curate.gates.must_not)}
        for check in self.evaluate.checks:
            if check.pattern in gates:
                raise ValueError(f"evaluate.checks '{check.name}' is also a gate, so it proves nothing about selection")
        for name in self.evaluate.user:
            if name in self.curate.gates.user:
                raise ValueError(f"evaluate.user '{name}' is also a gate, so it proves nothing about selection")
        return self
