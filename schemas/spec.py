"""The typed shape of `pairsmith.toml`. Every key has a default or is required; an unknown key is an error.

Reading the file, overriding keys and saying where a mistake stands is `schemas.spec_file`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import UsageError
from schemas.records import FinishMeaning, Sampling


class Section(BaseModel):
    """A table of the spec file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Given = TypeVar("Given", bound=Section)


def given(section: type[Given], where: str, **values: Any) -> Given:
    """A section from values in Python code, for what stands there as `where`. Raises UsageError."""
    try:
        return section(**values)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            legal = ", ".join(section.model_fields)
            raise UsageError(f"{where} has no setting '{key}'.", fix=f"It has: {legal}.") from None
        why = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {key} = {first.get('input')!r}: {why}.") from None


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


Regex = Annotated[str, AfterValidator(_compiles)]
UserFunction = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]


class TaskSettings(Section):
    """The task that the model learns. `system` is what the tuned model is told; `style` is the full house style in
    words, told to the teacher and to the untuned systems of the evaluation."""

    kind: Literal["rewrite"] = "rewrite"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    system: str = "Rewrite the input in the house style."
    style: str = Field(min_length=1)
    language: str = Field(default="en", pattern=r"^[a-z]{2}$")


class Exemplar(Section):
    """A worked example shown to the teacher."""

    input: str = Field(min_length=1)
    output: str = Field(min_length=1)

    @property
    def simple(self) -> str:
        """The input, as prompts that were released with this name ask for it."""
        return self.input

    @property
    def enhanced(self) -> str:
        """The output, as prompts that were released with this name ask for it."""
        return self.output


class SeedSource(Section):
    """A source of seeds: a file beside the spec (`-` is standard input), a `datasets` folder, or a hub id.

    `columns` maps our name (`text`) to the file's. `format` is told by the file's ending if absent. `use` puts all
    seeds of the source into one part, whatever their hash says; nothing is generated for `use = "test"`.
    """

    path: str = Field(min_length=1)
    kind: Literal["input", "output"] = "input"
    format: Literal["jsonl", "csv", "parquet", "text", "datasets", "hub"] | None = None
    columns: dict[Literal["text"], str] = Field(default_factory=dict)
    split: str | None = None
    # Left out of the dump where it is absent, so that no hash of a spec without it changes.
    use: Literal["train", "validation", "test"] | None = Field(default=None, exclude_if=lambda use: use is None)
    license: str | None = None
    limit: int | None = Field(default=None, ge=1)


def _complete_if_listed(value: Any) -> Any:
    """A plain list of finish reasons says that each of them means a complete answer."""
    return dict.fromkeys(value, "complete") if isinstance(value, list | tuple) else value


FinishReasons = Annotated[dict[str, FinishMeaning], BeforeValidator(_complete_if_listed)]


class TeacherSettings(Section):
    """An OpenAI-compatible endpoint, or `embedded`. `key_env` is the name of an environment variable, never a key.

    `identity` names the teacher in call keys; by default it is the model's name, so that another port or replica of the
    same model is still a hit. `attempts` is how many answers are asked for one sample before it is given up;
    `retries` is how often a request that brought no answer (429, 5xx, broken connection) is sent again.
    `finish_reasons` says what words of this server mean that pairsmith does not know: `["done"]` or
    `{ done = "complete", cut = "truncated" }`.
    """

    url: str = "embedded"
    model: str = "smollm2-135m-instruct"
    revision: str | None = None
    identity: str | None = None
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    concurrency: int = Field(default=32, ge=1, le=4096)
    timeout_s: float = Field(default=120, gt=0)
    attempts: int = Field(default=2, ge=1)
    retries: int = Field(default=5, ge=0)
    finish_reasons: FinishReasons = Field(default_factory=dict)
    usd_per_million_prompt_tokens: float = Field(default=0, ge=0)
    usd_per_million_completion_tokens: float = Field(default=0, ge=0)


def _leaves_the_question(sampling: Sampling) -> Sampling:
    if ours := sorted({"model", "messages", "stream", "n"} & sampling.extra.keys()):
        raise ValueError(
            f"extra may not set '{ours[0]}': pairsmith sets it itself (teacher.model, the prompt, generate.forward.n)"
        )
    return sampling


Drawing = Annotated[Sampling, AfterValidator(_leaves_the_question)]


class ForwardSettings(Section):
    """Input seed to `n` candidates."""

    enabled: bool = True
    n: int = Field(default=4, ge=1, le=64)
    prompt: str = "enhance"
    sampling: Drawing = Sampling(temperature=0.9, max_tokens=512)


class BackwardSettings(Section):
    """Excellent output to one simple version at each abstraction level (Prompt Expansion, Datta et al. 2023)."""

    enabled: bool = True
    levels: tuple[str, ...] = (
        "three to five words",
        "a short phrase of six to ten words",
        "one plain sentence",
    )
    prompt: str = "simplify"
    sampling: Drawing = Sampling(temperature=0.7, max_tokens=96)


