"""The outcomes of commands as frozen dataclasses, which can be parsed from new and old receipts.

In a receipt, the fields that every command has are at the top level, and all others are under `facts`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self, TypeVar

from pydantic import TypeAdapter

from schemas.money import dollars
from schemas.records import Counts, Json, Receipt, Usage
from schemas.reviews import PullResult

ENDLESS = 32_768  # tokens of an answer that runs to the model's own limit: the maximum output of many models
EVALUATED = "evaluate.teacher"


@dataclass(frozen=True, kw_only=True)
class CommandOutcome:
    """The outcome of a command: its rows, why rows were lost, requests, tokens and cost (`usd` is None if unknown), and
    how long it took."""

    counts: Counts = field(default_factory=Counts)
    reasons: Mapping[str, int] = field(default_factory=dict)
    calls_sent: int = 0
    calls_reused: int = 0
    usage: Usage = field(default_factory=Usage)
    usd: float | None = 0.0
    seconds: float = 0.0
    costs: tuple[Json, ...] | None = None
    """What was sent, by stage, teacher and prompt (`schemas.money.Cost.as_json`); None if the command asks no
    teacher."""
    more: Json = field(default_factory=dict)
    """Facts without a field of their own, kept unchanged."""
    works_on_rows: ClassVar[bool] = True
    """Whether the command has failed if it had no rows."""

    @classmethod
    @cache
    def _parser(cls) -> TypeAdapter[Self]:
        return TypeAdapter(cls)

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """The outcome in `receipt`. A field that is missing, as in receipts of older versions, gets its default."""
        fields = {key: f.name for f in dataclasses.fields(cls) if f.name not in _SHARED for key in _keys(f)}
        known = {fields[key]: value for key, value in receipt.facts.items() if key in fields and value is not None}
        more = {key: value for key, value in receipt.facts.items() if key not in fields}
        shared = {name: getattr(receipt, name) for name in _SHARED if name != "more"}
        return dataclasses.replace(cls._parser().validate_python({**known, "more": more}), **shared)

    @property
    def facts(self) -> Json:
        """The facts that only this command has, as JSON; unknown ones are left out."""
        values = {_key(f): getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _SHARED}
        return {key: value for key, value in values.items() if value is not None} | self.more

    def facts_so_far(self) -> Json:
        """The facts of a command that did not finish: only those that were set."""
        empty = type(self)().facts
        return {key: value for key, value in self.facts.items() if value != empty.get(key)}

    def as_json(self) -> Json:
        """The outcome as JSON for `--json`."""
        return {
            **self.counts.model_dump(),
            "reasons": dict(self.reasons),
            "calls_sent": self.calls_sent,
            "calls_reused": self.calls_reused,
            "usage": self.usage.model_dump(),
            "usd": self.usd,
            "seconds": self.seconds,
            "facts": self.facts,
        }


OutcomeT = TypeVar("OutcomeT", bound=CommandOutcome)

# Fields stored at the top level of a receipt, outside its facts.
_SHARED = frozenset(f.name for f in dataclasses.fields(CommandOutcome)) - {"costs"}


def _key(field_: dataclasses.Field[Any]) -> str:
    """The key of the field under `facts`."""
    return str(field_.metadata.get("key", field_.name))


def _keys(field_: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The key of the field, and the keys used for it in receipts of earlier versions."""
    return (_key(field_), *field_.metadata.get("earlier", ()))


