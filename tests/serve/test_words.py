"""What the pages say about runs, in words."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pairsmith.plan import PlannedStage, plan
from pairsmith.serve.job import Job, JobOptions, State
from pairsmith.serve.pages import review, training, words
from pairsmith.serve.pages.figures import Snapshot, continue_action, displayed_run, job_progress, stage_lines
from pairsmith.serve.pages.page_terms import _PHRASES, on_page
from pairsmith.serve.pages.run import _figures, _final_figures, _reasons, _rows_in_progress, _spent_and_cap
from pairsmith.stages import table
from schemas.money import Cost
from schemas.project import Project
from schemas.records import Artifact, Counts, Receipt, now
from schemas.spec import Spec, TrainSettings
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith.conftest import SPEC as TINY
from train.evaluation.verdict import ModelVerdict
from train.results import TrainResult, Validation

SPEC = Spec.model_validate(
    {"task": {"name": "a", "style": "Write it well."}, "seeds": [{"path": "s.jsonl"}], "evaluate": {"checks": []}}
)


def test_training_heading_shows_the_loss_of_its_adapter() -> None:
    """Not the lowest loss of all, which is that of the untrained base if training made it worse."""
    losses = tuple(Validation(step=at, epoch=at, loss=loss) for at, loss in ((0, 0.5), (1, 0.75), (2, 0.875)))
    result = TrainResult.model_construct(
        train_rows=8, seconds=60.0, validation=losses, kept_step=1, settings=TrainSettings()
    )
    snapshot = Snapshot("a", Project(Path(), SPEC), None, (), (), ())
    heading = training._heading(snapshot, result, [Artifact(id="a", kind="adapter", path="adapters/a")])
    assert heading.endswith("validation loss went from 0.50 to 0.75.")


def test_rate_of_rejected_rows_is_not_attributed_to_gates() -> None:
    """Of 120 rows, 95 pass the gates and 90 are rejected: most of these by selection and duplicates."""
    rate = {"value": 0.25, "low": 0.1, "high": 0.5, "confidence": 0.95, "rows": 4, "population": 90}
    status = {"acceptance_rate": None, "trained_acceptance_rate": None, "missed_acceptance_rate": rate}
    assert [(name, of) for name, _, of in review._rates(status)] == [
        ("rows that the programs rejected", "4 of 90 rows decided")
    ]


@pytest.mark.parametrize(("stage", "shown"), [("train", "5"), ("split", None)])
def test_training_page_shows_steps_of_the_training_only(stage: str, shown: str | None) -> None:
    """While training loads, the last report is that of the curation, whose 60 rows are no steps."""
    progress = {"stage": stage, "numbers": {"done": 5, "total": 60}}
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress=progress)  # fmt: skip
    assert {name: value for name, value, _ in training._figures(job_progress(job))}.get("step") == shown


def test_spending_is_described_by_its_amount() -> None:
    """ "nothing" (no requests) and "free" are distinguished, except against a cap; unknown costs are named as such."""
    capped = Spec.model_validate({**SPEC.model_dump(exclude_unset=True), "budget": {"max_usd": 5}})

    def displayed(spec: Spec, *costs: Cost) -> str:
        return words.spent(Snapshot("a", Project(Path(), spec), None, (), (), costs))

    free, paid, unknown = Cost(requests=3), Cost(requests=3, usd=0.25), Cost(requests=3, unpriced=3)
    assert [displayed(SPEC), displayed(SPEC, free), displayed(SPEC, free, paid)] == ["nothing", "free", "$0.2500"]
    assert [displayed(capped), displayed(capped, free)] == ["nothing of $5.00"] * 2
    assert [displayed(capped, paid), displayed(capped, unknown)] == ["$0.2500 of $5.00", "cost unknown of $5.00"]
    assert displayed(capped, paid, unknown) == "at least $0.2500 of $5.00, 3 requests of unknown cost"


def waiting_run_heading(next_stage: str, why: str, gate: str) -> str:
    """The heading of a run that waits for reviewers, if `next_stage` is not done for the reason `why`."""
    job = Job(
        id="1", project="a", command="run", options=JobOptions(), by="ann", state="waits_for_people", created=now(),
        answer={"facts": {"gate": gate}}, note="115 rows wait for a certificate",
    )  # fmt: skip
    stages = (PlannedStage(next_stage, False, why),)
    of = Snapshot("a", Project(Path(), SPEC), None, stages, (), ())
    return words.run(of, job, None, None, None)


def test_waiting_run_says_what_it_waits_for() -> None:
    """If it waits for reviewers, the current state of the review, which changes with answers. If it waits for a
    certificate, the run's own note, as long as training is next. If an earlier stage has to run again, that stage, as
    on the other pages."""
    assert waiting_run_heading("review", "12 rows wait for people", "asking") == "12 rows wait for people."
    assert waiting_run_heading("train", "not run yet", "uncertified") == "115 rows wait for a certificate."
    assert (
        waiting_run_heading("curate", "a certification has run since", "uncertified")
        == "Curate is next: a certification has run since."
    )
    answered = waiting_run_heading("curate", "people have answered since", "asking")
    assert answered == "Reviewers have answered since. Continue to include their answers."


def running_heading(
    stage: str, numbers: dict[str, object], *, no_review: bool = False, spent: float | None = None
) -> str:
    """The heading of a running job whose process reports `numbers` of `stage`, where review and training are not
    done."""
    job = Job(
        id="1", project="a", command="run", options=JobOptions(no_review=no_review), by="ann", state="running",
        created=now(), progress={"stage": stage, "numbers": numbers},
    )  # fmt: skip
    review = () if no_review else (PlannedStage("review", False, "not run yet"),)
    stages = (PlannedStage("generate", True, ""), *review, PlannedStage("train", False, "not run yet"))
    return words.run(
        Snapshot("a", Project(Path(), SPEC), None, stages, (), ()), job, job_progress(job), spent, spent and 0.05
    )


def test_a_run_without_a_receipt_has_run() -> None:
    """The pages said "Nothing has run yet" above 192 rows and what they had cost."""
    for requests, heading in ((0, "Nothing has run yet."), (194, "No stage has ended yet, after 194 requests.")):
        now = Snapshot("a", Project(Path(), SPEC), None, (), (), (Cost(requests=requests, usd=0.01),))
        assert words.run(now, None, None, None, None) == words.overview(now, None, None) == heading


def test_the_title_of_a_page_never_says_that_a_running_job_is_at_100_percent() -> None:
    """A tab said "100 %" while the next stage was loading, and at 119 of 120 rows."""

    def title(done: int, total: int | None) -> str:
        progress = {"stage": "curate", "numbers": {"done": done, "total": total}}
        job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
                  progress=progress)  # fmt: skip
        read = job_progress(job)
        assert read is not None
        return read.in_title

    assert [title(30, 60), title(119, 120), title(29, 100)] == ["50 % · ", "99 % · ", "29 % · "]
    assert [title(60, 60), title(3, None), title(1199, 1200)] == ["", "", "99 % · "]


def test_pace_is_shown_only_while_a_step_is_moving() -> None:
    """A completed step has no pace: 60 rows in a hundredth of a second say nothing about the next step, which is
    loading. The number and the text below it agree."""

    def displayed(done: int, per_s: float, seconds: float = 9.0, stage: str = "curate") -> tuple[str, str]:
        pace = {"done_per_s": per_s, "seconds": seconds}
        progress = {"stage": stage, "numbers": {"done": done, "total": 60}, "pace": pace}
        job = Job(id="1", project="a", command="curate", options=JobOptions(), by="ann", state="running",
                  created=now(), progress=progress)  # fmt: skip
        figures = _figures(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), job_progress(job), None, None,
                           rows_in_progress=True)  # fmt: skip
        return next((value, under) for name, value, under in figures if name == "pace")

    assert displayed(30, 2.0) == ("120 rows/min", "in the current step")
    assert [displayed(30, 2.0, stage=stage)[0] for stage in ("train", "evaluate")] == [
        "120 steps/min",
        "120 answers/min",
    ]
    assert displayed(60, 6000.0) == displayed(0, 0.0) == ("—", "none yet")
    assert displayed(5, 41_000.0, seconds=0.0001) == ("—", "none yet"), "a step that took no time has a pace"


def test_reasons_during_generation_are_those_of_the_job() -> None:
    """While rows are generated, the reasons shown are those that the job's process counts over all its rows."""
    numbers = {"done": 40, "total": 60, "passed": 30, "rejected": 10, "reasons": {"echo": 7, "empty": 3}}
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": "generate", "numbers": numbers})  # fmt: skip
    reasons = _reasons(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), job_progress(job), rows_in_progress=True)
    assert [(reason["code"], reason["count"], reason["whole"]) for reason in reasons] == [
        ("echo", 7, 40),
        ("empty", 3, 40),
    ]


