"""Everything the report says, as one typed value; the page is drawn only from this. `gather.py` fills it.

A number stands here in one place, as its producer wrote it: row counts in a receipt, scores in verdicts, losses in the
training result, shares and intervals in the evaluation. `None` means that nobody measured it, and is shown as missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from schemas.money import Cost
from schemas.records import Counts, Receipt
from train.failures import Failures
from train.learning_curve import LearningCurve
from train.metrics import Evaluation
from train.results import TrainResult
from train.verdict import ModelVerdict

NotAccepted = Literal["rejected", "waiting", "failed"]


@dataclass(frozen=True)
class RowExample:
    """A row that met a reason, and what the step said. `output` is absent where no pair came to be; `columns` are those
    that stay with the row."""

    row_id: str
    input: str
    output: str | None
    detail: str
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReasonCount:
    """A reason why rows left: the receipt's word and count, with a few of those rows."""

    word: str
    outcome: NotAccepted
    count: int
    examples: tuple[RowExample, ...] = ()


@dataclass(frozen=True)
class StageEvidence:
    """A stage of the pipeline. `counts` and `reasons` are of its last receipt that went well, absent if there is none;
    `stopped` is what its last run died of, if that one did not."""

    command: str
    counts: Counts | None = None
    reasons: tuple[ReasonCount, ...] = ()
    stopped: str | None = None


@dataclass(frozen=True)
class Distribution:
    """One number a row: of every row that has it, and of the accepted ones among them. `missing` rows have none."""

    everything: tuple[float, ...]
    accepted: tuple[float, ...]
    missing: int = 0


@dataclass(frozen=True)
class Scorer:
    """The scorer of the candidates of an input, why it was chosen (with its test, if it was fitted), its scores, and
    what selection by them changed (empty in curations of earlier versions)."""

    name: str
    why: str
    scores: Distribution
    changed: str = ""


@dataclass(frozen=True)
class StepTally:
    """The verdicts of one step of curation, counted. A row may be rejected by several steps.

    Of a gate, `alone` counts the rows that no other gate rejects and `shown` are some of them; `key` changes the gate.
    """

    name: str
    kept: int
    rejected: int
    waiting: int
    flagged: int = 0
    alone: int = 0
    shown: tuple[RowExample, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Reviews:
    """The decisions of people, and those of a program that plays a person. `status` is that of the review when a
    command last looked (`curate.review.status.as_json`), `switched_off` whether the spec has it off now."""

    decisions: int = 0
    pairs: int = 0
    reviewers: int = 0
    simulated: int = 0
    status: dict[str, Any] | None = None
    switched_off: bool = False


@dataclass(frozen=True)
class NextSeeds:
    """A group of validation failures, and training seeds near to it that have no accepted row."""

    failures: Failures
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """The data of the page. `stages` has all four, in order; `accepted` and `rejected` are ten rows each, drawn at
    random. `near_duplicate_seeds` counts pairs of near-duplicate seeds in different splits. `costs` is the ledger by
    stage, teacher and prompt. `curve` is of the present dataset. `certificate` is the last look at people's answers:
    its words, whether it holds, and what it saw (None: nobody has looked)."""

    project: str
    written_at: datetime
    stages: tuple[StageEvidence, ...]
    seeds: dict[str, int] | None
    unread_seeds: int
    accepted: tuple[RowExample, ...]
    rejected: tuple[RowExample, ...]
    steps: tuple[StepTally, ...]
    splits: dict[str, int] | None
    near_duplicate_seeds: int
    lengths: Distribution | None
    scorer: Scorer | None
    training: TrainResult | None
    evaluation: Evaluation | None
    verdict: ModelVerdict | None
    failing: tuple[NextSeeds, ...]
    curve: LearningCurve | None
    receipts: tuple[Receipt, ...]
    costs: tuple[Cost, ...]
    reviews: Reviews
    hashes: tuple[tuple[str, str], ...]
    versions: dict[str, str]
    certificate: dict[str, Any] | None = None

    def stage(self, command: str) -> StageEvidence:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.command == command)

    def counts(self, command: str) -> Counts | None:
        """The row counts of a stage."""
        return self.stage(command).counts
