"""The record of an evaluation: every output with its check results, and the statistics with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationInfo, field_validator, model_validator

from schemas.html_table import html_table
from schemas.money import Cost
from schemas.records import Artifact, Record, Sampling, Usage
from schemas.wording import counted
from train.evaluation.comparison import TUNED as TUNED
from train.evaluation.comparison import Comparison, by_seed, columns_of, compare_last, ends_in_loop, is_measured
from train.evaluation.examples import Example
from train.evaluation.intervals import ALONE, Interval, grouped, share
from train.evaluation.judgements import JudgedEvaluation, win_rates
from train.evaluation.shortened import Shortened
from train.results import rename_old_keys

Mode = Literal["sampled", "greedy"]
Decoding = Literal["evaluation", "generation"]
MODES: tuple[Mode, ...] = ("sampled", "greedy")
# The key in `reasons` that says why a response does not count as an answer: "cut", "refused", "schema".
NO_ANSWER = "answer"

# Finish reasons that servers use for an answer that reached the token limit.
CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "truncated"})


class Output(Record):
    """One answer of one system. `answered=False`: the endpoint returned nothing, so there is nothing to judge.

    `all_pass` is None for an answer that was not scored: no check failed, but one could not judge. An answer that was
    cut, empty or refused never passes, whatever its checks say. `seconds` is the duration of its request, which carries
    all samples of its seed; 0 for a batch. `key` identifies its ledger row.
    """

    system: str
    mode: Mode
    seed_id: str
    sample: int
    answered: bool
    text: str = ""
    finish: str | None = None
    words: int = 0
    seconds: float = 0.0
    checks: dict[str, bool | None] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    all_pass: bool | None = None
    key: str

    @property
    def cut(self) -> bool:
        """True if it reached the token limit."""
        return self.finish is not None and self.finish.lower() in CUT

    @property
    def empty(self) -> bool:
        """True if it contains no text."""
        return not self.text.strip()

    @property
    def refused(self) -> bool:
        """True if the server or the model refused to answer."""
        return self.reasons.get(NO_ANSWER) == "refused"

    @property
    def whole(self) -> bool:
        """True if there is a complete answer to judge: it arrived, has text and was not cut."""
        return self.answered and not self.empty and not self.cut

    @property
    def loops(self) -> bool:
        """True if it was cut while it repeated itself for the third time, which no higher limit would have ended."""
        return self.cut and ends_in_loop(self.text)

    @property
    def is_unscored(self) -> bool:
        """True if it is complete and no check failed, but one could not judge."""
        return self.whole and self.all_pass is None

    @property
    def passes(self) -> bool:
        """True if it is complete and every check passes."""
        return self.all_pass is True and self.whole


class MeanEstimate(Record):
    """A mean over test inputs, between 0 and 1, with its interval."""

    value: float
    low: float
    high: float


class ReferenceResult(Record):
    """One system under one decoding, on the test inputs that have a reference.

    `exact`: the share of answers identical to the reference, character by character, in the form of the task. `chrf`:
    the mean character n-gram F-score of an answer (Popovic 2015, chrF2 of `sacrebleu`). `rouge_l`: the mean F1 of the
    longest common subsequence of words (Lin 2004), with words as the gates split them. `similarity`: the mean cosine of
    a static embedding (`curate.similarity`), if it is installed. For labels: `macro_f1`, the mean F1 of the
    labels that occur in the references, and `confusion`, reference -> answer -> count; `untested` are the labels of
    the task that no reference is. For JSON: `field_f1`, over pairs of path and value, where all items of a list share
    one path.
    """

    inputs: int
    exact: Interval
    chrf: MeanEstimate | None = None
    rouge_l: MeanEstimate | None = None
    similarity: MeanEstimate | None = None
    macro_f1: MeanEstimate | None = None
    confusion: dict[str, dict[str, int]] | None = None
    field_f1: MeanEstimate | None = None
    untested: tuple[str, ...] = ()


class Spread(Record):
    """10th, 50th, 90th and 95th percentile; the last is absent in evaluations of earlier versions."""

    p10: float
    p50: float
    p90: float
    p95: float | None = None


class ModeResult(Record):
    """One system under one decoding. Shares are of the answers that arrived; those not scored count as not passed.

    `pass_rate` is None if the system was not measured (`is_measured`). Then, and if no answer is complete, there are no
    shares of single checks and no comparison with references. A cut answer counts in `truncated`, a refused one in
    `refused`, an empty one that ended by itself in `empty`, a complete one that a check could not judge in
    `not_scored`; no answer counts twice. In evaluations of earlier versions refused ones are in `empty`.

    `by_reference` compares the answers with outputs written by people, `invented` is the share of complete answers with
    an invented detail (`invented`). `seconds` is per request at the evaluation's concurrency, including the wait
    for a slot in the server's batch, `tokens_per_s` tokens per second of one answer: not of an idle server.
    `usd` is the original cost, None if any price is unknown. `shared`: some were requested with others (None: unknown).
    `at_current_price`: whether `priced` computed `usd` (None: as `SystemResult.priced_by` says).
    """

    pass_rate: Interval | None
    asked: int
    answered: int
    passed: int
    empty: int
    truncated: int
    not_scored: int
    checks: dict[str, float]
    words: Spread | None
    seconds: Spread | None
    usage: Usage
    tokens_per_s: float | None = None
    usd: float | None = None
    refused: int = 0
    by_reference: ReferenceResult | None = None
    invented: Interval | None = None
    shared: bool | None = None
    at_current_price: bool | None = None

    @field_validator("by_reference")
    @classmethod
    def _drop_unmeasured(cls, compared: ReferenceResult | None, others: ValidationInfo) -> ReferenceResult | None:
        """Earlier versions compared responses that were not answers, which gave a misleading zero."""
        return None if others.data.get("pass_rate") is None else compared

    @property
    def complete(self) -> int:
        """The number of answers that are complete and no refusals."""
        return self.answered - self.truncated - self.empty - self.refused

    @property
    def usd_per_1000(self) -> float | None:
        """US dollars per thousand answers."""
        return None if self.usd is None or not self.answered else 1000 * self.usd / self.answered


class SystemResult(Record):
    """One system and its numbers. `names` lists all systems that turned out to be identical: the same prompts to the
    same model, decoded alike. `system_prompt` is the one of its first input, `shortened` as in `System`.

    `decoding` says whose settings its answers were drawn with; `sampling` and `greedy_sampling` are those settings,
    absent in evaluations of earlier versions, where all used the evaluation's decoding. `priced_by` names the source of
    the price if that of the answers of `priced_mode` is not what they cost: they were bought before one was known, in a
    batch or several at once (`priced`).
    """

    name: str
    names: tuple[str, ...]
    model: str
    revision: str | None
    system_prompt: str
    exemplars: int
    shortened: tuple[Shortened, ...] = ()
    decoding: Decoding = "evaluation"
    sampling: Sampling | None = None
    greedy_sampling: Sampling | None = None
    priced_by: str = ""
    sampled: ModeResult
    greedy: ModeResult

    @property
    def label(self) -> str:
        """Its names, joined with an equals sign."""
        return " = ".join(self.names)

    def count(self, of: Literal["asked", "answered", "complete", "passed", "truncated", "not_scored"]) -> int:
        """A number of answers under both decodings together."""
        return getattr(self.sampled, of) + getattr(self.greedy, of)  # type: ignore[no-any-return]

    @property
    def usd_per_1000(self) -> float | None:
        """US dollars per thousand outputs requested one at a time, as the greedy ones are; else of the sampled ones."""
        priced: ModeResult = getattr(self, self.priced_mode)
        return priced.usd_per_1000

    @property
    def priced_mode(self) -> Mode:
        """Whose cost `usd_per_1000` is."""
        return "sampled" if self.greedy.usd_per_1000 is None else "greedy"


class AdapterCheck(Record):
    """Total log-probabilities of `texts` texts at the tuned model's server: without the adapter, with it, and without
    it while it was in use. They show that the two models differ and do not leak into each other. A merged model has its
    own server, where nothing can leak: `base_again` is None. `text` occurs in evaluations of earlier versions."""

    text: str = ""
    texts: int = 1
    base: float
    tuned: float
    base_again: float | None
    tokens: int


class Evaluation(Record):
    """Everything an evaluation measured, JSON-serialisable. `test_set` is a hash of the seeds' ids, `inputs` their
    texts, `patterns` the regular expressions among the checks by name (empty in files of earlier versions), and
    `groups` the group of each seed that is not alone in its group (`curate.split.groups_of`).

    `comparisons` are the tuned model against every other system, under both decodings. `calls_sent` counts the requests
    of the run that wrote it, `calls_reused` the answers found in the ledger. `validation` are the tuned model's greedy
    answers to `validation_inputs`, by seed id; failures there may be acted on. `void` says why no answer can match a
    reference. `answers_id` is the same for all evaluations of these answers, whatever their judges. `resamples` occurs
    in files of earlier versions, whose statistics are recomputed on reading.
    """

    id: str
    answers_id: str = ""
    adapter_id: str
    test_set: str
    inputs: dict[str, str] = Field(default_factory=dict)
    groups: dict[str, str] = Field(default_factory=dict)
    checks_fingerprint: str
    check_names: tuple[str, ...]
    patterns: dict[str, str] = Field(default_factory=dict)
    seeds: int
    samples: int
    sampling: Sampling
    greedy: Sampling
    resamples: int = 0
    concurrency: int
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...]
    adapter_check: AdapterCheck
    side_by_side: tuple[Example, ...]
    side_by_side_seed: int
    outputs: tuple[Output, ...]
    references: dict[str, str] = Field(default_factory=dict)
    void: dict[str, str] = Field(default_factory=dict)
    judged: JudgedEvaluation | None = None
    validation: tuple[Output, ...] = ()
    validation_inputs: dict[str, str] = Field(default_factory=dict)
    calls_sent: int
    calls_reused: int
    usage: Usage
    usd: float | None
    costs: tuple[Cost, ...] = ()
    seconds: float
    path: str = ""
    reused: bool = False

    def __repr__(self) -> str:
        inputs, systems = counted(self.seeds, "input", "inputs"), counted(len(self.systems), "system", "systems")
        return f"Evaluation({systems} on {inputs}, of the adapter {self.adapter_id})"

    def _repr_html_(self) -> str:
        rows = (
            (of.label, mode, *((rate.estimate, rate.low, rate.high) if (rate := getattr(of, mode).pass_rate) else ()))
            for of in self.systems
            for mode in MODES
        )
        return html_table(repr(self), ("system", "decoding", "pass rate", "low", "high"), rows)

    __str__ = __repr__

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        evaluation = handler(rename_old_keys(data))
        gaps = [gap for gap in evaluation.comparisons if gap.difference]
        untested = any(gap.p_value is None or gap.simultaneous is None for gap in gaps)
        # Earlier versions did not test what answers that a check could not judge may decide.
        untested |= any(o.is_unscored for o in evaluation.outputs) and all(gap.p_unscored is None for gap in gaps)
        untested |= any(gap.spread is None and gap.difference.estimate for gap in gaps if gap.difference)
        alone = not any(gap.difference.groups for gap in gaps if gap.difference)
        # Nor did they ask what answers may hide that were cut.
        of, given = evaluation.outputs_of, [(of, mode) for of in evaluation.systems for mode in MODES]
        if any((getattr(one, mode).pass_rate is None) == is_measured(of(one.name)[mode]) for one, mode in given):
            return evaluation._recomputed()
        again = evaluation._recomputed() if untested or (alone and evaluation.groups) else evaluation
        # A new evaluation may look like an old one; pydantic warns if another object than the new one is returned.
        return evaluation if again.comparisons == evaluation.comparisons else again

    def _recomputed(self) -> Self:
        """The same outputs with the current intervals and tests."""

        def redo(result: ModeResult, outputs: Sequence[Output]) -> ModeResult:
            summary = summarise(outputs, result.usage, self.check_names, result.usd, groups=self.groups)
            names = ("by_reference",) * bool(summary.pass_rate and summary.complete)
            names += ("invented", "tokens_per_s", "shared")
            kept = {of: getattr(result, of) for of in names}
            return summary.model_copy(update={of: value for of, value in kept.items() if value is not None})

        given = {system.name: self.outputs_of(system.name) for system in self.systems}
        redone = [{str(mode): redo(getattr(of, mode), given[of.name][mode]) for mode in MODES} for of in self.systems]
        systems = tuple(of.model_copy(update=new) for of, new in zip(self.systems, redone, strict=True))
        gaps, judged = compare_last(list(given.values()), self.groups), self.judged
        judged = judged and judged.model_copy(update={"win_rates": win_rates(judged.choices, self.groups)})
        return self.model_copy(update={"systems": systems, "comparisons": gaps, "judged": judged})

    @property
    def artifact(self) -> Artifact:
        """The record of the evaluation in the store."""
        rates = {system.name: system.sampled.pass_rate for system in self.systems}
        shares = {name: rate.estimate for name, rate in rates.items() if rate}
        facts = {"test_set": self.test_set, "seeds": self.seeds, "samples": self.samples, "pass_rate": shares}
        facts["answers_id"] = self.answers_id
        return Artifact(id=self.id, kind="evaluation", path=self.path, parents=(self.adapter_id,), facts=facts)

    @property
    def group_note(self) -> str:
        """` of 16 groups` if inputs belong together, otherwise an empty string."""
        return f" of {counted(self.number_of_groups, 'group', 'groups')}" if self.groups else ""

    @property
    def number_of_groups(self) -> int:
        """The number of groups of inputs, counting each input without a group as one."""
        return self.seeds - len(self.groups) + len({*self.groups.values()})

    def more_inputs(self, number: int) -> str:
        """`12 more test inputs`, with ` of other groups` appended if inputs belong together."""
        return counted(number, "more test input", "more test inputs") + (" of other groups" if self.groups else "")

    def system(self, name: str) -> SystemResult:
        """The system with that name, merged with others or not."""
        return next(system for system in self.systems if name in system.names)

    def outputs_of(self, name: str) -> dict[Mode, list[Output]]:
        """The answers of the system whose first name is `name`."""
        return {mode: [o for o in self.outputs if (o.system, o.mode) == (name, mode)] for mode in MODES}

    def comparison(self, a: str, b: str, mode: Mode = "sampled") -> Comparison | None:
        """System a against system b; None if they are the same, or are not compared."""
        key = (self.system(a).name, self.system(b).name, mode)
        return next((gap for gap in self.comparisons if (gap.a, gap.b, gap.mode) == key), None)

    def sampling_of(self, system: SystemResult) -> Sampling:
        """The sampling settings of a system's non-greedy answers."""
        return system.sampling or self.sampling


