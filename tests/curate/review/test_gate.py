"""The human gate: a set passes because people accept it, not because they agree about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.argilla.push import draw_batch
from curate.review.gate import UNEXPLAINED, Gate
from curate.review.population import Population, read_population
from curate.review.sampling import targets
from curate.review.status import ReviewStatus, as_json, from_facts, in_words, review_status
from pairsmith.stages.review import in_lines, rejection, waits
from schemas.project import Project
from schemas.records import Counts, Receipt, RowState, now
from schemas.reviews import Review
from schemas.store import Store
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
    """The status of a review after one person gave the same verdict on every row of some batches."""
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


def test_a_set_that_people_reject_whole_does_not_pass(tmp_path: Path) -> None:
    """However tight the interval is, a set of which people accept nothing stops the loop, and it says why: each reason
    with the number of rows and the first of them."""
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


def test_what_any_step_of_curation_flags_is_drawn_as_near_the_cut(tmp_path: Path) -> None:
    """A label that is unlikely, a row that another one says in other words, what a judge doubts: such rows go to people
    by the share `margin`, as those do that a gate flags."""
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
def test_nobody_is_asked_for_more_of_a_set_that_people_reject(tmp_path: Path) -> None:
    """Once the upper bound is below what the spec asks, no further batch is drawn."""
    status, project = answered(tmp_path, "reject")
    assert status.gate.state == "rejected"
    with Store.open(Store.url_for(project)) as store:
        assert draw_batch(project, store, read_population(project, store, [SCOPE])) == []


@pytest.mark.slow
def test_a_set_that_people_accept_passes(tmp_path: Path) -> None:
    """The lower bound for the rows that would be trained on lies above what the spec asks for."""
    status, _ = answered(tmp_path, "accept")
    assert status.enough
    assert status.rates.accepted
    assert status.rates.accepted.low >= 0.5


def test_the_lower_bound_is_enough_whatever_the_margin_of_error(tmp_path: Path) -> None:
    """Where nine of nine accepted rows are good, half of them are good beyond doubt; how wide the interval is does not
    matter to that."""
    status, _ = answered(tmp_path, "accept", batches=2, margin_of_error=0.01)
    assert status.rates.accepted
    assert status.rates.accepted.margin_of_error > 0.01
    assert status.enough
    assert status.next_step
    assert "would buy ±" in status.next_step


def test_advice_is_about_the_interval_that_is_shown(tmp_path: Path) -> None:
    """Where all that passed would be trained on, one interval is shown, which holds at every look: to be told that it
    is as tight as ±9 points where it reaches 13 to a side is to be told to stop too soon."""
    status, _ = answered(tmp_path, "accept", inputs=20, batches=1, margin_of_error=0.15, best=3)
    shown, advised = status.rates.accepted, status.advice
    assert shown
    assert advised
    assert "people" not in dict(in_lines(as_json(status)))
    assert (advised.rows == 0) == (shown.margin_of_error <= advised.margin_of_error), (shown, advised)


def test_the_share_that_counts_is_of_what_would_be_trained_on(tmp_path: Path) -> None:
    """Both rates are given where scores split the rows, and the gate looks at the rows that the programs accept: one of
    three here."""
    status, _ = answered(tmp_path, "accept")
    passed, trained = status.rates.passed, status.rates.accepted
    assert passed
    assert trained
    assert (passed.population, trained.population) == (180, 60)
    assert trained.reviewed < passed.reviewed
    text = " ".join(in_words(as_json(status)))
    assert (
        f"Of the rows that the programs accept, people accept 100.0% (95% interval {trained.low:.1%} to 100.0%" in text
    )
    assert tuple(name for name, _ in in_lines(as_json(status))[:2]) == ("to train", "people")


@pytest.mark.parametrize("asked", [0.7, 0.8])
def test_between_the_two_it_says_how_many_labels_are_missing(tmp_path: Path, asked: float) -> None:
    """A few answers, all in favour, do not prove a share: the line names the number of labels that
    would."""
    status, _ = answered(tmp_path, "accept", batches=1, most=16, margin_of_error=0.45, accept_at_least=asked)
    assert status.gate.state == "asking"
    assert status.gate.missing
    assert f"about {status.gate.missing:,} more labels are needed" in waits(status)
    assert f"about {status.gate.missing:,} more answers will show whether" in as_json(status)["advice"]


def asking_more(project: Project, at_least: float) -> ReviewStatus:
    """The status once the spec asks for another share than the one that rows were drawn for."""
    review = project.spec.review.model_copy(update={"accept_at_least": at_least})
    project = Project(project.folder, project.spec.model_copy(update={"review": review}))
    with Store.open(Store.url_for(project)) as store:
        return review_status(project, store, read_population(project, store, [SCOPE]))


@pytest.mark.parametrize("most", [0, 16])
def test_what_no_answer_can_prove_is_told_before_people_are_asked(tmp_path: Path, most: int) -> None:
    """Sixty rows, of which thirty may be drawn, prove no share of 95 %, whatever people say, and some rows were shown
    with an opinion before that was asked for. The first sentence says so and promises nothing of a number of labels;
    what they do prove is in it, and that share opens the gate."""
    _, project = answered(tmp_path, "accept", batches=1, most=most)
    status = asking_more(project, 0.95)
    assert (status.gate.state, status.gate.missing, status.gate.reach) == ("asking", None, 0.85)
    for sentence in (waits(status), as_json(status)["advice"]):
        assert "that proves a share of only 85%, and review.accept_at_least asks for 95%" in sentence


@pytest.mark.parametrize("asked", [0.95, 1.0])
def test_a_share_that_half_of_the_rows_cannot_prove_is_asked_of_all(tmp_path: Path, asked: float) -> None:
    """Nobody's opinion stands beside any row, and mostly those come that would be trained on. A share of 95 % of sixty
    is proven before all are answered; all of them have to be, and are, where every one is asked for: what is known of
    all has no interval. It is no forecast that the gate cannot be opened."""
    first, project = answered(tmp_path, "accept", batches=1, accept_at_least=asked)
    assert first.gate.state == "asking"
    assert first.gate.reach == 1.0
    with Store.open(Store.url_for(project)) as store:
        population = read_population(project, store, [SCOPE])
        status = first
        while status.gate.state == "asking":
            new = {one.pair_id for one in draw_batch(project, store, population)}
            assert new
            store.write(*(Review(pair_id=id_, reviewer="ann", decision="accept") for id_ in sorted(new)))
            status = review_status(project, store, population)
        reasons = {record.reason for records in store.sampled().values() for record in records}
        drawn = store.sampled().keys()
        assert reasons == {"certify", "audit_accepted", "audit_rejected"}
        assert draw_batch(project, store, population) == []
        if asked == 1.0:
            store.write(Review(pair_id=sorted(drawn & _trained(population))[0], reviewer="ann", decision="reject"))
            assert review_status(project, store, population).gate.state == "rejected"
    rate = status.rates.accepted
    assert rate
    assert status.gate.state == "open"
    assert rate.low >= asked
    assert (rate.low == rate.high) is (rate.reviewed == 60) is (asked == 1.0)
    assert len(drawn) < 180  # of all that passed


def _trained(population: Population) -> set[str]:
    return {row.pair_id for row in population.rows.values() if row.accepted}


@pytest.mark.parametrize(("reach", "named"), [(0.946, "94%"), (0.57, "57%"), (0.29, "29%")])
def test_the_share_that_is_named_opens_the_gate(reach: float, named: str) -> None:
    """It is not rounded up: a bound of 0.946 proves no 95 %, and the sentence would ask for what it names."""
    assert f"a share of only {named}, and" in Gate("asking", 0.95, reach=reach).out_of_reach


@pytest.mark.slow
def test_as_much_as_can_be_reached_is_reached(tmp_path: Path) -> None:
    """Once people have accepted every row that may be drawn, the lower bound is the one that was foreseen."""
    _, project = answered(tmp_path, "accept", batches=20)
    status = asking_more(project, 0.95)
    assert status.gate.state == "exhausted"
    assert status.rates.accepted
    assert status.rates.accepted.low == 0.85


@pytest.mark.slow
def test_with_as_many_more_labels_as_were_named_the_gate_decides(tmp_path: Path) -> None:
    """The forecast is no decoration: about that many more answers of the same kind open the gate."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before, _ = answered(tmp_path / "a", "accept", batches=1, most=16, margin_of_error=0.45, accept_at_least=0.8)
    assert before.gate.missing
    labels = 16 + before.gate.missing
    after, _ = answered(tmp_path / "b", "accept", batches=8, most=2 * labels, margin_of_error=0.45, accept_at_least=0.8)
    assert after.gate.state == "open"


def test_nothing_asked_lets_everything_pass(tmp_path: Path) -> None:
    """`accept_at_least = 0` is the way to train on what people reject, said in the spec."""
    status, _ = answered(tmp_path, "reject", accept_at_least=0.0)
    assert status.enough


def test_as_many_people_as_were_asked_for_must_have_answered(tmp_path: Path) -> None:
    """With `annotators_per_row = 3` the answers of one person a row decide nothing: the rows wait for two more, and no
    share is told."""
    status, _ = answered(tmp_path, "accept", annotators_per_row=3)
    assert not status.enough
    assert status.decided == 0
    assert status.incomplete == status.sampled == status.waiting
    assert status.rates.passed is None
    assert waits(status).endswith(f"{status.incomplete} of them for another annotator")


def test_the_third_answer_completes_a_row_and_so_does_an_adjudicator(tmp_path: Path) -> None:
    """Two of three is still too few; the third counts; one adjudication is final."""
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


def test_a_status_that_an_older_version_wrote_reads_the_same(tmp_path: Path) -> None:
    """Receipts keep the names of their day; the card, the report and the screen say the same of them."""
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
