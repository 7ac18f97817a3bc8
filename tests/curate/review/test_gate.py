"""The review gate: a dataset passes because reviewers accept it, not because they agree about it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from curate.argilla.push import draw_batch
from curate.review.gate import UNEXPLAINED, Gate
from curate.review.population import Population, read_population
from curate.review.sampling import targets
from curate.review.status import ReviewStatus, as_json, from_facts, in_words, rates_in_words, review_status
from pairsmith.stages.review import _suggesting_no_review, in_lines, rejection, waits
from schemas.errors import MissingDependency, needing
from schemas.project import Project
from schemas.records import Counts, Receipt, RowState, now
from schemas.reviews import Review
from schemas.store import Store
from schemas.store import store as store_module
from tests.curate.review.review_project import SCOPE, fill, project


def answered(
    folder: Path,
    verdict: str,
    *,
    inputs: int = 60,
    batches: int = 4,
    most: int | None = None,
    best: int | None = None,
    **spec: object,
) -> tuple[ReviewStatus, Project]:
    """The status of a review after one reviewer gave the same verdict on every row of some batches."""
    project_ = project(folder)
    if best:
        select = project_.spec.curate.select.model_copy(update={"best": best})
        curate = project_.spec.curate.model_copy(update={"select": select})
        project_ = Project(project_.folder, project_.spec.model_copy(update={"curate": curate}))
    review = project_.spec.review.model_copy(update={"margin_of_error": 0.2, "gold": None, **spec})
    project_ = Project(project_.folder, project_.spec.model_copy(update={"review": review}))
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, inputs)
        population = read_population(project_, store, [SCOPE])
        rows = 0
        for _ in range(batches):
            for sampled in {one.pair_id: one for one in draw_batch(project_, store, population, more=True)}.values():
                if most is None or rows < most:
                    reasons = ("invented",) if verdict == "reject" and rows else ()
                    answer = {"pair_id": sampled.pair_id, "reviewer": "ann", "decision": verdict, "reasons": reasons}
                    store.write(Review.model_validate(answer))
                    rows += 1
        return review_status(project_, store, population), project_


def test_fully_rejected_set_does_not_pass(tmp_path: Path) -> None:
    """However narrow the interval is, a dataset of which reviewers accept nothing stops the loop. The message gives
    each reason with the number of rows and an example."""
    status, _ = answered(tmp_path, "reject")
    assert status.advice
    assert status.advice.stop
    assert (status.gate.state, status.enough) == ("rejected", False)
    assert waits(status).startswith("reviewers reject this dataset: they accept 0.0% (0.0% to ")
    assert [one.reason for one in status.objections] == ["invented", UNEXPLAINED]
    facts = as_json(status)
    screen = " / ".join(text for _, text in rejection(facts))
    example = facts["objections"][0]["examples"][0]
    for part in ("invented: ", " rows, for example ", example["pair_id"][:12], example["input"], example["output"]):
        assert part in screen
    assert any("People reject this set" in line for line in in_words(facts))


def test_rows_flagged_by_any_step_are_sampled_as_borderline(tmp_path: Path) -> None:
    """An unlikely label, a paraphrase of another row, a row that a judge doubts: such rows go to reviewers under the
    share `margin`, like those flagged by a gate."""
    project_ = project(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, 30)
        before = read_population(project_, store, [SCOPE])
        pair_id = next(id_ for id_, row in before.rows.items() if row.passed and not row.accepted)
        slot = {"generation": SCOPE, "seed_id": "0" * 32, "generator": "forward", "sample": 0, "pair_id": pair_id}
        store.write(
            RowState(curation="c", state="accepted", flags=("unlikely_label",), **slot),  # type: ignore[arg-type]
            Receipt(
                command="curate",
                ok=True,
                counts=Counts(rows_in=0, accepted=0, rejected=0, waiting=0, failed=0),
                seconds=0,
                started=now(),
                spec_hash="",
                facts={"steps": [], "curation": "c"},
            ),
        )
        after = read_population(project_, store, [SCOPE])
    assert {id_ for id_, row in after.rows.items() if row.flagged != before.rows[id_].flagged} == {pair_id}
    unflagged = [row for id_, row in after.rows.items() if id_ == pair_id or not row.flagged]
    assert pair_id in targets(unflagged)["border"]
    assert after.rows[pair_id].accepted == before.rows[pair_id].accepted


@pytest.mark.slow
def test_no_further_batch_of_a_rejected_set(tmp_path: Path) -> None:
    """Once the upper bound is below the required share, no further batch is drawn."""
    status, project = answered(tmp_path, "reject")
    assert status.gate.state == "rejected"
    with Store.open(Store.url_for(project)) as store:
        assert draw_batch(project, store, read_population(project, store, [SCOPE])) == []


@pytest.mark.slow
def test_accepted_set_passes(tmp_path: Path) -> None:
    """The lower bound for the rows to train on is above the required share."""
    status, _ = answered(tmp_path, "accept")
    assert status.enough
    assert status.rates.accepted
    assert status.rates.accepted.low >= 0.5


def test_the_lower_bound_is_enough_whatever_the_margin_of_error(tmp_path: Path) -> None:
    """If the lower bound proves the required share, the width of the interval does not matter."""
    status, _ = answered(tmp_path, "accept", batches=2, margin_of_error=0.01)
    assert status.rates.accepted
    assert status.rates.accepted.margin_of_error > 0.01
    assert status.enough
    assert status.next_step
    assert "would buy ±" in status.next_step


def test_advice_is_about_the_interval_that_is_shown(tmp_path: Path) -> None:
    """If all passed rows would be trained on, a single interval is shown, which holds at every look, and the advice
    refers to it. Advice about a narrower one (±9 points instead of 13 to a side) would say to stop too soon."""
    status, _ = answered(tmp_path, "accept", inputs=20, batches=1, margin_of_error=0.15, best=3)
    shown, advised = status.rates.accepted, status.advice
    assert shown
    assert advised
    assert "people" not in dict(in_lines(as_json(status)))
    assert (advised.rows == 0) == (shown.margin_of_error <= advised.margin_of_error), (shown, advised)


def test_gate_uses_the_share_of_rows_to_train_on(tmp_path: Path) -> None:
    """Both rates are given if scores split the rows, and the gate uses that of the rows the programs accept: one of
    three here."""
    status, _ = answered(tmp_path, "accept")
    passed, to_train = status.rates.passed, status.rates.accepted
    assert passed
    assert to_train
    assert (passed.population, to_train.population) == (180, 60)
    assert to_train.reviewed < passed.reviewed
    text = " ".join(in_words(as_json(status)))
    assert (
        f"Of the rows that the programs accept, people accept 100.0% (95% interval {to_train.low:.1%} to 100.0%" in text
    )
    assert tuple(name for name, _ in in_lines(as_json(status))[:2]) == ("to train", "people")


@pytest.mark.parametrize("asked", [0.7, 0.8])
def test_undecided_gate_says_how_many_labels_are_missing(tmp_path: Path, asked: float) -> None:
    """A few answers, all in favour, do not prove a share: the message names the number of labels that would."""
    status, _ = answered(tmp_path, "accept", batches=1, most=16, margin_of_error=0.45, accept_at_least=asked)
    assert status.gate.state == "asking"
    assert status.gate.missing
    assert f"about {status.gate.missing:,} more labels are needed" in waits(status)
    assert f"about {status.gate.missing:,} more answers will show whether" in as_json(status)["advice"]


def status_with_share(project: Project, at_least: float) -> ReviewStatus:
    """The status once the spec requires another share than the one that rows were drawn for."""
    review = project.spec.review.model_copy(update={"accept_at_least": at_least})
    project = Project(project.folder, project.spec.model_copy(update={"review": review}))
    with Store.open(Store.url_for(project)) as store:
        return review_status(project, store, read_population(project, store, [SCOPE]))


@pytest.mark.parametrize("most", [0, 16])
def test_unprovable_share_is_reported_before_reviewing(tmp_path: Path, most: int) -> None:
    """Sixty rows, of which thirty may be drawn, cannot prove a share of 95 %, whatever the answers; some rows were
    shown with an opinion before that share was requested. The message says so, promises no number of labels, and names
    the share that can be proved."""
    _, project = answered(tmp_path, "accept", batches=1, most=most)
    status = status_with_share(project, 0.95)
    assert (status.gate.state, status.gate.missing, status.gate.reach) == ("asking", None, 0.85)
    for sentence in (waits(status), as_json(status)["advice"]):
        assert "that proves a share of only 85%, and review.accept_at_least asks for 95%" in sentence


@pytest.mark.parametrize("asked", [0.95, 1.0])
def test_share_that_half_of_the_rows_cannot_prove_uses_all_rows(tmp_path: Path, asked: float) -> None:
    """All rows are then shown without an opinion, mostly those to train on. A share of 95 % of sixty is proved before
    all are answered. A share of 100 % needs all of them, and then has no interval. The gate is not forecast to be
    unreachable."""
    first, project = answered(tmp_path, "accept", batches=1, accept_at_least=asked)
    assert first.gate.state == "asking"
    assert first.gate.reach == 1.0
    with Store.open(Store.url_for(project)) as store:
        population = read_population(project, store, [SCOPE])
        status = first
        while status.gate.state == "asking":
            drawn_now = {one.pair_id for one in draw_batch(project, store, population)}
            assert drawn_now
            store.write(*(Review(pair_id=id_, reviewer="ann", decision="accept") for id_ in sorted(drawn_now)))
            status = review_status(project, store, population)
        reasons = {record.reason for records in store.sampled().values() for record in records}
        drawn = store.sampled().keys()
        assert reasons == {"certify", "audit_accepted", "audit_rejected"}
        assert draw_batch(project, store, population) == []
        if asked == 1.0:
            store.write(Review(pair_id=min(drawn & _to_train(population)), reviewer="ann", decision="reject"))
            assert review_status(project, store, population).gate.state == "rejected"
    rate = status.rates.accepted
    assert rate
    assert status.gate.state == "open"
    assert rate.low >= asked
    assert (rate.low == rate.high) is (rate.reviewed == 60) is (asked == 1.0)
    assert len(drawn) < 180  # not all of those that passed


def _to_train(population: Population) -> set[str]:
    return {row.pair_id for row in population.rows.values() if row.accepted}


@pytest.mark.parametrize(("reach", "named"), [(0.946, "94%"), (0.57, "57%"), (0.29, "29%")])
def test_named_share_is_rounded_down(reach: float, named: str) -> None:
    """A bound of 0.946 does not prove 95 %, so the message must not name more than it proves."""
    assert f"a share of only {named}, and" in Gate("asking", 0.95, reach=reach).out_of_reach


@pytest.mark.slow
def test_reachable_share_is_reached_once_all_rows_are_accepted(tmp_path: Path) -> None:
    """Once reviewers have accepted every row that may be drawn, the lower bound is the forecast one."""
    _, project = answered(tmp_path, "accept", batches=20)
    status = status_with_share(project, 0.95)
    assert status.gate.state == "exhausted"
    assert status.rates.accepted
    assert status.rates.accepted.low == 0.85


@pytest.mark.slow
def test_gate_opens_after_the_forecast_number_of_labels(tmp_path: Path) -> None:
    """About the named number of further answers of the same kind opens the gate."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before, _ = answered(tmp_path / "a", "accept", batches=1, most=16, margin_of_error=0.45, accept_at_least=0.8)
    assert before.gate.missing
    labels = 16 + before.gate.missing
    after, _ = answered(tmp_path / "b", "accept", batches=8, most=2 * labels, margin_of_error=0.45, accept_at_least=0.8)
    assert after.gate.state == "open"