def test_unjudged_rows_are_not_counted_as_rejected() -> None:
    """Rows that were generated, or whose curation was stopped, are shown as not judged, neither accepted nor rejected.
    A job that has not reported yet is shown as just started, not as inactive."""

    def displayed(command: str, *, ok: bool, **counts: int) -> list[tuple[str, str, str]]:
        receipt = Receipt(command=command, ok=ok, counts=Counts(rows_in=60, **counts), seconds=1, started=now(),
                          spec_hash="")  # fmt: skip
        return _final_figures(Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ()))[:2]

    open_ = [("accepted", "—", "not judged yet"), ("rejected", "—", "each with a reason")]
    assert displayed("generate", ok=True, waiting=58, failed=2) == open_
    assert displayed("curate", ok=False, waiting=60) == open_
    judged = displayed("curate", ok=False, rejected=60)
    assert judged == [("accepted", "0", "of 60 rows"), ("rejected", "60", "each with a reason")]
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now())
    assert words.last_activity(job) == "just started"
    silent = words.last_activity(job.model_copy(update={"last_sign_of_life": now() - timedelta(minutes=3)}))
    assert silent == "no activity for 3 min: the process is alive but neither reports nor computes"
    assert words.last_activity(job.model_copy(update={"state": "queued"})).startswith("created ")


