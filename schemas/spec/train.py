"""`[split]`, `[train]` and `[evaluate]`: from an accepted set to a model and its proof."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from schemas.own_modules import OwnName
from schemas.records import Sampling, added
from schemas.spec.section import Drawing, Pattern, Section, UserFunction

SeedKind = Literal["input", "output", "pair", "conversation"]
Share = Annotated[float, Field(ge=0, lt=1)]


class SplitSettings(Section):
    """Shares of seeds, by a hash of the seed: adding seeds never moves another. A share is one number, or a table with
    one for each kind of seed; a kind that the table leaves out has the default."""

    test: Share | dict[SeedKind, Share] = 0.2
    validation: Share | dict[SeedKind, Share] = 0.1
    salt: str = "pairsmith"

    def share(self, part: Literal["test", "validation"], kind: SeedKind) -> float:
        """The share of the seeds of a kind that the part gets."""
        shares: float | dict[SeedKind, float] = getattr(self, part)
        return shares.get(kind, type(self).model_fields[part].default) if isinstance(shares, dict) else shares

    @model_validator(mode="after")
    def _leaves_train(self) -> SplitSettings:
        for kind in get_args(SeedKind):
            if self.share("test", kind) + self.share("validation", kind) >= 1:
                of = f" of kind '{kind}'" if isinstance(self.test, dict) or isinstance(self.validation, dict) else ""
                raise ValueError(f"test + validation leave nothing{of} to train on")
        return self


class TrainSettings(Section):
    """`base`: `embedded`, a folder, or a hub id, whose commit `revision` may name. `method`: LoRA on a base in 16 bits
    (`lora`) or in 8 (`lora-8bit`), or QLoRA on NF4 with double quantisation (`qlora`); where the spec names none, the
    size of the base decides (`train.base_model.settled`). `objective`: supervised fine-tuning (`sft`), DPO from the
    adapter that it makes (`dpo`), or ORPO from the base (`orpo`); the latter two learn from the dataset's
    preferences. `backend`: TRL alone, or TRL as unsloth changes it. `trust_remote_code`: models whose own code runs, by
    name and hash (`train.remote_code`)."""

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
        """`seed` as random number generators take it, 32 bits without a sign; one that fits stays as it is."""
        return self.seed % 2**32

    @property
    def heeded(self) -> TrainSettings:
        """The settings without those of another objective, which change nothing."""
        of_dpo = ("dpo_learning_rate", "dpo_epochs")
        unheeded = {"sft": ("beta", *of_dpo), "dpo": (), "orpo": of_dpo}[self.objective]
        return self.model_copy(update={name: type(self).model_fields[name].default for name in unheeded})

    @property
    def last_stage(self) -> TrainSettings:
        """The settings with the learning rate and the epochs of what is trained last: DPO has its own, behind those of
        the supervised part."""
        own = {"learning_rate": self.dpo_learning_rate, "epochs": self.dpo_epochs}
        return self.model_copy(update=own) if self.objective == "dpo" else self

    @property
    def asks_for_more(self) -> bool:
        """Whether it names what not every machine has, or what may not go with the rest."""
        asks = self.backend != "trl" or self.packing or self.precision != "auto" or self.dora
        return asks or self.edited_weight > 1

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _by_name(cls, models: Any) -> Any:
        if isinstance(models, bool | str):
            raise ValueError('it is a list of models and no switch: ["NAME@HASH"], which `pairsmith doctor` shows')
        return models

    @field_validator("template_arguments")
    @classmethod
    def _are_names(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if wrong := [name for name in arguments if not name.isidentifier()]:
            raise ValueError(f"'{wrong[0]}' is no name of a template's variable")
        return arguments


class EvaluateSettings(Section):
    """The proof on the locked test split. `checks` are patterns and `user` functions `module:function` beside the spec
    that no gate uses; without any the gates alone judge. `teacher` names the one that is measured, by default that of
    `generate.forward`. `judges` are names under `[teachers]`: they answer the checklist of `[curate.judge]` about every
    system's answers, and choose between the tuned model's and each other system's. `ship_at` is the pass rate that the
    verdict asks for. With `vllm`, base and tuned model are served by a vLLM of pairsmith's own, with the Python and the
    arguments that are named, in place of the embedded server. `resamples` is read and no longer used: the intervals of
    earlier versions were bootstrapped."""

    teacher: str | None = added()
    samples: int = Field(default=3, ge=1)
    sampling: Drawing = Sampling(temperature=0.7, top_p=0.95, max_tokens=512)
    checks: tuple[Pattern, ...] = ()
    user: tuple[UserFunction, ...] = Field(default=(), exclude_if=lambda user: not user)
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
        """The names of the checks in a report: a pattern by its name, a function by its own."""
        return (*(check.name for check in self.checks), *(OwnName.read(name).name for name in self.user))

    @model_validator(mode="after")
    def _distinct_names(self) -> EvaluateSettings:
        if len(set(self.check_names)) < len(self.check_names):
            raise ValueError("two checks have one name, so a report could not tell them apart")
        return self

    @model_validator(mode="after")
    def _decoded_as_said(self) -> EvaluateSettings:
        if self.vllm and self.sampling.no_repeat_ngram_size is not None:
            raise ValueError("vLLM knows no no_repeat_ngram_size and would pass over it; leave it or evaluate.vllm out")
        return self
