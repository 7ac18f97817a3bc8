"""`[split]`, `[train]` and `[evaluate]`: from an accepted set to a model and its proof."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from schemas.records import Sampling, SeedKind, added
from schemas.spec.section import Drawing, Pattern, Section, UserFunction, later
from schemas.user_modules import UserReference

Share = Annotated[float, Field(ge=0, lt=1)]


class SplitSettings(Section):
    """Shares of seeds, assigned by a hash of the seed, so that adding seeds never moves another. A share is a number,
    or a table with one number per kind of seed; a kind missing from the table has the default."""

    test: Share | dict[SeedKind, Share] = 0.2
    validation: Share | dict[SeedKind, Share] = 0.1
    salt: str = "pairsmith"

    def share(self, part: Literal["test", "validation"], kind: SeedKind) -> float:
        """The share of the seeds of this kind that goes into the split `part`."""
        shares: float | dict[SeedKind, float] = getattr(self, part)
        return shares.get(kind, type(self).model_fields[part].default) if isinstance(shares, dict) else shares

    @model_validator(mode="after")
    def _check_train_share(self) -> SplitSettings:
        for kind in get_args(SeedKind):
            if self.share("test", kind) + self.share("validation", kind) >= 1:
                of = f" of kind '{kind}'" if isinstance(self.test, dict) or isinstance(self.validation, dict) else ""
                raise ValueError(f"test + validation leave nothing{of} to train on")
        return self


class TrainSettings(Section):
    """`base`: `embedded`, a folder, or a hub id, whose commit `revision` may name.

    `method`: LoRA on a base in 16 bits (`lora`) or in 8 (`lora-8bit`), or QLoRA on NF4 with double quantisation
    (`qlora`); if the spec names none, the size of the base decides (`train.base_models.models.settled`). `objective`:
    supervised fine-tuning (`sft`), DPO starting from the resulting adapter (`dpo`), or ORPO from the base (`orpo`); the
    latter two learn from the dataset's preferences. `backend`: TRL alone, or TRL patched by unsloth.
    `trust_remote_code`: models whose own code may run, by name and hash (`train.base_models.remote_code`).
    """

    base: str = "embedded"
    method: Literal["qlora", "lora", "lora-8bit"] = "qlora"
    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    batch: int = Field(default=8, ge=1)
    epochs: float = Field(default=3, gt=0, le=1_000)
    max_length: int = Field(default=1024, ge=16)
    seed: int = 17
    revision: str | None = added(default=None)
    trust_remote_code: tuple[str, ...] = added(default=())
    template_arguments: dict[str, bool | int | float | str | None] = added(default_factory=dict)
    accumulation: int = added(default=1, ge=1)
    schedule: Literal["linear", "cosine", "constant"] = added(default="linear")
    warmup: float = added(default=0.1, ge=0, lt=1)
    weight_decay: float = added(default=0.0, ge=0)
    targets: tuple[str, ...] = added(default=())
    rslora: bool = added(default=False)
    dora: bool = added(default=False)
    neftune: float | None = added(default=None, gt=0)
    packing: bool = added(default=False)
    precision: Literal["auto", "bfloat16", "float16", "float32"] = added(default="auto")
    evaluation_steps: int | None = added(default=None, ge=1)
    patience: int | None = added(default=None, ge=1)
    objective: Literal["sft", "dpo", "orpo"] = added(default="sft")
    backend: Literal["trl", "unsloth"] = added(default="trl")
    edited_weight: int = added(default=1, ge=1)
    beta: float = added(default=0.1, gt=0)
    dpo_learning_rate: float = added(default=2e-5, gt=0)
    dpo_epochs: float = added(default=1, gt=0, le=1_000)

    @property
    def random_seed(self) -> int:
        """`seed` as an unsigned 32-bit number for random number generators; a seed in that range is unchanged."""
        return self.seed % 2**32

    @property
    def effective_settings(self) -> TrainSettings:
        """The settings with those that the objective ignores reset to their defaults."""
        of_dpo = ("dpo_learning_rate", "dpo_epochs")
        ignored = {"sft": ("beta", *of_dpo), "dpo": (), "orpo": of_dpo}[self.objective]
        return self.model_copy(update={name: type(self).model_fields[name].default for name in ignored})

    @property
    def last_stage(self) -> TrainSettings:
        """The settings with the learning rate and the epochs of the last training phase: DPO has its own, after the
        supervised phase."""
        of_stage = {"learning_rate": self.dpo_learning_rate, "epochs": self.dpo_epochs}
        return self.model_copy(update=of_stage) if self.objective == "dpo" else self

    @property
    def needs_special_support(self) -> bool:
        """Whether it uses a feature that not every machine has, or that may conflict with other settings."""
        special = self.backend != "trl" or self.packing or self.precision != "auto" or self.dora
        return special or self.edited_weight > 1

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _check_is_list(cls, models: Any) -> Any:
        if isinstance(models, bool | str):
            raise ValueError('must be a list of models, ["NAME@HASH"]; `pairsmith doctor` shows name and hash')
        return models

    @field_validator("template_arguments")
    @classmethod
    def _check_variable_names(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if wrong := [name for name in arguments if not name.isidentifier()]:
            raise ValueError(f"'{wrong[0]}' cannot be the name of a template variable")
        return arguments


class EvaluateSettings(Section):
    """The proof on the locked test split.

    `checks` are patterns and `user` functions `module:function` beside the spec that no gate uses; without any, the
    gates alone judge. `teacher` names the teacher to be measured, by default that of `generate.forward`. `judges` are
    names under `[teachers]`: they answer the checklist of `[curate.judge]` for every system's outputs, and compare the
    tuned model's outputs with those of each other system. `ship_at` is the pass rate that the final verdict requires.
    With `vllm`, base and tuned model are served by a vLLM that pairsmith starts, with the given Python and arguments,
    instead of the embedded server. `resamples` is accepted but no longer used: the intervals of earlier versions were
    bootstrapped.
    """

    teacher: str | None = added()
    samples: int = Field(default=3, ge=1)
    sampling: Drawing = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)
    checks: tuple[Pattern, ...] = ()
    user: tuple[UserFunction, ...] = later(())
    judges: tuple[str, ...] = added(default=())
    max_seeds: int | None = Field(default=None, ge=1)
    ship_at: float = added(0.5, ge=0, le=1)
    resamples: int = Field(default=10_000, ge=100)
    concurrency: int = Field(default=20, ge=1)
    vllm: bool = added(default=False)
    vllm_python: str | None = added()
    vllm_args: tuple[str, ...] = added(default=())

    @property
    def check_names(self) -> tuple[str, ...]:
        """The names of the checks in a report: a pattern's `name`, a function's own name."""
        return (*(check.name for check in self.checks), *(UserReference.read(name).name for name in self.user))

    @model_validator(mode="after")
    def _check_distinct_names(self) -> EvaluateSettings:
        if len(set(self.check_names)) < len(self.check_names):
            raise ValueError("two checks have the same name, so a report could not distinguish them")
        return self

    @model_validator(mode="after")
    def _check_vllm_sampling(self) -> EvaluateSettings:
        if self.vllm and self.sampling.no_repeat_ngram_size is not None:
            raise ValueError("vLLM would ignore no_repeat_ngram_size; remove it or evaluate.vllm")
        return self
