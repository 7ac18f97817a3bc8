"""The outcomes of commands, as they pass them to each other: one frozen record for each, parsed from receipts old and
new.

In a receipt, the fields that every command has stand beside each other and all others under `facts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter

from schemas.money import dollars
from schemas.records import Counts, Json, Receipt, Usage

ENDLESS = 32_768  # tokens of an answer that goes on until the model's own limit: what many models write at most


@dataclass(frozen=True, kw_only=True)
class CommandOutcome:
    """The outcome of a command: its rows, why rows were lost, what was asked and spent (`usd` None: nobody
    knows), how long it took."""

    counts: Counts = field(default_factory=Counts)
    reasons: Mapping[str, int] = field(default_factory=dict)
    calls_sent: int = 0
    calls_reused: int = 0
    usage: Usage = field(default_factory=Usage)
    usd: float | None = 0.0
    seconds: float = 0.0
    costs: tuple[Json, ...] | None = None
    """What was sent, by stage, teacher and prompt (`schemas.money.Cost.as_json`); None where a command asks nobody."""
    more: Json = field(default_factory=dict)
    """Facts that have no field of their own here: they are kept as they are."""

    @classmethod
    @cache
    def _parser(cls) -> TypeAdapter[Self]:
        return TypeAdapter(cls)

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """The outcome in `receipt`; a field that it lacks, as receipts of older versions do, has its default."""
        fields = {key: f.name for f in dataclasses.fields(cls) if f.name not in _SHARED for key in _keys(f)}
        known = {fields[key]: value for key, value in receipt.facts.items() if key in fields and value is not None}
        more = {key: value for key, value in receipt.facts.items() if key not in fields}
        shared = {name: getattr(receipt, name) for name in _SHARED if name != "more"}
        return dataclasses.replace(cls._parser().validate_python({**known, "more": more}), **shared)

    @property
    def facts(self) -> Json:
        """The facts of this command beside those of every command, as JSON; what is not known is left out."""
        values = {_key(f): getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _SHARED}
        return {key: value for key, value in values.items() if value is not None} | self.more

    def facts_so_far(self) -> Json:
        """The same of a command that did not finish: only what it came to say."""
        empty = type(self)().facts
        return {key: value for key, value in self.facts.items() if value != empty.get(key)}

    def as_json(self) -> Json:
        """The outcome for a program."""
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


Came = TypeVar("Came", bound=CommandOutcome)

# A receipt has these beside its facts.
_SHARED = frozenset(f.name for f in dataclasses.fields(CommandOutcome)) - {"costs"}


def _key(of: dataclasses.Field[Any]) -> str:
    """The field's key under `facts`."""
    return str(of.metadata.get("key", of.name))


