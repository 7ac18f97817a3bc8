"""`[split]`, `[train]` and `[evaluate]`: from an accepted set to a model and its proof."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from schemas.records import Sampling, added
from schemas.spec.section import Drawing, Pattern, Section, UserFunction


class SplitSettings(Section):
    """Shares of seeds, by a hash of the seed: adding seeds never moves another."""

    test: float = Field(default=0.2, ge=0, lt=1)
    validation: float = Field(default=0.1, ge=0, lt=1)
    salt: str = "pairsmith"

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitSettings:
        if self.test + self.validation >= 1:
            raise ValueError("test + validation leave nothing to train on")
        return self


class TrainSettings(Section):
    """LoRA (`lora`) or QLoRA with NF4 and double quantisation (`qlora`). `base`: `embedded`, a folder, or a hub id."""

    base: str = "embedded"
    method: Literal["qlora", "lora"] = "qlora"
    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    batch: int = Field(default=8, ge=1)
    epochs: float = Field(default=3, gt=0)
    max_length: int = Field(default=1024, ge=16)
    seed: int = 17


class EvaluateSettings(Section):
    """The proof on the locked test split. `checks` are patterns and `user` functions `module:function` beside the spec
    that no gate uses; without any the gates alone judge. `teacher` names the one that is measured, by default that of
    `generate.forward`. `resamples` is read and no longer used: the intervals of
    earlier versions were bootstrapped."""

    teacher: str | None = added()
    samples: int = Field(default=3, ge=1)
    sampling: Drawing = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)
    checks: tuple[Pattern, ...] = ()
    user: tuple[UserFunction, ...] = Field(default=(), exclude_if=lambda user: not user)
    max_seeds: int | None = Field(default=None, ge=1)
    resamples: int = Field(default=10_000, ge=100)
    concurrency: int = Field(default=20, ge=1)

    @property
    def check_names(self) -> tuple[str, ...]:
        """The names of the checks in a report: a pattern by its name, a function by its own."""
        return (*(check.name for check in self.checks), *(name.partition(":")[2] for name in self.user))

    @model_validator(mode="after")
    def _distinct_names(self) -> EvaluateSettings:
        if self.user and len(set(self.check_names)) < len(self.check_names):
            raise ValueError("two checks have one name, so a report could not tell them apart")
        return self