def test_accept_at_least_0_passes_everything(tmp_path: Path) -> None:
    """`accept_at_least = 0` is the explicit way to train on a rejected dataset."""
    status, _ = answered(tmp_path, "reject", accept_at_least=0.0)
    assert status.enough


def test_row_needs_the_requested_number_of_annotators(tmp_path: Path) -> None:
    """With `annotators_per_row = 3` one answer per row decides nothing: the rows wait for two more annotators, and no
    share is reported."""
    status, _ = answered(tmp_path, "accept", annotators_per_row=3)
    assert not status.enough
    assert status.decided == 0
    assert status.incomplete == status.sampled == status.waiting
    assert status.rates.passed is None
    assert waits(status).endswith(f"{status.incomplete} of them for another annotator")


def test_rows_on_which_reviewers_disagree_keep_the_gate_closed_until_they_are_settled(tmp_path: Path) -> None:
    """A row on which reviewers disagree is rarely a good one. Left out of the rate, such rows let a set pass;
    now the interval holds however they are decided, the report says so, and adjudication opens the gate."""
    passing, project_ = answered(tmp_path, "accept", accept_at_least=0.8)
    assert passing.enough
    with Store.open(Store.url_for(project_)) as store:
        population = read_population(project_, store, [SCOPE])
        programs_accept = [id_ for id_ in store.sampled() if population.rows[id_].accepted]
        disputed = programs_accept[::3]
        for id_ in disputed:
            store.write(Review(pair_id=id_, reviewer="bob", decision="reject"))
        status = review_status(project_, store, population)
        assert (status.undecided, status.gate.state) == (len(disputed), "asking")
        assert status.rates.accepted
        assert passing.rates.accepted
        assert status.rates.accepted.value == 1.0
        assert status.rates.accepted.low < passing.rates.accepted.low
        assert 0 < status.rates.unsettled_accepted < len(disputed)  # those of the estimation half
        assert status.gate.missing == status.rates.unsettled_accepted  # one answer settles a row that has two
        sentence = f"The answers to {len(disputed)} rows settle nothing: the intervals hold however they are decided."
        assert sentence in in_words(as_json(status))
        for id_ in disputed:
            store.write(Review(pair_id=id_, reviewer="eve", decision="accept", role="adjudicator"))
        settled = review_status(project_, store, population)
        assert settled.enough
        assert settled.rates.accepted == passing.rates.accepted