class GenerateSettings(Section):
    """The generation of pairs. `accepted` stops forward generation once so many of its rows have passed the gates."""

    forward: ForwardSettings = ForwardSettings()
    backward: BackwardSettings = BackwardSettings()
    accepted: int | None = Field(default=None, ge=1)


class Pattern(Section):
    """A named regular expression, searched in the output."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    pattern: Regex = Field(min_length=1)


class LengthSettings(Section):
    """Bounds in words of the output, and on output words / input words."""

    min_words: int = Field(default=8, ge=0)
    max_words: int = Field(default=400, ge=1)
    min_ratio: float = Field(default=1.0, ge=0)
    max_ratio: float = Field(default=60.0, gt=0)


class GateSettings(Section):
    """Code gates, each on by default. `user` names functions `module:function` beside the spec file."""

    length: LengthSettings | Literal[False] = LengthSettings()
    repetition: bool = True
    echo: bool = True
    preamble: bool = True
    answered: bool = True
    lost_content: bool = True
    language: bool = True
    must: tuple[Pattern, ...] = ()
    must_not: tuple[Pattern, ...] = ()
    json_schema: str | None = None
    user: tuple[UserFunction, ...] = ()


class DuplicateSettings(Section):
    """Exact and near-duplicate removal: Jaccard similarity of word bigrams at or above `jaccard`."""

    enabled: bool = True
    jaccard: float = Field(default=0.7, gt=0, le=1)


class ScoreSettings(Section):
    """The scorer that compares candidates of one input.

    `auto`: a Bradley-Terry reward model fitted on good against corrupted outputs if it beats length on unseen
    corruptions, else the PMI score. `pmi`: log p(output | input) - log p(output) under the embedded model. `none` keeps
    every row that passes. Any other value is a folder or hub id of a sequence-classification reward model.
    """

    model: str = "auto"
    batch_tokens: int = Field(default=4096, ge=128)


class SelectSettings(Section):
    """Keep the best `best` candidates of every input."""

    best: int = Field(default=1, ge=1)


class CurateSettings(Section):
    """The way from pairs to an accepted set."""

    gates: GateSettings = GateSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    score: ScoreSettings = ScoreSettings()
    select: SelectSettings = SelectSettings()


class ReviewShares(Section):
    """The shares of a batch among the reasons to look at a row; docs/review-method.md tells what each is for."""

    estimation: float = Field(default=0.5, gt=0, le=1)
    calibration: float = Field(default=0.1, ge=0, lt=1)
    audit_accepted: float = Field(default=0.1, ge=0, lt=1)
    audit_rejected: float = Field(default=0.1, ge=0, lt=1)
    disagreement: float = Field(default=0.1, ge=0, lt=1)
    margin: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _make_a_whole(self) -> ReviewShares:
        whole = sum(self.model_dump().values())
        if abs(whole - 1) > 1e-6:
            raise ValueError(f"the shares add up to {whole:g}, not to 1")
        return self


Reason = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=40)]


class ReviewSettings(Section):
    """Human review in Argilla. `enabled` false, or `run --no-review`: the pipeline goes on without people and says so.

    `url` absent: the server that `pairsmith review up` starts; else an existing Argilla, with `key_env` naming the
    variable that holds its API key.

    `batch` rows wait for people at a time. `annotators_per_row` people answer every row, and one more answers a random
    share `overlap` of the rows, so that agreement can be measured. Review may stop once the margin of error of
    the acceptance rate, half its `confidence` interval, is at most `margin_of_error`, and `run` goes on if the interval
    for the rows that the programs accept lies at `accept_at_least` or above; it stops where it lies below. `gold` is a
    JSON Lines file of rows with known verdicts. `dataset` names the queue (default: the task's name); `seed` fixes
    which rows are drawn.
    """

    enabled: bool = True
    url: str | None = Field(default=None, pattern=r"^https?://")
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    workspace: str = Field(default="pairsmith", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    dataset: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    reasons: tuple[Reason, ...] = Field(
        default=("wrong", "invented", "lost_content", "off_style", "too_long", "too_short", "bad_language"),
        min_length=2,
    )
    annotators_per_row: int = Field(default=1, ge=1, le=20)
    overlap: float = Field(default=0.2, ge=0, le=1)
    margin_of_error: float = Field(default=0.05, gt=0, lt=0.5)
    accept_at_least: float = Field(default=0.5, ge=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    batch: int = Field(default=50, ge=1, le=10_000)
    shares: ReviewShares = ReviewShares()
    gold: str | None = None
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _key_with_url(self) -> ReviewSettings:
        if self.url and not self.key_env:
            raise ValueError("a url needs key_env, the name of the variable that holds the API key")
        if len(set(self.reasons)) < len(self.reasons):
            raise ValueError("a reason stands twice in 'reasons'")
        return self


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
    that no gate uses; without any the gates alone judge. `resamples` is read and no longer used: the intervals of
    earlier versions were bootstrapped."""

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