def summarise(
    outputs: Sequence[Output],
    usage: Usage,
    names: Sequence[str],
    usd: float | None = None,
    *,
    groups: Mapping[str, str] = ALONE,
    timed: tuple[int, float] | None = None,
) -> ModeResult:
    """One system under one decoding. `usage` and `usd` are totals; `timed`: tokens and seconds of all answers."""
    answers = [output for output in outputs if output.answered]
    counts = by_seed(answers)
    seeds = sorted(counts)
    measured, complete = is_measured(outputs), any(output.whole for output in answers)
    checked = names if measured and complete else ()
    tokens, answer_seconds = timed or (usage.completion_tokens, sum(output.seconds for output in answers))
    requests = {(output.seed_id, output.seconds) for output in answers if output.seconds}
    return ModeResult(
        pass_rate=share(*columns_of(counts, seeds), groups=grouped(seeds, groups)) if measured else None,
        asked=len(outputs),
        answered=len(answers),
        passed=sum(output.passes for output in answers),
        empty=sum(output.empty and not (output.cut or output.refused) for output in answers),
        refused=sum(output.refused and not output.cut for output in answers),
        truncated=sum(output.cut for output in answers),
        not_scored=sum(output.is_unscored for output in answers),
        checks={name: fmean(output.checks[name] is True for output in answers) for name in checked},
        words=_spread([float(output.words) for output in answers]),
        seconds=_spread([seconds for _, seconds in requests]),
        usage=usage,
        tokens_per_s=tokens / answer_seconds if answer_seconds else None,
        usd=usd,
    )


def _spread(values: Sequence[float]) -> Spread | None:
    """Percentiles that are too low as often as too high. numpy's default interpolation shows a 95th percentile that is
    too low in 71 % of samples of 20, by 13 % in the median."""
    if not values:
        return None
    import numpy as np

    p10, p50, p90, p95 = np.percentile(values, [10, 50, 90, 95], method="median_unbiased")
    return Spread(p10=float(p10), p50=float(p50), p90=float(p90), p95=float(p95))
