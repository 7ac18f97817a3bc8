"""What the pages say of a run that stopped, in their own words."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pairsmith.plan import PlannedStage, plan
from pairsmith.serve.job import Job, JobOptions, State
from pairsmith.serve.pages import words
from pairsmith.serve.pages.figures import Snapshot, displayed_run, job_progress, stage_lines
from pairsmith.serve.pages.review import continue_action
from pairsmith.serve.pages.run import _figures, _final_figures, _reasons, _rows_in_progress, _spent_and_cap
from pairsmith.serve.pages.training import _heading
from pairsmith.stages import table
from schemas.money import Cost
from schemas.project import Project
from schemas.records import Artifact, Counts, Receipt, now
from schemas.spec import Spec
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith.conftest import SPEC as TINY
from train.results import TrainResult, Validation

SPEC = Spec.model_validate(
    {"task": {"name": "a", "style": "Write it well."}, "seeds": [{"path": "s.jsonl"}], "evaluate": {"checks": []}}
)


def test_a_training_is_told_by_the_loss_of_its_adapter() -> None:
    """Not by the lowest of all, which is that of the untrained base where training made it worse."""
    losses = tuple(Validation(step=at, epoch=at, loss=loss) for at, loss in ((0, 0.5), (1, 0.75), (2, 0.875)))
    result = TrainResult.model_construct(train_rows=8, seconds=60.0, validation=losses, kept_step=1)
    snapshot = Snapshot("a", Project(Path(), SPEC), None, (), (), ())
    heading = _heading(snapshot, result, [Artifact(id="a", kind="adapter", path="adapters/a")])
    assert heading.endswith("validation loss went from 0.50 to 0.75.")


def test_what_was_spent_is_told_by_its_value() -> None:
    """Nothing and free are not the same; against a cap both are nothing, and what nobody knows is neither."""
    capped = Spec.model_validate({**SPEC.model_dump(exclude_unset=True), "budget": {"max_usd": 5}})

    def told(spec: Spec, *costs: Cost) -> str:
        return words.spent(Snapshot("a", Project(Path(), spec), None, (), (), costs))

    free, paid, unknown = Cost(requests=3), Cost(requests=3, usd=0.25), Cost(requests=3, unpriced=3)
    assert [told(SPEC), told(SPEC, free), told(SPEC, free, paid)] == ["nothing", "free", "$0.2500"]
    assert [told(capped), told(capped, free)] == ["nothing of $5.00"] * 2
    assert [told(capped, paid), told(capped, unknown)] == ["$0.2500 of $5.00", "cost unknown of $5.00"]
    assert told(capped, paid, unknown) == "at least $0.2500 of $5.00, 3 requests of unknown cost"


def page(next_stage: str, why: str, gate: str) -> str:
    """The run page of a job that waits, where `next_stage` is not done for the reason `why`."""
    job = Job(
        id="1", project="a", command="run", options=JobOptions(), by="ann", state="waits_for_people", created=now(),
        answer={"facts": {"gate": gate}}, note="115 rows wait for a certificate",
    )  # fmt: skip
    stages = (PlannedStage(next_stage, False, why),)
    of = Snapshot("a", Project(Path(), SPEC), None, stages, (), ())
    return words.run(of, job, None, None, None)


def test_a_run_that_waits_says_for_whom() -> None:
    """For people the present sentence of the review, which answers change; for a certificate what the run said, as long
    as training is what comes next."""
    assert page("review", "12 rows wait for people", "asking") == "12 rows wait for people."
    assert page("train", "not run yet", "uncertified") == "115 rows wait for a certificate."
    assert page("curate", "a certification has run since", "uncertified") == "A certification has run since."
    answered = page("curate", "people have answered since", "asking")
    assert answered == "Reviewers have answered since. Continue to include their answers."


def moves(stage: str, numbers: dict[str, object], *, no_review: bool = False, spent: float | None = None) -> str:
    """The run page of a job whose process reports `numbers` of `stage`, where review and training are not done."""
    job = Job(
        id="1", project="a", command="run", options=JobOptions(no_review=no_review), by="ann", state="running",
        created=now(), progress={"stage": stage, "numbers": numbers},
    )  # fmt: skip
    review = () if no_review else (PlannedStage("review", False, "not run yet"),)
    stages = (PlannedStage("generate", True, ""), *review, PlannedStage("train", False, "not run yet"))
    return words.run(
        Snapshot("a", Project(Path(), SPEC), None, stages, (), ()), job, job_progress(job), spent, spent and 0.05
    )


def test_a_pace_is_that_of_what_moves() -> None:
    """A step that is done has none: 60 rows in a hundredth of a second say nothing of the next one, which loads. A
    figure and what stands under it do not contradict each other."""

    def told(done: int, per_s: float, seconds: float = 9.0, stage: str = "curate") -> tuple[str, str]:
        pace = {"done_per_s": per_s, "seconds": seconds}
        progress = {"stage": stage, "numbers": {"done": done, "total": 60}, "pace": pace}
        job = Job(id="1", project="a", command="curate", options=JobOptions(), by="ann", state="running",
                  created=now(), progress=progress)  # fmt: skip
        figures = _figures(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), job_progress(job), None, None,
                           rows_in_progress=True)  # fmt: skip
        return next((value, under) for name, value, under in figures if name == "pace")

    assert told(30, 2.0) == ("120 rows/min", "in the current step")
    assert [told(30, 2.0, stage=stage)[0] for stage in ("train", "evaluate")] == ["120 steps/min", "120 answers/min"]
    assert told(60, 6000.0) == told(0, 0.0) == ("—", "none yet")
    assert told(5, 41_000.0, seconds=0.0001) == ("—", "none yet"), "what was done at once has no pace"


def test_why_rows_that_come_now_do_not_pass() -> None:
    """While rows are generated, the reasons are those that the job's own process counts over all of them."""
    numbers = {"done": 40, "total": 60, "passed": 30, "rejected": 10, "reasons": {"echo": 7, "empty": 3}}
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": "generate", "numbers": numbers})  # fmt: skip
    reasons = _reasons(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), job_progress(job), rows_in_progress=True)
    assert [(reason["code"], reason["count"], reason["whole"]) for reason in reasons] == [
        ("echo", 7, 40),
        ("empty", 3, 40),
    ]


