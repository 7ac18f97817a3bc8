"""A project from Python: the commands without their terminal output.

from pairsmith import Project

project = Project("captions")
project.generate().counts
project.curate().reasons
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, get_args

from pairsmith import pipeline, plan
from pairsmith.receipts.outcome import (
    CertifyOutcome,
    CommandOutcome,
    CurateOutcome,
    EvaluateOutcome,
    ExportOutcome,
    ForecastOutcome,
    GenerateOutcome,
    OutcomeT,
    PullOutcome,
    PushOutcome,
    ReviewOutcome,
    RunOutcome,
    TrainOutcome,
)
from pairsmith.stages import review
from pairsmith.stages.table import Audience, Numeric, stage
from pairsmith.teachers import teachers
from schemas import file_errors, progress_line, spec_file
from schemas.blocking import refuse_on_private_loop
from schemas.errors import NoWork, UsageError, several
from schemas.progress import Say, discard_message
from schemas.project import Project as OpenedProject
from schemas.records import RowState, State
from schemas.store import Store
from schemas.store.shared import reader, shared

if TYPE_CHECKING:
    from curate.pool import Pool


_store_locks: dict[str, Any] = {}  # one lock per store


class Project:
    """A folder with a `pairsmith.toml`, which every method reads again.

    `overrides` are `KEY=VALUE` strings, like `--set` of the commands. Nothing is printed, unless `progress` is set (a
    progress line for long work) or `say` is given (called with each message). Every method raises the PairsmithError
    that its command would report.
    """

    def __init__(
        self,
        folder: str | Path = ".",
        overrides: Sequence[str] = (),
        *,
        progress: bool = False,
        say: Say = discard_message,
    ) -> None:
        named: Any = folder
        if not isinstance(named, str | os.PathLike):
            what = f"a project cannot be opened from an object of type {type(folder).__name__}: {folder!r:.80}."
            raise UsageError(what, fix='Name its folder: Project("captions").')
        path = Path(folder).absolute()  # a notebook may change its working folder later
        self.folder = path.parent if path.name == spec_file.SPEC_NAME else path
        self.overrides = tuple(
            several(overrides, "overrides", 'texts such as "train.epochs=2"', 'Write ["KEY=VALUE"].')
        )
        self._progress, self._say = progress, say

    def __repr__(self) -> str:
        return f"Project({str(self.folder)!r})"

    @property
    def settings(self) -> OpenedProject:
        """The validated spec and the folder, as the stages get them."""
        return spec_file.load(self.folder, self.overrides)

    def generate(self, *, retry_failed: bool = False, max_usd: float | None = None) -> GenerateOutcome:
        """Ask the teacher for every pair that is not in the store yet, spending at most `max_usd`."""
        return self._stage(GenerateOutcome, "generate", max_usd=max_usd, retry_failed=retry_failed)

    def forecast(self, seeds: int = 20, *, max_usd: float | None = None) -> ForecastOutcome:
        """Ask about a few seeds of each direction, spending at most `max_usd`, and estimate what all of them will
        take."""
        return self._stage(ForecastOutcome, "forecast", max_usd=max_usd, seeds=seeds)

    def curate(self) -> CurateOutcome:
        """Judge every candidate of the present spec, and write the dataset."""
        return self._stage(CurateOutcome, "curate")

    def review(self) -> ReviewOutcome:
        """Fetch reviews, and send rows until there are enough of them; `waits` says what is missing."""
        return self._stage(ReviewOutcome, "review")

    def review_push(self, *, more: bool = False, take_over: bool = False) -> PushOutcome:
        """Send rows to reviewers; with `more`, send another batch before the last one is answered; with `take_over`,
        queues that a copy of this project fills are this one's from now on."""
        with self._open() as (opened, store, audience):
            return review.push_rows(opened, store, audience, more=more, take_over=take_over)

    def review_pull(self) -> PullOutcome:
        """Fetch the reviews once."""
        with self._open() as (opened, store, audience), review.own_workspace(opened, audience.progress) as connected:
            return review.pull_answers(opened, store, connected, audience)

    def certify(
        self, precision: float = 0.9, confidence: float = 0.9, *, max_usd: float | None = None
    ) -> CertifyOutcome:
        """Find the rows that need no review, of which at least the share `precision` is good. `words` describes the
        result."""
        return self._stage(CertifyOutcome, "certify", max_usd=max_usd, precision=precision, confidence=confidence)

    def train(self) -> TrainOutcome:
        """Fine-tune the base model on the dataset."""
        return self._stage(TrainOutcome, "train")

    def evaluate(self, *, max_usd: float | None = None) -> EvaluateOutcome:
        """Evaluate the tuned model, base, few-shot, retrieval and teacher on the test split, spending at most
        `max_usd`."""
        return self._stage(EvaluateOutcome, "evaluate", max_usd=max_usd)

    def export(self, out: str | Path | None = None) -> ExportOutcome:
        """Copy what the project produced into one folder."""
        return self._stage(ExportOutcome, "export", out=Path(out) if out else None)

    def run(self, *, max_usd: float | None = None) -> RunOutcome:
        """Run every stage that is not done yet, as far as reviews allow, then write the report, spending at most
        `max_usd`."""
        with self._open(max_usd) as (opened, store, audience):

            def do(name: str) -> CommandOutcome:
                outcome: CommandOutcome = stage(name).do(opened, store, audience)
                return outcome

            return pipeline.run(opened, store, do, self._say)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report of the present state, with `evidence.json` beside it, and return its path. By default it is
        `report.html` in the project."""
        from pairsmith.report import write_report
        from pairsmith.stages.export import REPORT

        opened = self.settings
        return write_report(opened, self._made(opened), Path(out or self.folder / REPORT))

    def status(self) -> tuple[plan.PlannedStage, ...]:
        """The stages, whether each is done, and why not."""
        opened = self.settings
        url = Store.url_for(opened)
        return tuple(plan.plan(opened, reader(url) if Store.exists(url) else None))

    def pool(self) -> Pool:
        """The candidates of the present spec with their reviews; `curate.curate` judges them."""
        from curate.pool import Pool

        opened = self.settings
        n = opened.spec.generate.forward.n
        return Pool.read(self._made(opened), teachers.fingerprints_of(opened, self._say), forward_n=n)

    def rows(self, state: str | None = None, reason: str | None = None) -> Iterator[RowState]:
        """The decision of the last curation for each row, optionally only rows in `state` (accepted, rejected, waiting,
        failed) or with the reason code `reason`. Raises NoWork before curation, and UsageError for an unknown state or
        reason."""
        from curate.states import read_states
        from pairsmith.rows.curated import curated
        from pairsmith.style.reasons import SENTENCES

        store = self._made(self.settings)
        receipt = curated(store)
        if state not in (None, *get_args(State)):
            raise UsageError(f"{state!r} is not a state of a row.", fix=f"States: {', '.join(get_args(State))}.")
        if reason not in (None, *SENTENCES, *receipt.reasons):
            there = ", ".join(sorted(receipt.reasons)) or "none"
            raise UsageError(f"no row has the reason {reason!r}.", fix=f"Existing reasons: {there}.")
        return read_states(store, receipt, state=state, code=reason)

    def _made(self, opened: OpenedProject) -> Store:
        url = Store.url_for(opened)
        if not Store.exists(url):
            raise NoWork("nothing has been generated yet.", fix="Call generate() first.")
        return reader(url)

    def _stage(self, kind: type[OutcomeT], name: str, *, max_usd: float | None = None, **options: Any) -> OutcomeT:
        row = stage(name)
        for option in row.options:
            if isinstance(option.takes, Numeric) and (known := option.flag.removeprefix("--")) in options:
                options[known] = option.takes.check(known, options[known])
        with self._open(max_usd) as (opened, store, audience):
            outcome: OutcomeT = row.do(opened, store, audience, **options)
            return outcome

    @contextmanager
    def _open(self, max_usd: float | None = None) -> Iterator[tuple[OpenedProject, Store, Audience]]:
        opened = self.settings
        for notice in opened.notices:
            self._say(notice)
        refuse_on_private_loop()
        # Threads take turns, as commands do: only one stage at a time may write into the folder.
        with (
            file_errors.in_words(),
            _store_locks.setdefault(Store.url_for(opened), RLock()),
            shared(Store.url_for(opened), project_usd=opened.spec.budget.max_usd, max_usd=max_usd) as store,
            progress_line.shown(silent=not self._progress) as shown,
        ):
            yield opened, store, Audience(shown, self._say)
