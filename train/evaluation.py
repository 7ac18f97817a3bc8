"""The record of an evaluation: every output with its checks, and what follows from them with intervals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from schemas.records import Artifact, Record, Sampling, Usage
from train.bootstrap import Interval, difference, share

Mode = Literal["sampled", "greedy"]
MODES: tuple[Mode, ...] = ("sampled", "greedy")


class Output(Record):
    """One answer of one rung. `answered=False`: the endpoint gave nothing, so there is nothing to judge.

    `strict` is None for an answer that was not scored: none of its checks failed, but one could not judge. `seconds` is
    how long the request took that brought it, which carries all samples of its seed. `key` names its ledger row.
    """

    rung: str
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
    strict: bool | None = None
    key: str


class Spread(Record):
    """10th, 50th and 90th percentile."""

    p10: float
    p50: float
    p90: float


class ModeResult(Record):
    """One rung under one decoding. Shares are of the answers that came; one not scored counts as not passed.

    `seconds` is per request under the evaluation's concurrency, waiting for a place in the server's batch included, so
    it compares rungs and says nothing of a server at rest.
    """

    strict: Interval | None
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


class Rung(Record):
    """One contender. `names` are the rungs that turned out to be the same question to the same model."""

    name: str
    names: tuple[str, ...]
    model: str
    revision: str | None
    system: str
    exemplars: int
    sampled: ModeResult
    greedy: ModeResult


class Comparison(Record):
    """Strict share of rung `a` minus that of rung `b`, on the same seeds."""

    a: str
    b: str
    mode: Mode
    difference: Interval


class AdapterCheck(Record):
    """Log-probabilities of one fixed text at the tuned model's server: without the adapter, with it, and without it
    again while it was in use. Proof that the two are different models and do not leak into each other."""

    text: str
    base: float
    tuned: float
    base_again: float
    tokens: int


class Example(Record):
    """A seed shown side by side; its outputs are found by `seed_id`."""

    seed_id: str
    input: str


class Evaluation(Record):
    """Everything an evaluation measured, ready for JSON. `test_set` is the hash of the seeds' ids.

    `calls_sent` counts requests of the run that wrote it, `calls_reused` answers that it found in the ledger.
    """

    id: str
    adapter_id: str
    test_set: str
    checks_fingerprint: str
    check_names: tuple[str, ...]
    seeds: int
    samples: int
    sampling: Sampling
    greedy: Sampling
    resamples: int
    concurrency: int
    rungs: tuple[Rung, ...]
    comparisons: tuple[Comparison, ...]
    adapter_check: AdapterCheck
    side_by_side: tuple[Example, ...]
    side_by_side_seed: int
    outputs: tuple[Output, ...]
    calls_sent: int
    calls_reused: int
    usage: Usage
    usd: float
    seconds: float
    path: str = ""
    reused: bool = False

    @property
    def artifact(self) -> Artifact:
        """The record that the store keeps of the evaluation."""
        shares = {rung.name: rung.sampled.strict.estimate for rung in self.rungs if rung.sampled.strict}
        facts = {"test_set": self.test_set, "seeds": self.seeds, "samples": self.samples, "strict": shares}
        return Artifact(id=self.id, kind="evaluation", path=self.path, parents=(self.adapter_id,), facts=facts)

    def rung(self, name: str) -> Rung:
        """The rung of that name, merged or not."""
        return next(rung for rung in self.rungs if name in rung.names)

    def comparison(self, a: str, b: str, mode: Mode = "sampled") -> Comparison | None:
        """Rung a against rung b; None if they are one, or share no seed with answers."""
        pair = (self.rung(a).name, self.rung(b).name, mode)
        return next((one for one in self.comparisons if (one.a, one.b, one.mode) == pair), None)


def summarise(outputs: Sequence[Output], usage: Usage, names: Sequence[str], resamples: int, seed: int) -> ModeResult:
    """The numbers of one rung under one decoding."""
    answers = [output for output in outputs if output.answered]
    counts = _by_seed(answers)
    return ModeResult(
        strict=share(*_columns(counts, sorted(counts)), resamples=resamples, seed=seed) if counts else None,
        asked=len(outputs),
        answered=len(answers),
        passed=sum(output.strict is True for output in answers),
        empty=sum(not output.text.strip() for output in answers),
        truncated=sum(output.finish == "length" for output in answers),
        not_scored=sum(output.strict is None for output in answers),
        checks={name: _mean(output.checks[name] is True for output in answers) for name in names} if answers else {},
        words=_spread([float(output.words) for output in answers]),
        seconds=_spread([output.seconds for output in answers]),
        usage=usage,
    )


def compare(a: Sequence[Output], b: Sequence[Output], resamples: int, seed: int) -> Comparison | None:
    """Both must be of one rung each and the same mode. Seeds that lack an answer on either side are left out."""
    counts_a, counts_b = (_by_seed(output for output in side if output.answered) for side in (a, b))
    seeds = sorted(counts_a.keys() & counts_b.keys())
    if not seeds:
        return None
    gap = difference(*_columns(counts_a, seeds), *_columns(counts_b, seeds), resamples=resamples, seed=seed)
    return Comparison(a=a[0].rung, b=b[0].rung, mode=a[0].mode, difference=gap)


def pick_examples(seeds: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` seeds drawn at random by `seed`, without a look at any output."""
    return tuple(random.Random(seed).sample(list(seeds), min(count, len(seeds))))


def _by_seed(outputs: Iterable[Output]) -> dict[str, tuple[int, int]]:
    """seed id -> (passed, answered)."""
    counts: dict[str, tuple[int, int]] = {}
    for output in outputs:
        passed, answered = counts.get(output.seed_id, (0, 0))
        counts[output.seed_id] = (passed + (output.strict is True), answered + 1)
    return counts


def _columns(counts: dict[str, tuple[int, int]], seeds: Sequence[str]) -> tuple[list[int], list[int]]:
    return [counts[seed][0] for seed in seeds], [counts[seed][1] for seed in seeds]


def _mean(values: Iterable[bool]) -> float:
    return float(np.mean(list(values)))


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    p10, p50, p90 = np.percentile(values, [10, 50, 90])
    return Spread(p10=float(p10), p50=float(p50), p90=float(p90))