def test_long_steps_are_named() -> None:
    """Installing Argilla is named with its step. A completed step is not shown as running while the next one loads, and
    reviewers are not mentioned in a run without review."""
    assert running_heading("argilla", {"step": "Collecting numpy"}) == "Starting Argilla for review: Collecting numpy."
    paid = running_heading("argilla", {"step": "starting"}, spent=0.0083)
    assert paid == "Starting Argilla for review: starting; $0.0083 of $0.0500.", "only the cost is shown"
    done = {"done": 60, "total": 60}
    assert running_heading("split", done, no_review=True) == "Training: one step is done, the next is loading."
    assert running_heading("gates", {"done": 6, "total": 60}, no_review=True).startswith("Training, gates: 6 of 60")
    assert running_heading("generate", done) == "Review has started.", "a completed step is shown as running"
    assert running_heading("generate", done, no_review=True) == "Training has started."
    heading = running_heading("generate", {"done": 6, "total": 60})
    assert heading == "Generating: 6 of 60 rows.", "imports and rows of an earlier run are not requested"


def test_a_run_that_stops_has_no_time_left() -> None:
    """After *Stop* only the requests in flight are finished, so the time that all rows would take is not shown."""
    report = {"stage": "generate", "numbers": {"done": 6, "total": 60}, "pace": {"left_s": 360.0}}
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="stopping", created=now(),
              progress=report)  # fmt: skip
    stopping, running = job_progress(job), job_progress(job.model_copy(update={"state": "running"}))
    assert stopping is not None
    assert running is not None
    assert (stopping.left_s, running.left_s) == (None, 360.0)


def test_argilla_is_started_for_the_review() -> None:
    """Its steps are shown on the line of the review, even if curation is next because of a new answer."""
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": "argilla", "numbers": {"step": "fetching numpy"}})  # fmt: skip
    why = {"curate": "people have answered since", "review": "after curate"}
    of = Snapshot("a", Project(Path(), SPEC), None, tuple(PlannedStage(s, False, w) for s, w in why.items()), (), ())
    assert [(line.stage, line.running, line.says) for line in stage_lines(of, job)] == [
        ("curate", False, "people have answered since"),
        ("review", True, "fetching numpy"),
    ]