def test_before_anything_is_judged_nothing_is_rejected() -> None:
    """Rows that were generated, or whose curation was stopped, count as rows: none of them is said to be accepted or
    rejected, where nobody has looked. A job that has not reported yet has begun, and is not said to be silent."""

    def told(command: str, *, ok: bool, **counts: int) -> list[tuple[str, str, str]]:
        receipt = Receipt(command=command, ok=ok, counts=Counts(rows_in=60, **counts), seconds=1, started=now(),
                          spec_hash="")  # fmt: skip
        return _final_figures(Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ()))[:2]

    open_ = [("accepted", "—", "not judged yet"), ("rejected", "—", "each with a reason")]
    assert told("generate", ok=True, waiting=58, failed=2) == open_
    assert told("curate", ok=False, waiting=60) == open_
    judged = told("curate", ok=False, rejected=60)
    assert judged == [("accepted", "0", "of 60 rows"), ("rejected", "60", "each with a reason")]
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now())
    assert words.last_activity(job) == "just started"
    silent = words.last_activity(job.model_copy(update={"last_sign_of_life": now() - timedelta(minutes=3)}))
    assert silent == "no activity for 3 min: the process is alive but neither reports nor computes"
    assert words.last_activity(job.model_copy(update={"state": "queued"})).startswith("created ")


def test_what_takes_long_is_named() -> None:
    """Installing Argilla says that it is Argilla, with its step; a step that is done is not said to go on while the
    next one loads, and where nobody is asked nobody is said to be."""
    assert moves("argilla", {"step": "Collecting numpy"}) == "Starting Argilla for review: Collecting numpy."
    paid = moves("argilla", {"step": "starting"}, spent=0.0083)
    assert paid == "Starting Argilla for review: starting; $0.0083 of $0.0500.", "not money alone"
    done = {"done": 60, "total": 60}
    assert moves("split", done, no_review=True) == "Training: one step is done, the next is loading."
    assert moves("gates", {"done": 6, "total": 60}, no_review=True).startswith("Training, gates: 6 of 60")
    assert moves("generate", done) == "Review has started.", "what is done does not go on"
    assert moves("generate", done, no_review=True) == "Training has started."
    assert moves("generate", {"done": 6, "total": 60}).startswith("Generating: 6 of 60 rows requested")