@dataclass(frozen=True, kw_only=True)
class StageOutcome(CommandOutcome):
    """The outcome of a pipeline stage, and what it was made from.

    `shaped_by` holds everything that affects the result, with files represented by their content, and `inputs` is a
    hash of it (see `pairsmith.plan`; `shaped_by` is None in receipts of older versions). `overrides` are the command's
    overrides that affect this stage. `source` is the id of the previous stage's artefact, `artifact_id` the id of this
    stage's artefact, and `files` are its paths in the project.
    """

    inputs: str = ""
    shaped_by: Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    source: str = field(default="", metadata={"key": "from"})
    artifact_id: str = field(default="", metadata={"key": "made"})
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GenerateOutcome(StageOutcome):
    """The outcome of `generate`.

    It holds the seeds by kind, what they are too few for, the first problems of seed rows and their number (0 in
    receipts of older versions, which list them all), the fingerprints of the pool by generator, the number of new and
    of existing pairs, rows without an answer, and the most frequent failures (`what`, the number of `rows`, the place
    of the `first`). The remaining fields come from the ledger: retries, prompts that a server seems to have truncated,
    endpoints that were abandoned with their last failure, teachers that answered with several models and the answers of
    each, and directions that missed their target of accepted rows with the number reached. `passed_over`: rows of
    earlier runs that are counted, although this one ended before them.
    """

    seeds: Mapping[str, int] = field(default_factory=dict)
    shortages: tuple[str, ...] = ()
    seed_problems: tuple[str, ...] = ()
    seed_problem_count: int = 0
    fingerprints: Mapping[str, str] = field(default_factory=dict, metadata={"key": "scopes"})
    pairs_made: int = 0
    pairs_kept: int = 0
    unanswered: int = 0
    failures: tuple[Json, ...] = ()
    retries: Mapping[str, int] = field(default_factory=dict)
    served: Mapping[str, int] = field(default_factory=dict)
    usage_unknown: int = 0
    cut_prompts: int = 0
    left_alone: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    passed_over: int = 0


@dataclass(frozen=True, kw_only=True)
class ForecastOutcome(CommandOutcome):
    """The forecast of the whole run, by stage and direction (`lines`) and in total (`whole`).

    Each of tokens, usd, batch_usd, minutes and rows has a `middle` and the ends of a 90 % prediction interval, `low`
    and `high`; None means unknown. The counts are those of the pilot: `pilot_seeds` of `seeds`. `usd_elsewhere` is what
    other prompts and teachers have cost.
    """

    seeds: int = 0
    pilot_seeds: int = 0
    shortages: tuple[str, ...] = ()
    """The uses that the seeds are too few for, reported before anything is asked."""
    unlimited: tuple[str, ...] = ()
    """The directions whose answers are not limited by `max_tokens`."""
    throttled: int = 0
    """How often the server refused a request of the pilot because of a rate limit."""
    unreached: int = 0
    """The concurrency of the run, if the pilot was too small to show the pace there."""
    judges: tuple[str, ...] = ()
    """The keys of the spec that name judges, or another teacher to compare with (`EVALUATED`). The pilot asks none of
    them, so no line includes them."""
    lines: tuple[Json, ...] = ()
    whole: Json = field(default_factory=dict)
    usd_elsewhere: float = 0.0
    is_generated: bool = False
    """Whether `generate` is done, so that nothing more will be paid for it."""
    shaped_by: Json | None = None
    """What would shape a generation and a curation as well, by stage."""

    @property
    def note(self) -> str:
        """What these figures do not include: judges, a teacher that is only evaluated, answers without a limit,
        waiting for a rate limit, and a server's pace at more requests at once. Empty if everything is included."""
        of_judges = unlimited = limited = small = ""
        if self.unreached:
            small = (
                f"The pilot was too small to show how fast the server answers {self.unreached} requests at once: the "
                "run may take a small part of this time. "
            )
        if self.throttled:
            limited = (
                f"The server limits the rate of requests ({self.throttled} of the pilot's were told to wait), so the "
                "run may take longer than this; teacher.requests_per_minute makes the forecast include the limit. "
            )
        if EVALUATED in self.judges:
            of_judges = f"These figures do not include {EVALUATED}, which is sent every test input. "
        if judges := [key for key in self.judges if key != EVALUATED]:
            of_judges += (
                f"These figures do not include the judges in {' and '.join(judges)}: a judge is sent style, input "
                "and output of every row that passes the gates, or of a test answer, which may cost more than the "
                "rest. "
            )
        if self.unlimited:
            which = " and ".join(f"generate.{way}" for way in self.unlimited)
            unlimited = (
                f"Without max_tokens in the sampling of {which} an answer may run to the model's own limit: the "
                f"intervals allow for up to {ENDLESS:,} tokens. Setting max_tokens makes them narrower."
            )
        return (small + limited + of_judges + unlimited).strip()

    def beside_cap(self, cap: float | None) -> str:
        """What `budget.max_usd`, part of which other work may have spent, means for a run that may cost more; empty if
        the run stays below it."""
        forecast, elsewhere = self.whole.get("usd"), self.usd_elsewhere
        if cap is None or forecast is None or forecast["high"] + elsewhere <= cap:
            return ""
        reaches = "costs more than" if forecast["low"] + elsewhere > cap else "may cost more than"
        left = f"budget.max_usd, {dollars(cap)}"
        if elsewhere:
            left = f"what is left of budget.max_usd, {dollars(max(0.0, cap - elsewhere))} of {dollars(cap)}"
        return f"the run {reaches} {left}: it stops there cleanly, and continues once that is raised"