def test_the_third_answer_completes_a_row_and_so_does_an_adjudicator(tmp_path: Path) -> None:
    """Two of three answers are too few, the third completes the row, and one adjudication is final."""
    _, project = answered(tmp_path, "accept", batches=1, annotators_per_row=3)
    with Store.open(Store.url_for(project)) as store:
        population = read_population(project, store, [SCOPE])
        first, second, *_ = sorted(store.sampled())
        for reviewer in ("bob", "cid"):
            assert review_status(project, store, population).decided == 0
            store.write(Review(pair_id=first, reviewer=reviewer, decision="accept"))
        assert review_status(project, store, population).decided == 1
        store.write(Review(pair_id=second, reviewer="dee", decision="reject", role="adjudicator"))
        assert review_status(project, store, population).rejected == 1


def test_status_of_an_earlier_version_is_read_and_shown_alike(tmp_path: Path) -> None:
    """Receipts keep the key names of their version; all texts made from them are the same."""
    status, _ = answered(tmp_path, "accept")
    facts = as_json(status)
    old_names = {
        "sampled": "routed",
        "acceptance_rate": "accept_share",
        "trained_acceptance_rate": "trained_share",
        "missed_acceptance_rate": "missed_share",
    }
    old = {old_names.get(name, name): value for name, value in facts.items()}
    assert old.keys() != facts.keys()
    assert from_facts(old) == facts
    assert in_words(old) == in_words(facts)
    assert in_lines(old) == in_lines(facts)