def _keys(of: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The same with those that receipts of earlier versions have instead."""
    return (_key(of), *of.metadata.get("earlier", ()))


@dataclass(frozen=True, kw_only=True)
class StageOutcome(CommandOutcome):
    """The outcome of a stage of the pipeline, and what it was made of.

    `shaped_by` names everything that shaped it, files by their content, and `inputs` is a hash of that (see
    `pairsmith.plan`; None in receipts of older versions). `overrides` are those of the command that had a part in it.
    `source` is the id of what the stage before it had made, `artifact_id` that of what this one has made, `files` where
    that lies in the project.
    """

    inputs: str = ""
    shaped_by: Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    source: str = field(default="", metadata={"key": "from"})
    artifact_id: str = field(default="", metadata={"key": "made"})
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GenerateOutcome(StageOutcome):
    """Seeds by kind, what they are too few for, the problems of seed rows, the fingerprints of the pool by generator,
    pairs that are new and that were there, rows that no answer came for, the most frequent failures (`what`, the number
    of `rows`, the place of the `first`), and what the ledger counted, prompts among it that a server seems to have cut,
    addresses of several that failed at the end, each with its last failure, teachers that answered with several
    models, with the answers of each, and the directions whose number of accepted rows was not reached, with what was.
    """

    seeds: Mapping[str, int] = field(default_factory=dict)
    shortages: tuple[str, ...] = ()
    seed_problems: tuple[str, ...] = ()
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


@dataclass(frozen=True, kw_only=True)
class ForecastOutcome(CommandOutcome):
    """What the whole run will take, by stage and direction (`lines`) and together (`whole`): each of tokens, usd,
    batch_usd, minutes and rows has a `middle` and the ends of a 90 % interval, `low` and `high`; None: not known. Its
    counts are those of the pilot, `pilot_seeds` of `seeds`; `usd_elsewhere` is what other prompts and teachers cost."""

    seeds: int = 0
    pilot_seeds: int = 0
    shortages: tuple[str, ...] = ()
    """The uses that the seeds are too few for, told before anything was asked."""
    unlimited: tuple[str, ...] = ()
    """The directions whose answers no `max_tokens` limits."""
    judges: tuple[str, ...] = ()
    """The keys of the spec that name judges: the pilot asks none, so they are in no line."""
    lines: tuple[Json, ...] = ()
    whole: Json = field(default_factory=dict)
    usd_elsewhere: float = 0.0
    shaped_by: Json | None = None
    """What would shape a generation and a curation as well, by stage."""

    @property
    def note(self) -> str:
        """What these figures leave out, the judges, and what an answer that nothing limits may be; empty where all is
        in them."""
        of_judges = unlimited = ""
        if self.judges:
            of_judges = (
                f"What {' and '.join(self.judges)} will ask is in none of these figures: a judge is sent style, input "
                "and output of every row that the gates leave, or of a test answer, which may cost more than all else. "
            )
        if self.unlimited:
            which = " and ".join(f"generate.{way}" for way in self.unlimited)
            unlimited = (
                f"Without max_tokens in the sampling of {which} an answer may go on to the model's own limit: up to "
                f"{ENDLESS:,} tokens are reckoned with, a longer one is not. A max_tokens makes the intervals narrower."
            )
        return (of_judges + unlimited).strip()

    def beside_cap(self, cap: float | None) -> str:
        """What `budget.max_usd`, of which other work may have taken a part, means for a run that may cost more; empty
        where the run stays below it."""
        whole, elsewhere = self.whole.get("usd"), self.usd_elsewhere
        if cap is None or whole is None or whole["high"] + elsewhere <= cap:
            return ""
        reaches = "costs more than" if whole["low"] + elsewhere > cap else "may cost more than"
        left = f"budget.max_usd, {dollars(cap)}"
        if elsewhere:
            left = f"what is left of budget.max_usd, {dollars(max(0.0, cap - elsewhere))} of {dollars(cap)}"
        return f"the run {reaches} {left}: it stops there in order, and goes on when that is raised"


@dataclass(frozen=True, kw_only=True)
class PreviewOutcome(CommandOutcome):
    """Seeds (`rows`: direction, seed, `old` of the last pool, `new` of the present spec, and why a gate rejected each
    of these, which no older preview has), whether
    the last pool was made by the same prompt and settings, and what going on would ask: candidates and seeds that are
    left, and their cost (`middle`, `low`, `high` of a 90 % interval; None: not known). `shaped_by` is what would shape
    a generation as well."""

    rows: tuple[Json, ...] = ()
    same_prompt: bool = False
    left_candidates: int = 0
    left_seeds: int = 0
    left_usd: Json | None = None
    shaped_by: Json | None = None


@dataclass(frozen=True, kw_only=True)
class CurateOutcome(StageOutcome):
    """The number of reviews, the status of the review (`curate.review.status.as_json`; None before the first push), the
    scorer and why it was chosen (None: none), and the rows of each split. What curation counted besides is in
    `more`."""

    review_count: int = 0
    review: Json | None = None
    scorer: Json | None = None
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CertifyOutcome(CommandOutcome):
    """The certificate in `words`, its id if there is one, what it was computed from, what it is bound to
    (`parts`), and the number of reviews at that time. Accepted are its rows; what nobody has certified waits."""

    words: str = ""
    artifact_id: str = field(default="", metadata={"key": "made"})
    certificate: Json = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    review_count: int = 0


@dataclass(frozen=True, kw_only=True)
class ReviewOutcome(StageOutcome):
    """The state of the review, what people still have to do (empty: nothing), where, how many answers were brought, and
    how many rows were sent."""

    review: Json | None = None
    waits: str = ""
    brought: int = 0
    url: str | None = None
    queues: tuple[str, ...] | None = None
    pages: tuple[str, ...] | None = None
    sent: int | None = None


@dataclass(frozen=True, kw_only=True)
class PushOutcome(CommandOutcome):
    """Rows that were sent to people and rows that were there, and where review stands."""

    url: str = ""
    sent: int = 0
    there: int = 0
    withdrawn: int = 0
    queues: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    review: Json | None = None


@dataclass(frozen=True, kw_only=True)
class PullOutcome(CommandOutcome):
    """Answers that came in, by kind, and where review stands."""

    url: str = ""
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    edits: int = 0
    unchanged: int = 0
    discarded: int = 0
    foreign: int = 0
    altered: int = 0
    not_named: int = 0
    review: Json | None = None


@dataclass(frozen=True, kw_only=True)
class TrainOutcome(StageOutcome):
    """The tuned model. Losses are means a token; those on the validation split are None without one. `train_seconds` is
    how long training took, also where its result was found (`reused`)."""

    base: str = ""
    train_rows: int = 0
    validation_rows: int = 0
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
    """The learning curve in lines, where it was asked for."""


@dataclass(frozen=True, kw_only=True)
class RewardOutcome(CommandOutcome):
    """A reward model of the project's own preferences (`train.reward_training.RewardResult` as JSON, without its
    folder), its id, and where it lies."""

    result: Json = field(default_factory=dict)
    artifact_id: str = field(default="", metadata={"key": "made"})
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluateOutcome(StageOutcome):
    """system -> its pass rate with its interval (`share`, `low`, `high`), the same under both decodings in `systems`,
    and system -> decoding -> what may be said of the tuned model against it; the verdict (`train.verdict.Verdict`);
    `reused`: it was there already. `gated`: the command was asked for the verdict as its exit code. `sha256` is that of
    the evaluation's file."""

    pass_rate: Mapping[str, Mapping[str, float]] = field(default_factory=dict, metadata={"earlier": ("strict_pass",)})
    systems: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    verdict: Json = field(default_factory=dict)
    reused: bool = False
    gated: bool = False
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class ExportOutcome(CommandOutcome):
    """The files that were written, by name, and the ids of what is in it. `gguf` says of each GGUF how its answers
    compare with those of the measured model, in words; `certificate` is the last one with whether it holds (None: there
    was no look)."""

    written: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    gguf: Mapping[str, str] = field(default_factory=dict)
    certificate: Json | None = None


@dataclass(frozen=True, kw_only=True)
class RunOutcome(CommandOutcome):
    """The stages that had to be done, with their seconds, and the report.

    Either people keep it from going on (`waits`, `url`, `queues`, the state of their `gate` and, where they reject the
    set, their `objections`), or a certificate that the spec asks for is missing (`waits`, and `uncertified` is the
    `gate`), or it was to stop before the stage `until`, or it has ended (`pass_rate`, `systems`, `outcomes`,
    `verdict`). `not_reviewed` is the
    dataset that went on to training without people, because review was off.
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