@dataclass(frozen=True, kw_only=True)
class PreviewOutcome(CommandOutcome):
    """The outcome of `preview`.

    Each of `rows` has its direction, its seed, the `old` outputs in the last pool, the `new` ones of the present spec,
    and why a gate rejected each of these (missing in older previews). `same_prompt` shows whether the last pool was
    made with the same prompt and settings. The `left_` fields are what the full run would still ask: candidates, seeds
    and cost (`middle`, `low`, `high` of a 90 % interval; None if unknown). `shaped_by` is what would affect a
    generation.
    """

    rows: tuple[Json, ...] = ()
    same_prompt: bool = False
    left_candidates: int = 0
    left_seeds: int = 0
    left_usd: Json | None = None
    shaped_by: Json | None = None

    @property
    def failures(self) -> list[Json]:
        """Why answers are missing, the most frequent reason first."""
        texts = Counter(new["failure"] for row in self.rows for new in row["new"] if isinstance(new, dict))
        return [{"what": text} for text, _ in texts.most_common()]


@dataclass(frozen=True, kw_only=True)
class CurateOutcome(StageOutcome):
    """The number of reviews, the state of the review (`curate.review.status.as_json`; None before the first push), the
    scorer and why it was chosen (None if there is none), and the rows of each split. Other counts of the curation are
    in `more`."""

    review_count: int = 0
    review: Json | None = None
    scorer: Json | None = None
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CertifyOutcome(CommandOutcome):
    """The certificate in `words`, its id if one was issued, the figures behind it, what it is bound to (`parts`), and
    the number of reviews at that time. Its rows count as accepted; rows that are not certified count as waiting."""

    words: str = ""
    artifact_id: str = field(default="", metadata={"key": "made"})
    certificate: Json = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    review_count: int = 0


@dataclass(frozen=True, kw_only=True)
class ReviewOutcome(StageOutcome):
    """The state of the review, what reviewers still have to do (`waits`, empty if nothing), where they do it, how many
    reviews were fetched (`brought`), and how many rows were sent."""

    review: Json | None = None
    waits: str = ""
    brought: int = 0
    url: str | None = None
    queues: tuple[str, ...] | None = None
    pages: tuple[str, ...] | None = None
    sent: int | None = None


@dataclass(frozen=True, kw_only=True)
class PushOutcome(CommandOutcome):
    """Rows that were sent to reviewers, rows that were already there, and the state of the review (`waits` as in
    `ReviewOutcome`)."""

    url: str = ""
    sent: int = 0
    there: int = 0
    withdrawn: int = 0
    queues: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    review: Json | None = None
    waits: str = ""


