"""Tests of the report's last sections: rejected rows, where the model fails on validation inputs, and what to do
next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pairsmith.receipts.outcome import TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.report import proof, render
from pairsmith.report.evidence import Evidence, NextSeeds
from pairsmith.report.gather import gather
from pairsmith.report.next_steps import next_seeds, next_steps
from pairsmith.stages.train import summary
from schemas.errors import InputError
from schemas.files import sha256
from schemas.project import Project
from schemas.records import Counts, Seed
from schemas.store import Store
from tests.pairsmith import report_project
from train.evaluation.failures import TOKEN_LIMIT, failures
from train.evaluation.metrics import Evaluation, Output
from train.learning_curve import SHARES, LearningCurve
from train.results import Validation

INPUTS = {"v1": "a crab on a rock", "v2": "a crab on a red rock", "v3": "seven boats at sea", "v4": "a clock"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Store]]:
    project, store = report_project.whole(tmp_path_factory.mktemp("whole"))
    yield project, store
    store.close()


@pytest.fixture(scope="module")
def evidence(whole: tuple[Project, Store]) -> Evidence:
    return gather(*whole)


def with_validation_answers(evaluation: Evaluation) -> Evaluation:
    """The evaluation with four validation answers: two similar inputs fail, one is cut, and one passes."""
    first = evaluation.check_names[0]

    def answer(seed_id: str, *, passes: bool, finish: str = "stop") -> Output:
        checks = dict.fromkeys(evaluation.check_names, True) | {first: passes}
        place = {"system": "tuned", "mode": "greedy", "seed_id": seed_id, "sample": 0, "answered": True}
        faults = {} if passes else {first: "short: it has 2 words"}
        return Output(
            **place, text="two words", finish=finish, checks=checks, reasons=faults, all_pass=passes, key=seed_id
        )

    answers = (
        answer("v1", passes=False),
        answer("v2", passes=False),
        answer("v3", passes=True, finish="length"),
        answer("v4", passes=True),
    )
    return evaluation.model_copy(update={"validation": answers, "validation_inputs": INPUTS})


def test_rejected_rows_are_a_random_sample(whole: tuple[Project, Store], evidence: Evidence) -> None:
    """Up to ten random rows, whatever their reason, each with its own reason; a second report shows the same rows."""
    counts = evidence.counts("curate")
    assert counts is not None
    assert len(evidence.rejected) == min(10, counts.rejected)
    assert len({row.row_id for row in evidence.rejected}) == len(evidence.rejected)
    assert gather(*whole).rejected == evidence.rejected
    words = [reason.word for reason in evidence.stage("curate").reasons]
    assert all(row.detail.startswith(tuple(words)) for row in evidence.rejected)
    page = render(evidence)
    assert page.index("Accepted rows, drawn at random") < page.index("Rejected rows, drawn at random")


def test_failures_are_grouped_by_check_and_similarity(evidence: Evidence) -> None:
    """Passing answers are in no group, cut ones have a group of their own, and similar inputs are next to each
    other."""
    assert evidence.evaluation is not None
    evaluation = with_validation_answers(evidence.evaluation)
    assert [(group.check, group.inputs) for group in failures(evaluation)] == [
        (evaluation.check_names[0], ("a crab on a rock", "a crab on a red rock")),
        (TOKEN_LIMIT, ("seven boats at sea",)),  # not: cut, which is a gate
    ]
    assert failures(evidence.evaluation) == []


def test_an_answer_that_a_check_could_not_judge_has_not_failed(evidence: Evidence) -> None:
    """A crashed check is no failure of the model, so no seeds are proposed for it; the report counts such answers."""
    assert evidence.evaluation is not None
    evaluation = with_validation_answers(evidence.evaluation)
    first, check = evaluation.validation[-1], evaluation.check_names[0]
    unscored = first.model_copy(update={"checks": first.checks | {check: None}, "all_pass": None})
    with_crash = evaluation.model_copy(update={"validation": (*evaluation.validation[:-1], unscored)})
    assert failures(with_crash) == failures(evaluation)
    assert proof.watched(with_crash).startswith(
        "Of 4 validation inputs, 0 pass (greedy), and a check could not judge 1."
    )


def test_rows_without_a_preference_are_in_the_report(evidence: Evidence) -> None:
    """The report says of an adapter that learned from preferences how many rows gave none, and why."""
    *others, trained = sorted(evidence.receipts, key=lambda receipt: receipt.command == "train")
    facts = {**trained.facts, "without_preference": {"length": 10, "no_worse_answer": 4}}
    page = render(replace(evidence, receipts=(*others, trained.model_copy(update={"facts": facts}))))
    assert "14 training and validation rows are not in any preference as the better answer, and not used: 10" in page
    assert "not in any preference" not in render(evidence)


def test_the_current_price_is_marked_beside_the_decoding_it_belongs_to(evidence: Evidence) -> None:
    """One decoding of a system may have been priced alone. Evidence of earlier versions marks both."""
    assert evidence.evaluation is not None
    *others, tuned = evidence.evaluation.systems
    for sampled, greedy, by, times in ((True, False, "", 1), (False, True, "x", 1), (None, None, "x", 2)):
        modes = {"sampled": sampled, "greedy": greedy}
        marked = {name: getattr(tuned, name).model_copy(update={"at_current_price": of}) for name, of in modes.items()}
        system = tuned.model_copy(update={**marked, "priced_by": by})
        evaluation = evidence.evaluation.model_copy(update={"systems": (*others, system)})
        page = render(replace(evidence, evaluation=evaluation))
        assert page.count("<small>at the current price</small>") == times


def test_answers_cut_at_the_token_limit_need_no_seeds(evidence: Evidence) -> None:
    """Where most failures on validation reached the token limit, the next step is to read them and to raise the limit;
    the report used to ask for seeds like those that "fail cut", the name of a gate."""
    assert evidence.evaluation is not None
    answers = with_validation_answers(evidence.evaluation)
    limited = tuple(output.model_copy(update={"finish": "length"}) for output in answers.validation)
    for validation, word in ((limited, "evaluate.sampling.max_tokens"), (answers.validation, "Add seeds like those")):
        first = failures(answers.model_copy(update={"validation": validation}))[0]
        steps = next_steps(replace(evidence, failing=(NextSeeds(first, ()),)))
        (step,) = (step for step in steps if "on validation" in step or "of validation" in step)
        assert word in step
        assert ("token limit" in step) == (validation is limited)


def test_suggested_seeds_are_unused_training_seeds(whole: tuple[Project, Store]) -> None:
    """Suggested seeds are similar to failing inputs, never listed twice, and never validation or test inputs; if there
    are none, the page says to write some."""
    project, store = whole
    evidence = gather(project, store)
    assert evidence.evaluation is not None
    seeds = list(store.active_seeds())
    training = [Seed(kind="input", text=text, source="s:1", meta={"use": "train"}) for text in
                ("a crab in a bucket", "a violin", "old clocks")]  # fmt: skip
    held = [Seed(kind="input", text="a crab on a rock", source="s:2", meta={"use": use}) for use in ("test",)]
    store.set_active_seeds([*training, *held])
    try:
        evaluation = with_validation_answers(evidence.evaluation)
        crabs, cut = next_seeds(store, project.spec, evaluation, {training[1].id})
        assert crabs.seeds[0] == "a crab in a bucket"
        assert not {*crabs.seeds} & {*cut.seeds}
        assert {*crabs.seeds, *cut.seeds} == {"a crab in a bucket", "old clocks"}
        (group, _) = next_seeds(store, project.spec, evaluation, {seed.id for seed in training})
    finally:
        store.set_active_seeds(seeds)
    page = render(replace(evidence, evaluation=evaluation, failing=(crabs, replace(group, seeds=()))))
    assert "a crab in a bucket" in page
    assert "write new inputs of this kind" in page
    assert "Of 4 validation inputs, 1 passes" in page
    assert "Add seeds like those that fail on validation: 2 inputs fail" in page


def test_a_seed_that_repeats_a_held_out_input_is_not_suggested(whole: tuple[Project, Store]) -> None:
    """Curation rejects every row that repeats a test input, so such a seed never has an accepted row; one that repeats
    a validation input would make that useless. Long texts are compared by their beginning."""
    project, store = whole
    evaluation = gather(project, store).evaluation
    assert evaluation is not None
    seeds = list(store.active_seeds())
    texts = {
        "train": [
            "A crab on a wet rock by the old harbour!",
            "a crab, on a red rock",
            f"a crab in a bucket {'x' * 9000}",
        ],
        "test": ["a crab on a wet rock by the old harbour"],
        "validation": ["a crab on a red rock"],
    }
    store.set_active_seeds(
        [Seed(kind="input", text=text, source="s:1", meta={"use": use}) for use in texts for text in texts[use]]
    )
    try:
        crabs, _ = next_seeds(store, project.spec, with_validation_answers(evaluation), set())
    finally:
        store.set_active_seeds(seeds)
    assert crabs.seeds == (texts["train"][2],)


def test_what_to_do_next_follows_from_the_verdict(evidence: Evidence) -> None:
    """Too few test inputs: add more. No gain: do not train. Ready to ship: export. Without reviews: have some rows
    reviewed. A model that misses a high bar may pass most answers, so the rate is quoted instead; and that no answers
    pass is said of the tuned model only if it is true of it too."""
    assert evidence.verdict is not None
    assert evidence.evaluation is not None
    assert f"Add {20 - evidence.evaluation.seeds} more test inputs" in next_steps(evidence)[0]
    assert any("Have some rows reviewed: `pairsmith review up`" in step for step in next_steps(evidence))
    off = replace(evidence, reviews=replace(evidence.reviews, switched_off=True))
    assert any("reviewed: remove `review.enabled = false`, `pairsmith review up`" in step for step in next_steps(off))
    evaluation = evidence.evaluation.model_copy(update={"seeds": 60})
    enough = replace(evidence, evaluation=evaluation)

    def first(decision: str, fine_tune: str) -> str:
        verdict = evidence.verdict
        assert verdict is not None
        decided = verdict.model_copy(update={"decision": decision, "fine_tune": fine_tune})
        return next_steps(replace(enough, verdict=decided))[0]

    assert "pairsmith export" in first("ship", "fine-tune")
    rates = [getattr(system, mode).pass_rate for system in evaluation.systems for mode in ("sampled", "greedy")]
    works = max(rate.estimate for rate in rates) >= 0.5
    sentence = "Use the untuned base" if works else "Neither the tuned model nor a prompt"
    assert sentence in first("do not ship", "do not fine-tune")
    assert f"Do not decide yet: {evidence.verdict.because[0]}." in first("not enough evidence", "not enough evidence")
    missed = f"Do not ship it yet: training helps, but {evidence.verdict.because[0]}."
    assert first("do not ship", "fine-tune").startswith(missed)
    # The tuned model gave no complete answer, so whether training helps is unknown.
    unmeasured = first("do not ship", "not enough evidence")
    assert evidence.verdict.because[0] in unmeasured
    assert "training helps" not in unmeasured
    fails, passes = (rate.model_copy(update={"estimate": share}) for rate in rates[:1] for share in (0.49, 0.51))
    best = {"sampled": fails, "greedy": fails}
    systems = tuple(
        system.model_copy(
            update={
                mode: getattr(system, mode).model_copy(
                    update={"pass_rate": passes if (system.name, mode) == ("tuned", "greedy") else best[mode]}
                )
                for mode in best
            }
        )
        for system in evaluation.systems
    )
    enough = replace(evidence, evaluation=evaluation.model_copy(update={"systems": systems}))
    assert "Use the untuned base" in first("do not ship", "do not fine-tune")
    nothing = replace(evidence, stages=tuple(replace(stage, counts=None) for stage in evidence.stages))
    assert next_steps(nothing) == ["Run `pairsmith run`: generate has not run yet."]


def test_what_waits_for_review_is_not_said_to_wait_for_training(evidence: Evidence) -> None:
    """If reviewers have to answer before training, the report says what they have to do, or that rows go to them first,
    not that training has not run; without a review, or after a training that failed, it does say that."""
    stages = [replace(stage, counts=None) if stage.command == "train" else stage for stage in evidence.stages]
    untrained = replace(evidence, stages=tuple(stages), receipts=())
    facts = {"waits": "64 rows wait for review"}
    review = evidence.receipts[0].model_copy(update={"command": "review", "ok": True, "facts": facts})
    first = "it sends rows to reviewers, and trains after that"
    assert next_steps(untrained) == [
        f"Run `pairsmith run`: {first}; or skip the review with `pairsmith run --no-review`."
    ]
    failed = [replace(stage, stopped="no memory") if stage.command == "train" else stage for stage in stages]
    again = next_steps(replace(untrained, stages=tuple(failed)))
    assert again == ["Run `pairsmith run`: train has not finished yet."]
    waiting = replace(untrained, receipts=(review,))
    assert next_steps(waiting) == ["64 rows wait for review. After the review run `pairsmith run`."]
    off = replace(waiting, reviews=replace(waiting.reviews, switched_off=True))
    assert next_steps(off) == ["Run `pairsmith run`: train has not run yet."]


def test_a_training_without_gain_is_reported(evidence: Evidence) -> None:
    """The kept weights are the best after some step. If the base had a lower loss on validation rows, the report and
    the summary of training say so."""
    assert evidence.training is not None
    falls = evidence.training
    rises = tuple(Validation(step=28 * n, epoch=n, loss=loss) for n, loss in enumerate((2.62, 9.5, 10.8)))
    risen = falls.model_copy(update={"validation": rises, "kept_step": 28})
    assert (falls.kept_loss, risen.kept_loss) == (0.83, 9.5)
    words = "raining did not improve the loss on validation rows: it was 2.62 before and is 9.50 at best"
    assert any(words in step for step in next_steps(replace(evidence, training=risen)))
    assert not any(words in step for step in next_steps(evidence))
    outcome = TrainOutcome(first_loss=2.5, last_loss=9.0, validation_before=2.62, validation_after=9.5, files=("a",))
    assert any(words in text for _, text in summary(outcome))
    assert not any(words in text for _, text in summary(replace(outcome, validation_after=0.8)))


def test_the_learning_curve_must_belong_to_dataset_and_adapter(
    whole: tuple[Project, Store], evidence: Evidence
) -> None:
    """A curve of another dataset, or one drawn with other settings than the adapter's, is not shown, nor is one whose
    hash was not recorded."""
    project, store = whole
    assert evidence.curve is None
    assert evidence.training is not None
    adapter, present = evidence.training.adapter_id, store.artifacts("dataset")[-1].id
    more = {"rows": 500, "of": "loss", "estimate": -0.2, "low": -0.3, "high": -0.1}
    path = project.folder / "curve.json"
    try:
        right = present, adapter
        for dataset_id, adapter_id in (right, ("another", adapter), (present, "another"), right):
            point = {"seed": 1, "adapter_id": adapter_id, "pass_rate": None}
            points = [
                {**point, "rows": 100 * share, "share": share, "loss": 1 - share / 2}
                for share in SHARES
                for _ in range(2)
            ]
            body = {"dataset_id": dataset_id, "rows": 100, "of": "loss", "points": points, "slices": [], "run_sd": 0.01}
            path.write_text(LearningCurve.model_validate({**body, "more": more}).model_dump_json())
            if not store.receipts("train")[-1].facts.get("curve_sha256"):
                assert gather(project, store).curve is None
            with recording(project, store, "train", TrainOutcome()) as record:
                counts = Counts(rows_in=1, accepted=1)
                record.outcome = TrainOutcome(counts=counts, artifact_id=adapter, curve_sha256=sha256(path))
            shown = render(gather(project, store))
            matches = (dataset_id, adapter_id) == right
            assert ("500 more rows like these would change the loss by about -0.20" in shown) == matches
        path.write_text(path.read_text().replace("-0.2,", "-0.9,"))
        with pytest.raises(InputError, match=r"curve\.json: this learning curve was changed"):
            gather(project, store)
    finally:
        path.unlink()