def test_argilla_is_started_for_the_review() -> None:
    """Its steps stand on the line of the review, also where an answer has come since, for which curation is next."""
    job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
              progress={"stage": "argilla", "numbers": {"step": "fetching numpy"}})  # fmt: skip
    why = {"curate": "people have answered since", "review": "after curate"}
    of = Snapshot("a", Project(Path(), SPEC), None, tuple(PlannedStage(s, False, w) for s, w in why.items()), (), ())
    assert [(line.stage, line.running, line.says) for line in stage_lines(of, job)] == [
        ("curate", False, "people have answered since"),
        ("review", True, "fetching numpy"),
    ]


def test_what_costs_nothing_has_no_forecast_of_its_cost() -> None:
    """A sum in the end is told while answers are paid for, and not of what training has left to do."""

    def told(**numbers: object) -> str:
        job = Job(id="1", project="a", command="run", options=JobOptions(), by="ann", state="running", created=now(),
                  progress={"stage": "generate", "numbers": {"done": 15, "total": 60, **numbers}})  # fmt: skip
        of = Snapshot("a", Project(Path(), SPEC), None, (), (), ())
        return next(
            under
            for name, _, under in _figures(of, job_progress(job), 0.01, None, rows_in_progress=True)
            if name == "spent"
        )

    assert told(usd=0.01) == "no cap; $0.0400 in total at this pace"
    assert told() == "no cap"


def test_what_is_spent_is_told_of_what_the_cap_is_of() -> None:
    """Of a job with a cap of its own what it has spent, whatever stage it is in; of any other what the project has,
    and not what one process of it has. A job that has spent nothing yet shows no sum of the project."""
    spec = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"max_usd": 5.0})})
    of = Snapshot("a", Project(Path(), spec), None, (), (), (Cost(usd=0.75, requests=8), Cost(usd=0.25, requests=2)))

    def told(cap: float | None, begun: float | None, **numbers: object) -> tuple[str, str]:
        job = Job(id="1", project="a", command="run", options=JobOptions(cap_usd=cap), by="ann", state="running",
                  created=now(),
                  progress={"stage": "generate", "numbers": {"done": 15, "total": 60, **numbers}})  # fmt: skip
        at = job_progress(job)
        figures = _figures(of, at, *_spent_and_cap(of, job, at, begun), rows_in_progress=True)
        return next((value, under) for name, value, under in figures if name == "spent")

    assert told(None, 0.9, usd=0.1) == ("$1.00", "cap $5.00; $1.30 in total at this pace")
    assert told(None, None) == ("$1.00", "cap $5.00")
    assert told(2.0, 0.9, usd=0.1) == ("$0.1000", "cap $2.00; $0.4000 in total at this pace")
    kept = told(None, 0.9, usd=0.1, kept=10)
    assert kept == ("$1.00", "cap $5.00; $1.90 in total at this pace"), "a preview's rows cost the job nothing"
    assert told(None, 0.9, usd=0.0, kept=15) == ("$1.00", "cap $5.00")
    assert told(2.0, 0.9) == ("$0.1000", "cap $2.00")
    assert told(2.0, 1.0) == told(2.0, None) == ("nothing", "cap $2.00")


def test_going_on_continues_the_run_that_waits() -> None:
    """From the review page too, so that the cap which it was started with holds on; a run that has ended otherwise is
    not continued, and another one begins."""

    def run(state: State, command: str = "run") -> Job:
        return Job(id=f"{command}-{state}", project="a", command=command, options=JobOptions(cap_usd=0.05), by="ann",
                   state=state, created=now())  # fmt: skip

    assert (
        continue_action("a", [run("done", "review-pull"), run("waits_for_people")])
        == "/p/a/run/run-waits_for_people/continue"
    )
    assert continue_action("a", [run("done"), run("waits_for_people")]) == continue_action("a", []) == "/p/a/run"