def test_numbers_of_a_finished_step_are_not_those_of_the_next_stage() -> None:
    """While training loads, its line does not show the rows that the gates judged ("train: 140 of 140")."""
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": "gates", "numbers": {"done": 140, "total": 140}})  # fmt: skip
    stages = (PlannedStage("curate", True, ""), PlannedStage("train", False, "not run yet"))
    curate, train = stage_lines(Snapshot("a", Project(Path(), SPEC), None, stages, (), ()), job)
    assert (curate.running, train.running, train.says, train.parts) == (False, True, "loading", [])


@pytest.mark.parametrize(
    ("command", "numbers", "heading"),
    [
        ("export", {"message": "writing tiny-q8_0.gguf"}, "Exporting: writing tiny-q8_0.gguf."),
        ("preview", {"done": 3}, "Previewing: 3 done."),
    ],
)
def test_a_command_that_is_no_stage_moves_none(command: str, numbers: dict[str, Any], heading: str) -> None:
    """Its progress is in the heading, not on the line of whichever stage comes next."""
    job = Job(id="1", project="a", command=command, options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": command, "numbers": numbers})  # fmt: skip
    of = Snapshot("a", Project(Path(), SPEC), None, (PlannedStage("generate", False, "not run yet"),), (), ())
    assert [(line.running, line.says) for line in stage_lines(of, job)] == [(False, "not run yet")]
    assert words.run(of, job, job_progress(job), None, None) == heading


def test_total_cost_is_forecast_only_for_paid_requests() -> None:
    """A total is forecast only while requests are being paid for."""

    def displayed(**numbers: object) -> str:
        job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
                  progress={"stage": "generate", "numbers": {"done": 15, "total": 60, **numbers}})  # fmt: skip
        of = Snapshot("a", Project(Path(), SPEC), None, (), (), ())
        return next(
            under
            for name, _, under in _figures(of, job_progress(job), 0.01, None, rows_in_progress=True)
            if name == "spent"
        )

    assert displayed(usd=0.01) == "no cap; $0.0400 in total at this pace"
    assert displayed() == "no cap"


def test_spending_is_shown_for_the_scope_of_the_cap() -> None:
    """For a job with its own cap, what the job has spent in all its stages; otherwise what the project has spent, not
    what one process has. A job that has not spent anything does not show the project's total."""
    spec = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"max_usd": 5.0})})
    of = Snapshot("a", Project(Path(), spec), None, (), (), (Cost(usd=0.75, requests=8), Cost(usd=0.25, requests=2)))

    def displayed(cap: float | None, begun: float | None, **numbers: object) -> tuple[str, str]:
        job = Job(id="1", project="a", command="run", options=JobOptions(cap_usd=cap), by="ann", state="running",
                  created=now(),
                  progress={"stage": "generate", "numbers": {"done": 15, "total": 60, **numbers}})  # fmt: skip
        at = job_progress(job)
        figures = _figures(of, at, *_spent_and_cap(of, job, at, begun), rows_in_progress=True)
        return next((value, under) for name, value, under in figures if name == "spent")

    assert displayed(None, 0.9, usd=0.1) == ("$1.00", "cap $5.00; $1.30 in total at this pace")
    assert displayed(None, None) == ("$1.00", "cap $5.00")
    assert displayed(2.0, 0.9, usd=0.1) == ("$0.1000", "cap $2.00; $0.4000 in total at this pace")
    kept = displayed(None, 0.9, usd=0.1, kept=10)
    assert kept == ("$1.00", "cap $5.00; $1.90 in total at this pace"), "rows of a preview count as spending"
    assert displayed(None, 0.9, usd=0.0, kept=15) == ("$1.00", "cap $5.00")
    assert displayed(2.0, 0.9) == ("$0.1000", "cap $2.00")
    assert displayed(2.0, 1.0) == displayed(2.0, None) == ("nothing", "cap $2.00")