def test_rates_are_worded_for_one_row_and_an_uncommon_confidence(tmp_path: Path) -> None:
    """One row is not called rows, and the confidence is stated as the spec sets it, not rounded."""
    status, _ = answered(tmp_path, "accept")
    facts = as_json(status)
    rate = facts["acceptance_rate"] | {"confidence": 0.995, "rows": 1, "population": 1}
    one = facts | {"sampled": 1, "acceptance_rate": rate, "trained_acceptance_rate": None}
    assert in_words(one)[0].startswith("1 row was drawn at random for review: ")
    sentence = rates_in_words(one)["acceptance_rate"]
    assert "(99.5% interval" in sentence
    assert sentence.endswith("from 1 of 1 row) unchanged.")


def test_verdicts_are_read_in_two_passes_however_many_gates_there_are(tmp_path: Path) -> None:
    """What review draws from needs the gates' verdicts once, and those of scorers and judges. Each gate had a pass of
    its own: the review page of 100,000 rows took more than a minute of CPU, twenty times what it needed."""
    project_ = project(tmp_path)
    passes: list[str] = []
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, 12)

        def note(*execution: object) -> None:
            passes.append(str(execution[2])) if "verdicts.body" in str(execution[2]) else None

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            population = read_population(project_, store, [SCOPE])
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(population.rows) == 48
    assert len(passes) == 2


def test_population_is_read_without_a_pair_and_with_each_verdict_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are ids, states and scores. For 100,000 rows, validating every pair and every verdict for them took 20
    seconds of a page."""
    decoded = Counter[str]()
    read, decode = Store.read, store_module.decode_verdict

    def validated(store: Store, kind: type[Any], body: str) -> Any:
        decoded[kind.__name__] += 1
        return read(store, kind, body)

    def skimmed(*of: Any) -> Any:
        decoded["skimmed"] += 1
        return decode(*of)

    monkeypatch.setattr(Store, "read", validated)
    monkeypatch.setattr(store_module, "decode_verdict", skimmed)
    project_ = project(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, 30)
        stored = store.verdict_count()
        decoded.clear()
        population = read_population(project_, store, [SCOPE])
    assert len(population.rows) == 120
    assert population.rejected
    assert population.scores
    assert decoded["Pair"] == decoded["Verdict"] == 0
    assert decoded["skimmed"] == stored


def test_a_missing_package_ends_its_sentence_before_the_alternative() -> None:
    """The two ways to go on are two sentences: "Install it: pip install 'pairsmith[review]' `pairsmith run" was one."""
    with (
        pytest.raises(MissingDependency, match=r"'pairsmith\[review\]'\. `pairsmith run --no-review` continues"),
        _suggesting_no_review(),
        needing("review", "review needs"),
    ):
        raise ModuleNotFoundError(name="argilla")