def test_a_run_that_asks_nobody_is_shown_as_it_is_planned(tmp_path: Path) -> None:
    """A job that leaves people out has no stage of theirs, and nothing comes "after review"; what it has made is done.
    A job that is done, and one that asks people, change nothing of the project's own plan."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(
        TINY.format(url="http://127.0.0.1:9").replace('seeds.jsonl"', 'seeds.jsonl"\nkind = "pair"')
    )
    (folder / "seeds.jsonl").write_text('{"input": "a red kite", "output": "a red kite over a grey sea END"}\n')
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        table.stage("generate").run(project, store)
        table.stage("curate").run(project, store)
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
        assert of.for_job(job.model_copy(update={"state": "stopped"})) is under, "going on leaves people out as well"
        assert of.for_job(job.model_copy(update={"state": "done"})) is of
        assert of.for_job(job.model_copy(update={"options": JobOptions()})) is of
        figures = _figures(under, job_progress(job), None, None, rows_in_progress=False)
        assert figures[0] == ("accepted", "1", "of 1 row"), "what is accepted does not vanish while a model is trained"


def test_a_job_of_another_kind_does_not_bring_people_back() -> None:
    """A run that left people out was stopped, and an export was made of what there is: the stages are still those of
    the run, so that going on asks nobody either."""

    def job(command: str, **options: bool) -> Job:
        return Job(id=command, project="a", command=command, options=JobOptions(**options), by="ann", state="stopped",
                   created=now())  # fmt: skip

    run, export = job("run", no_review=True), job("export")
    older = job("run")
    assert displayed_run(export, [export, run, older]) is displayed_run(None, [export, run, older]) is run
    assert displayed_run(older, [export, run, older]) is older, "an older run is shown as it was"
    assert displayed_run(export, [export]) is None


def test_what_to_do_in_a_terminal_is_not_said_on_a_page() -> None:
    """Where nobody was asked the stage of people says so, and no command."""
    stage = PlannedStage("review", True, "skipped (run --no-review); `pairsmith review push` starts a review")
    assert words.stage(Snapshot("a", Project(Path(), SPEC), None, (), (), ()), stage, None) == "skipped"


def test_a_base_that_is_another_system_too_is_a_base() -> None:
    """Without examples base and few-shot are one system, and the verdict still sets the tuned model beside it. An
    interval is not broken at the end of a line, here as in the report."""
    rates = {"tuned": {"share": 0.5, "low": 0.4, "high": 0.6}, "base = few-shot": {"share": 0.2}}
    receipt = Receipt(command="evaluate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="",
                      facts={"pass_rate": rates})  # fmt: skip
    of = Snapshot("a", Project(Path(), SPEC), None, (), (receipt,), ())
    assert words.verdict(of) == "tuned passes 50\u202f% [40,\u00a060], base passes 20\u202f%"


def test_while_a_model_trains_the_reasons_of_its_rows_stand() -> None:
    """They are the last curation's; while rows are made or judged there is no count yet."""
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


def test_what_failed_is_a_heading_without_its_details() -> None:
    """The sentence without what stands in parentheses, which is shown whole below it; of a training that is stopped it
    is said that it keeps its best state, but not once its steps are done."""
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


def test_what_a_preview_left_is_asked_once_a_run_has_ended() -> None:
    """It is not said to be still to ask, or to pay, after a generation that began later; a preview after it counts."""

    def told(command: str, minutes: int) -> Receipt:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        return Receipt(command=command, ok=True, counts=Counts(), seconds=1, started=at, spec_hash="")

    for receipts, asked in (
        ([told("preview", 0)], False),
        ([told("preview", 0), told("generate", 1)], True),
        ([told("generate", 0), told("preview", 1)], False),
    ):
        of = Snapshot("a", Project(Path(), SPEC), None, (), tuple(receipts), ())
        assert of.asked_since(of.last("preview")) is asked
    assert not of.asked_since(None)