def test_continue_button_continues_the_unfinished_run() -> None:
    """On every page, so that the options of the original run still apply, including its cap. After a run that has done
    all of its stages, a new one is started."""

    def run(state: State, command: str = "run") -> Job:
        return Job(id=f"{command}-{state}", project="a", command=command, options=JobOptions(cap_usd=0.05), by="ann",
                   state=state, created=now())  # fmt: skip

    def action(*jobs: Job) -> str:
        return continue_action("a", displayed_run(None, jobs))

    assert action(run("done", "review-pull"), run("waits_for_people")) == "/p/a/run/run-waits_for_people/continue"
    assert action(run("stopped"), run("waits_for_people")) == "/p/a/run/run-stopped/continue"
    assert action(run("done"), run("waits_for_people")) == action() == "/p/a/run"


def test_run_without_review_is_shown_without_the_review_stage(tmp_path: Path) -> None:
    """A job without review has no review stage, and nothing is "after review"; completed stages are done. For a job
    that is done, or one with review, the project's own plan is shown."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(
        TINY.format(url="http://127.0.0.1:9").replace('seeds.jsonl"', 'seeds.jsonl"\nkind = "pair"')
    )
    (folder / "seeds.jsonl").write_text('{"input": "a red kite", "output": "a red kite over a grey sea END"}\n')
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        table.stage("generate").do(project, store)
        table.stage("curate").do(project, store)
        of = Snapshot("a", project, store, tuple(plan(project, store)), tuple(store.receipts()), ())
        progress = {"stage": "curate", "numbers": {"done": 1, "total": 1}}
        job = Job(id="1", project="a", command="run", options=JobOptions(no_review=True), by="ann", state="running",
                  created=now(), started=now(), progress=progress)  # fmt: skip
        under = of.for_job(job)
        assert [(line.stage, line.says) for line in stage_lines(under, job)][2:] == [
            ("train", "not run yet"),
            ("evaluate", "after train"),
        ]
        assert words.run(under, job, job_progress(job), None, None) == "Training has started."
        assert [of.prerequisite("train"), under.prerequisite("train")] == ["; review comes first", ""]
        assert under.prerequisite("evaluate") == "; train comes first"
        assert of.for_job(job.model_copy(update={"state": "stopped"})) is under, "a continued run has a review"
        assert of.for_job(job.model_copy(update={"state": "done"})) is of
        assert of.for_job(job.model_copy(update={"options": JobOptions()})) is of
        figures = _figures(under, job_progress(job), None, None, rows_in_progress=False)
        assert figures[0] == ("accepted", "1", "of 1 row"), "accepted rows are not shown during training"


def test_job_of_another_command_does_not_change_the_displayed_run() -> None:
    """After a stopped run without review, an export is run: the stages shown are still those of the run, so continuing
    it has no review either."""

    def job(command: str, **options: bool) -> Job:
        return Job(id=command, project="a", command=command, options=JobOptions(**options), by="ann", state="stopped",
                   created=now())  # fmt: skip

    run, export = job("run", no_review=True), job("export")
    older = job("run")
    assert displayed_run(export, [export, run, older]) is displayed_run(None, [export, run, older]) is run
    assert displayed_run(older, [export, run, older]) is older, "an older run is not shown"
    assert displayed_run(export, [export]) is None


def test_terminal_commands_are_not_shown_on_pages() -> None:
    """A skipped review stage is shown as skipped, without a command."""
    stage = PlannedStage("review", True, "skipped (run --no-review); `pairsmith review push` starts a review")
    assert words.stage(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), stage, None) == "skipped"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "Write what a good answer looks like into evaluate.checks: `pairsmith docs evaluation`.",
            "Write what a good answer looks like into “Additional checks for good answers” in Setup.",
        ),
        ("Give each its right answer: `pairsmith docs evaluation`.", "Give each its right answer."),
        ("See the error, and `pairsmith docs teachers`.", "See the error."),
        ("Start from a task of this kind (see `pairsmith docs tasks`).", "Start from a task of this kind."),
    ],
)
def test_pages_name_no_manual_of_the_terminal(written: str, shown: str) -> None:
    """Setup told the reader of a page to run `pairsmith docs evaluation` in a terminal, and named a key of the spec
    whose fields are further down."""
    assert on_page(written) == shown


def test_a_run_that_was_stopped_has_not_failed() -> None:
    """The overview said "run failed: 30 rows are done and every answer is in the store" after *Stop*."""
    facts = {"error": "30 rows are done and every answer is in the store.", "stopped": True}
    receipt = Receipt(command="run", ok=False, counts=Counts(), seconds=1, started=now(), spec_hash="", facts=facts)
    shown = Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ())
    assert words.project(shown, None, None) == "run was stopped"
    del receipt.facts["stopped"]
    assert words.project(shown, None, None).startswith("run failed: 30 rows are done")


def test_base_that_equals_few_shot_is_shown_as_base() -> None:
    """Without examples, base and few-shot are one system, and the verdict still compares the tuned model with it.
    Intervals contain no breaking spaces, as in the report."""
    rates = {"tuned": {"share": 0.5, "low": 0.4, "high": 0.6}, "base = few-shot": {"share": 0.2}}
    receipt = Receipt(command="evaluate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="",
                      facts={"pass_rate": rates})  # fmt: skip
    of = Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ())
    assert words.verdict(of) == "tuned passes 50\u202f% [40,\u00a060], its base passes 20\u202f%"
    receipt.facts["verdict"] = {"decision": "not enough evidence"}
    assert words.verdict(of) == "not enough evidence: tuned passes 50\u202f% [40,\u00a060], its base passes 20\u202f%"


def test_the_rate_beside_that_of_tuned_is_of_the_best_untuned_system() -> None:
    """The list of projects and the evaluation page's heading showed the base, whose answers may all be cut, where a
    prompt passed nearly as often as tuned; the report names that prompt."""
    shares = {"base": 0.0, "few-shot = teacher": 0.2, "retrieval": 0.6, "tuned": 0.7}
    facts = {"pass_rate": {label: {"share": share} for label, share in shares.items()}}
    receipt = Receipt(command="evaluate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="", facts=facts)
    of = Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ())
    assert words.verdict(of) == "tuned passes 70\u202f%, retrieval without training passes 60\u202f%"


def test_a_verdict_that_the_present_rules_change_is_announced_where_it_is_computed() -> None:
    """The list of projects shows what the last evaluation concluded. Where its page concludes something else, it names
    both, and says how to make them one. The page of an earlier evaluation does not claim that it has the same answers.
    A changed evaluate.ship_at is no change of the rules."""
    facts = {"pass_rate": {"tuned": {"share": 0.5}}, "verdict": {"decision": "ship"}, "made": "e2"}
    receipt = Receipt(command="evaluate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="", facts=facts)
    of = Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ())
    present = ModelVerdict(decision="not enough evidence", fine_tune="fine-tune", because=(), flips_when=())
    (caution,) = words.changed_verdict(of, "e2", present)
    assert "The rules of the verdict or its settings have changed" in caution
    assert not words.changed_verdict(of, "e1", present)
    assert "concluded 'ship', and the list of projects shows that" in caution
    assert "the same answers now give 'not enough evidence'" in caution
    assert not words.changed_verdict(of, "e2", present.model_copy(update={"decision": "ship"}))


def test_reasons_stay_visible_during_training() -> None:
    """They are those of the last curation; while rows are generated or judged, there is no count yet."""
    counts = Counts(rows_in=90, accepted=89, rejected=1)
    curated = Receipt(
        command="curate", ok=True, counts=counts, seconds=1, started=now(), spec_hash="", reasons={"echo": 1}
    )
    steps = (PlannedStage("generate", True, ""), PlannedStage("curate", True, ""), PlannedStage("train", False, "next"))
    of = Snapshot("a", Project(Path(), SPEC), None, steps, (curated,), ())
    for stage, moves in (("generate", True), ("curate", True), ("train", False)):
        job = Job(
            id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
            progress={"stage": stage, "numbers": {"done": 1, "total": 8}},
        )  # fmt: skip
        assert _rows_in_progress(of, job, job_progress(job)) == moves
        assert [reason["code"] for reason in _reasons(of, None, rows_in_progress=moves)] == ([] if moves else ["echo"])


def test_failure_heading_omits_the_details() -> None:
    """The heading omits the part in parentheses, which is shown in full below. For a training that is being stopped,
    the page says that it stops after this step, unless its steps are done."""
    what = "nothing answers at the teacher's address (a: cannot connect: [Errno 111] ('127.0.0.1', 9))."
    job = Job(
        id="1", project="a", command="run", options=JobOptions(), by="ann", state="failed", created=now(),
        problem={"what": what},
    )  # fmt: skip
    of = Snapshot("a", Project(Path(), SPEC), None, (), (), ())
    assert words.run(of, job, None, None, None) == "Nothing answers at the teacher's address."
    receipt = Receipt(command="run", ok=False, counts=Counts(), seconds=1, started=now(), spec_hash="",
                      facts={"error": what})  # fmt: skip
    after = dataclasses.replace(of, receipts=(receipt,))
    assert words.overview(after, None, None) == "Run failed: nothing answers at the teacher's address."
    for done, says in ((2, "Training stops after this step"), (5, "Stopping.")):
        progress = {"stage": "train", "numbers": {"done": done, "total": 5}}
        stopping = job.model_copy(update={"state": "stopping", "progress": progress})
        assert words.run(of, stopping, job_progress(stopping), None, None).startswith(says)


def test_next_stage_has_a_reason_only_if_something_changed() -> None:
    """A stage that has never run needs no reason. One that has run says why it runs again."""

    def heading(why: str) -> str:
        receipt = Receipt(command="generate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="")
        stages = (PlannedStage("generate", True, ""), PlannedStage("curate", False, why))
        return words.project(Snapshot("a", Project(Path(), SPEC), None, stages, (receipt,), ()), None, None)

    assert heading("not run yet") == "curate is next"
    assert heading("did not finish") == "curate is next: did not finish"


def test_a_review_is_mentioned_once() -> None:
    """The heading read "waiting for review: 50 rows wait for review", and "waiting for review: reviewers reject this
    dataset"."""

    def heading(why: str) -> str:
        receipt = Receipt(command="curate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="")
        stages = (PlannedStage("curate", True, ""), PlannedStage("review", False, why))
        return words.project(Snapshot("a", Project(Path(), SPEC), None, stages, (receipt,), ()), None, None)

    assert heading("50 rows wait for review") == "50 rows wait for review"
    assert heading("reviewers reject this dataset") == "reviewers reject this dataset"
    assert heading("not run yet") == "waiting for review: not run yet"


def test_status_of_a_failed_run_begins_with_the_failure() -> None:
    """The address or the option that a message is about stays out of the one-line status; a file that is its subject
    stays in it."""

    def heading(error: str) -> str:
        receipt = Receipt(command="run", ok=False, counts=Counts(), seconds=1, started=now(), spec_hash="",
                          facts={"error": error})  # fmt: skip
        return words.project(Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ()), None, None)

    assert heading("http://127.0.0.1:9/v1: Nothing answers. Start it.") == "run failed: Nothing answers"
    assert heading("--max-usd: the budget is too small.") == "run failed: the budget is too small"
    assert heading("seeds.jsonl:3: is not JSON.") == "run failed: seeds.jsonl:3: is not JSON"