@dataclass(frozen=True, kw_only=True)
class PullOutcome(PullResult, CommandOutcome):
    """Reviews that were fetched, by kind, and the state of the review (`waits` as in `ReviewOutcome`). The counts are
    of the present rows, of which there may be none: answers to earlier ones are fetched, too. If no present row is
    judged yet, `review` is None and `waits` says what to do first."""

    works_on_rows = False
    url: str = ""
    review: Json | None = None
    waits: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainOutcome(StageOutcome):
    """The tuned model. Losses are means per token; validation losses are None without a validation split.
    `train_seconds` is how long the training took, even if its result was reused (`reused`)."""

    base: str = ""
    objective: str = "sft"
    train_rows: int = 0
    validation_rows: int = 0
    without_preference: Mapping[str, int] = field(default_factory=dict)
    """With dpo and orpo: how many rows of the dataset are the better answer of no preference, by reason."""
    steps: int = 0
    learned_tokens: int = 0
    four_bit_layers: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    train_seconds: float = field(default=0.0, metadata={"key": "seconds"})
    validation_before: float | None = None
    validation_after: float | None = None
    reused: bool = False
    curve: tuple[str, ...] = ()
    """The learning curve as lines of text, if it was requested."""
    curve_sha256: str = ""
    """The hash of its file."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The hashes of the adapter's own files, without a merged model, which may be built again."""
    began_with: str = ""
    began_with_digests: Mapping[str, str] = field(default_factory=dict)
    """The adapter that DPO continued from, and the hashes of its own files."""


@dataclass(frozen=True, kw_only=True)
class RewardOutcome(CommandOutcome):
    """A reward model trained on the project's own preferences (`train.reward_training.RewardResult` as JSON, without
    its folder), its id and its path."""

    result: Json = field(default_factory=dict)
    artifact_id: str = field(default="", metadata={"key": "made"})
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluateOutcome(StageOutcome):
    """The outcome of `evaluate`.

    `pass_rate` maps each system to its pass rate with its interval (`share`, `low`, `high`), `systems` holds the same
    for both decodings, and `outcomes` maps system and decoding to the comparison of the tuned model with that system.
    `verdict` is a `ModelVerdict` as JSON. `reused` means that the evaluation already existed, `gated` that the command
    was asked to use the verdict as its exit code. `sha256` is the hash of the evaluation's file, `unjudged` the number
    of requests of its judges without an answer.
    """

    pass_rate: Mapping[str, Mapping[str, float]] = field(default_factory=dict, metadata={"earlier": ("strict_pass",)})
    systems: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    verdict: Json = field(default_factory=dict)
    reused: bool = False
    gated: bool = False
    sha256: str = ""
    unjudged: int = 0


@dataclass(frozen=True, kw_only=True)
class ExportOutcome(CommandOutcome):
    """The files that were written, by name, and the ids of what they contain. `gguf` describes for each GGUF how its
    answers compare with those of the measured model. `certificate` is the last one and whether it still holds (None if
    `certify` never ran)."""

    written: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    gguf: Mapping[str, str] = field(default_factory=dict)
    certificate: Json | None = None


@dataclass(frozen=True, kw_only=True)
class RunOutcome(CommandOutcome):
    """The stages that ran, with their seconds, and the report.

    There are four ways for a run to end. It may wait for reviewers (`waits`, `url`, `queues`, the state of their `gate`
    and, if they reject the set, their `objections`). A certificate required by the spec may be missing (`waits`, and
    `gate` is `uncertified`). It may have stopped before the stage `until`. Or it is complete (`pass_rate`, `systems`,
    `outcomes`, `verdict`). `not_reviewed` is the dataset that was trained on without review because review was off.
    """

    stages: tuple[str, ...] = ()
    seconds_by_stage: Mapping[str, float] = field(default_factory=dict)
    report: str = ""
    waits: str | None = None
    url: str | None = None
    queues: tuple[str, ...] | None = None
    pages: tuple[str, ...] | None = None
    gate: str | None = None
    objections: tuple[Json, ...] | None = None
    pass_rate: Mapping[str, Mapping[str, float]] | None = field(default=None, metadata={"earlier": ("strict_pass",)})
    systems: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None
    outcomes: Mapping[str, Mapping[str, str]] | None = None
    verdict: Json | None = None
    not_reviewed: str | None = None
    until: str | None = None
