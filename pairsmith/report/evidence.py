"""Everything the report shows, as one typed value; the page is rendered only from this. `gather.py` fills it.

Each number is stored once, as its producer wrote it: row counts in a receipt, scores in verdicts, losses in the
training result, shares and intervals in the evaluation. `None` means that it was not measured, and is shown as missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.money import Cost
from schemas.records import Counts, Receipt
from train.evaluation.failures import Failures
from train.evaluation.metrics import Evaluation
from train.evaluation.verdict import ModelVerdict
from train.learning_curve import LearningCurve
from train.results import TrainResult

NotAccepted = Literal["rejected", "waiting", "failed"]


@dataclass(frozen=True)
class RowExample:
    """An example row for a reason, with the step's explanation. `output` is absent if no pair was created; `columns`
    are those kept with the row."""

    row_id: str
    input: str
    output: str | None
    detail: str
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReasonCount:
    """A reason why rows were dropped: the receipt's reason code and count, with a few of those rows."""

    word: str
    outcome: NotAccepted
    count: int
    examples: tuple[RowExample, ...] = ()


@dataclass(frozen=True)
class StageEvidence:
    """A stage of the pipeline. `counts` and `reasons` come from its last successful receipt and are absent if there is
    none. `stopped` is the error of its last run, if that run did not succeed."""

    command: str
    counts: Counts | None = None
    reasons: tuple[ReasonCount, ...] = ()
    stopped: str | None = None


@dataclass(frozen=True)
class Distribution:
    """One number per row: for all rows that have it, and for the accepted ones among them. `missing` is the number of
    rows without it."""

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
    """The verdict counts of one curation step. A row may be rejected by several steps.

    For a gate, `alone` is the number of rows that no other gate rejects and no reviewer has decided, and `shown` are
    some of them; `overruled` is the number of rows that it rejects and reviewers accept all the same; `key` is the
    setting of the gate.
    """

    name: str
    kept: int
    rejected: int
    waiting: int
    flagged: int = 0
    alone: int = 0
    overruled: int = 0
    shown: tuple[RowExample, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Reviews:
    """Counts of the current answers of reviewers, and of simulated ones. `status` is the review status when a command
    last checked (`curate.review.status.as_json`). `switched_off`: review is disabled in the present spec."""

    decisions: int = 0
    pairs: int = 0
    reviewers: int = 0
    simulated: int = 0
    status: dict[str, Any] | None = None
    switched_off: bool = False


@dataclass(frozen=True)
class NextSeeds:
    """A group of validation failures, and similar training seeds without an accepted row."""

    failures: Failures
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """The data of the page. `stages` has all four stages, in order. `accepted` and `rejected` are up to ten rows each,
    drawn at random. `near_duplicate_seeds` counts seeds in another split than one that they nearly repeat. `costs` is
    the ledger by stage, teacher and prompt. `curve` belongs to the present dataset. `certificate` is the last
    certification: its text, whether it is valid, and its data (None: there was none). `erased_seeds` are among `seeds`
    and were erased after generation. `outcomes` are the comparisons that `verdict` was based on (empty in files of
    earlier versions); `recomputed` says which of them an evidence file of another version shows differently. `outdated`
    names the stage that was due when this was written, if results of an earlier run are shown."""

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
    erased_seeds: int = 0
    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    recomputed: tuple[str, ...] = ()
    outdated: str = ""

    def stage(self, command: str) -> StageEvidence:
        return next(stage for stage in self.stages if stage.command == command)

    @property
    def without_preference(self) -> dict[str, int]:
        """How many rows of the dataset gave no preference to train on, by reason (`TrainOutcome`)."""
        trained = [receipt.facts for receipt in self.receipts if receipt.command == "train" and receipt.ok]
        return dict(trained[-1].get("without_preference") or {}) if trained else {}

    def counts(self, command: str) -> Counts | None:
        """The row counts of a stage."""
        return self.stage(command).counts