def test_status_of_a_completed_step_names_the_stage() -> None:
    """While the step after a completed one is loading, the status names the stage, without the count of that step. A
    step that reports no numbers is not complete."""
    job = Job(id="1", project="a", command="run", options=JobOptions(no_review=True), by="ann", state="running",
              created=now(), progress={"stage": "split", "numbers": {"done": 351, "total": 351}})  # fmt: skip
    stages = (PlannedStage("generate", True, ""), PlannedStage("train", False, "not run yet"))
    of = Snapshot("a", Project(Path(), SPEC), None, stages, (), ())
    assert words.project(of, job, job_progress(job)) == "Training"
    unnumbered = job.model_copy(update={"progress": {"stage": "weights", "numbers": {"message": "downloading"}}})
    assert words.project(of, unnumbered, job_progress(unnumbered)) == "Training, weights"


def test_generation_after_a_preview_is_detected() -> None:
    """After a later generation, the preview's rows are no longer shown as outstanding; a preview after that generation
    counts again."""

    def displayed(command: str, minutes: int) -> Receipt:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        return Receipt(command=command, ok=True, counts=Counts(), seconds=1, started=at, spec_hash="")

    for receipts, asked in (
        ([displayed("preview", 0)], False),
        ([displayed("preview", 0), displayed("generate", 1)], True),
        ([displayed("generate", 0), displayed("preview", 1)], False),
    ):
        of = Snapshot("a", Project(Path(), SPEC), None, (), tuple(receipts), ())
        assert of.asked_since(of.last("preview")) is asked
    assert not of.asked_since(None)


def test_step_names_are_readable() -> None:
    """A gate is a check on the pages, and reviewers need no version of its rules."""
    steps = ("gate/lost_content@3", "gate/user:rules:polite@1", "score/relevance@1", "pool/best@1", "review")
    assert [words.step(by) for by in steps] == [
        "check lost content",
        "check user:rules:polite",
        "pmi",
        "best",
        "review",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Run `pairsmith curate` first.", "Run “curate” on the Run page first."),
        ("`pairsmith review pull` fetches them.", "“Fetch answers” on the Review page fetches them."),
        ("Run `pairsmith review push` first.", "Use “Send rows to reviewers” on the Review page first."),
        ("`pairsmith rows --state failed` lists them.", "The Rows page lists them."),
        ("--max-usd cannot be kept.", "The cap cannot be kept."),
        ("Have about 80 pairs, or raise the test share from 25 % (split.test).",
         "Have about 80 pairs, or raise the test share from 25 %."),
        ("Raise the test share, for instance to 20 % (split.test = 0.2).",
         "Raise the test share, for instance to 20 %."),
        ("Name the environment variable that holds the key (teacher.key_env).",
         "Name the environment variable that holds the key."),
        ("begin one of the kind `classify` (`--kind classify`)", "begin one of the kind `classify`"),
        ("generate is next: task.style and 2 more have changed",
         "generate is next: “Style” (task.style) and 2 more have changed"),
        ("generate.forward.prompt has changed", "“Prompts” (generate.forward.prompt) has changed"),
        ("`pairsmith run --no-review` continues without review.",
         "“run” on the Run page with “Skip review” checked continues without review."),
        ("Run `pairsmith train --curve` again.", "Run `pairsmith train --curve` again."),
        ("See `pairsmith doctor`.", "See `pairsmith doctor`."),
        ("The task runs `pairsmith`.", "The task runs `pairsmith`."),
    ],
)  # fmt: skip
def test_messages_of_commands_name_what_the_pages_have(text: str, shown: str) -> None:
    """A message written for a terminal names buttons, pages and fields when a page shows it."""
    assert on_page(text) == shown
    assert on_page(shown) == shown


def test_every_reworded_phrase_is_in_a_message() -> None:
    """If a message is reworded at its source, the table of the pages must follow, or they show terminal words again."""
    root = Path(__file__).parents[2]
    folders = ("pairsmith", "curate", "train", "synth", "schemas")
    files = (file for folder in folders for file in (root / folder).rglob("*.py") if file.stem != "page_terms")
    source = re.sub(r"[\"']\s*\n\s*f?[\"']", "", "\n".join(file.read_text(encoding="utf-8") for file in files))
    for pattern, _ in _PHRASES:
        literal = re.split(r"\(.*?\)\??|\[.*?\]|\\w\+|\.\*", pattern)
        longest = re.sub(r"\\(.)", r"\1", max(literal, key=len))
        assert longest in source or "usd_per_million" in longest, pattern  # joined from a list of keys


def test_start_page_says_what_waits_also_to_those_who_do_not_see_runs() -> None:
    """A reviewer is not told whether anything runs, but that nothing waits."""
    assert words.projects(2, 0, 0) == "2 projects; none is running."
    assert words.projects(2, 0, 0, all_seen=False) == "2 projects; none is waiting for review."
    assert words.projects(2, 1, 1, all_seen=False) == "2 projects; 1 is running, 1 is waiting for review."
