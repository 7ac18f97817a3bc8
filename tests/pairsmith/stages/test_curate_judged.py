"""Tests of `curate` with a judge: its cost is in the receipt, and warnings are shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curate.argilla.push import draw_batch
from curate.review.population import read_population
from curate.review.status import as_json, in_words, review_status
from curate.states import read_states
from pairsmith.stages.curate import curate, summary
from pairsmith.stages.review import in_lines
from pairsmith.stages.table import Audience
from pairsmith.teachers import teachers
from schemas.progress import discard_message
from schemas.project import Project
from schemas.records import Reason, Verdict
from schemas.reviews import Review
from schemas.store import Store
from tests.curate import tiny
from tests.curate.judging import checklist, part
from tests.curate.scorers.test_judge import QUESTIONS, by_word, project
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says


def test_the_receipt_has_the_cost_of_judging_and_the_command_warns(tmp_path: Path) -> None:
    """The outcome has the judge's requests and cost by stage, and a judge of the same family as the teacher is warned
    about."""
    sentences: list[str] = []
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url}, model="smollm-judge")
        opened = Project(project_.folder, project_.spec)
        with Store.open(Store.url_for(opened)) as store:
            _pool(store, opened)
            outcome = curate(opened, store, Audience(say=sentences.append))
            again = curate(opened, store, Audience(say=sentences.append))
    assert outcome.calls_sent == 2
    assert [(cost["stage"], cost["requests"]) for cost in outcome.costs or ()] == [("judge", 2)]
    assert outcome.usd == 2 * 15e-6
    assert outcome.scorer is not None
    assert outcome.scorer["by"] == "judge/checklist@2"
    assert again.calls_sent == 0
    assert any("Hugging Face" in sentence for sentence in sentences)
    assert not any("are sent to" in sentence for sentence in sentences), "the judge is on this machine"
    assert list((tmp_path / "receipts").glob("*-curate.json"))


def test_a_row_with_an_unreadable_judgement_waits(tmp_path: Path) -> None:
    """The judge would answer the same again, so the row waits until another judge or prompt is used: the summary says
    where to see the answers and what to do."""

    def prose(ask: Ask) -> Reply:
        return says("I like this one a lot.") if "calm" in part(ask, "output") else checklist(by_word)(ask)

    with LoopbackTeacher(prose) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        opened = Project(project_.folder, project_.spec)
        with Store.open(Store.url_for(opened)) as store:
            _pool(store, opened)
            outcome = curate(opened, store)
    assert (outcome.counts.accepted, outcome.counts.waiting) == (1, 1)
    assert dict(summary(outcome))["judged by"] == (
        "a, by 2 questions; 1 row whose answer could not be read: their rows wait; `pairsmith rows --state waiting`"
        " shows the answers; another judge, or your own prompts/judge, is asked again"
    )


MUST = [*QUESTIONS[:1], {"name": "bright", "question": "Is it bright?", "must": True}]
FLAG = [{"name": "bright", "question": "Is it bright?", "must": "flag"}, *QUESTIONS[:1]]
LONG = "must be calm and bright, and this goes on for a good many words more"


@pytest.mark.parametrize(
    ("questions", "select", "answers"),
    [
        (MUST, {}, ["must be calm", "must be bright"]),
        (MUST, {"best": 2}, ["must be calm", "must be bright"]),
        (FLAG, {}, ["must be calm", "must be bright"]),
        (QUESTIONS, {"length_control": True}, ["must be", "must be calm", LONG]),
    ],
)
def test_the_population_for_review_accepts_what_curation_accepts(
    tmp_path: Path, questions: list[dict[str, Any]], select: dict[str, Any], answers: list[str]
) -> None:
    """The acceptance rate for review was computed from the best rows by raw score, including rows that the judge had
    rejected and others than length control had chosen; a certificate then had no audit labels."""
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url}, questions, curate={"select": select})
        opened = Project(project_.folder, project_.spec)
        with Store.open(Store.url_for(opened)) as store:
            _pool(store, opened, answers)
            curated = curate(opened, store)
            population = read_population(opened, store, teachers.fingerprints_of(opened, discard_message))
            (receipt,) = store.receipts("curate")
            accepted = {state.pair_id for state in read_states(store, receipt) if state.state == "accepted"}
    assert {id_ for id_, row in population.rows.items() if row.accepted} == accepted
    assert len(accepted) == curated.counts.accepted


def test_earlier_scores_are_ignored_without_a_scorer(tmp_path: Path) -> None:
    """Without a scorer curation accepts every row that passes the gates, and so does the population for review."""
    opened = Project(tmp_path, tiny.spec())
    with Store.open(Store.url_for(opened)) as store:
        _pool(store, opened)
        for number, pair in enumerate(store.find_pair("")):
            before = {"by": "score/before@1", "fingerprint": "f" * 32, "keep": True, "score": number}
            store.write(Verdict(pair_id=pair.id, reason=Reason("scored"), **before))
        assert opened.spec.curate.score.model == "none"
        assert curate(opened, store).counts.accepted == 2
        population = read_population(opened, store, teachers.fingerprints_of(opened, discard_message))
    assert [row.accepted for row in population.rows.values()] == [True, True]


@pytest.mark.parametrize("asked", [1, 2])
def test_review_of_an_earlier_scorers_choice_is_reported(tmp_path: Path, asked: int) -> None:
    """A new scorer does not score rows that reviewers rejected, so the rates remain those of the earlier scorer, which
    no screen said. Once the new one has scored as many rows, the rates are its own."""
    opened = Project(tmp_path, tiny.spec())
    with Store.open(Store.url_for(opened)) as store:
        _pool(store, opened)
        pairs = [pair.id for pair in store.find_pair("")]
        for by, known in (("score/before@1", pairs), ("score/now@1", pairs[:asked])):
            for id_ in known:
                scored = {"by": by, "fingerprint": "f" * 32, "keep": True, "score": 1.0}
                store.write(Verdict(pair_id=id_, reason=Reason("scored"), **scored))
        now = [("score/now@1", "f" * 32, True)]
        population = read_population(opened, store, teachers.fingerprints_of(opened, discard_message), now)
        status = as_json(review_status(opened, store, population))
    assert population.compared_by == ("score/before@1" if asked == 1 else "")
    lines = [sentence for _, sentence in in_lines(status)] + in_words(status)
    assert sum("chosen by the earlier scorer score/before@1" in line for line in lines) == (2 if asked == 1 else 0)


def test_rows_rejected_before_a_scorer_was_added_stay_in_the_rates(tmp_path: Path) -> None:
    """A scorer scores only rows that reviewers did not reject, so "the rows that the programs accept" used to be only
    accepted ones, and the review gate opened for a dataset of which reviewers reject half. Now the rates do not change,
    and the status counts the rows that were never scored. `certify` scores all rows."""
    opened = Project(tmp_path, tiny.spec())
    with Store.open(Store.url_for(opened)) as store:
        fingerprint = teachers.fingerprints_of(opened, discard_message)[0]
        rows = {f"fox {i}": [f"it must be fox number {i} in the grass"] for i in range(40)}
        tiny.pool(store, opened, rows, fingerprint=fingerprint)
        pairs = [pair.id for pair in store.find_pair("")]
        assert curate(opened, store).counts.accepted == 40
        before = read_population(opened, store, [fingerprint])
        pairs = sorted({one.pair_id for one in draw_batch(opened, store, before)} & set(pairs))
        assert len(pairs) >= 20
        for number, id_ in enumerate(pairs):
            decision = "accept" if number % 2 else "reject"
            store.write(Review(pair_id=id_, reviewer="ann", decision=decision, at=datetime(2026, 11, 1, tzinfo=UTC)))

        def rate(asked: Sequence[str]) -> tuple[float, Any, list[str]]:
            for id_ in asked:
                scored = {"by": "score/now@1", "fingerprint": "f" * 32, "keep": True, "score": 1.0}
                store.write(Verdict(pair_id=id_, reason=Reason("scored"), **scored))
            now = [("score/now@1", "f" * 32, True)]
            population = read_population(opened, store, [fingerprint], now)
            status = as_json(review_status(opened, store, population))
            return status["trained_acceptance_rate"]["value"], status, in_words(status)

        half = as_json(review_status(opened, store, before))["trained_acceptance_rate"]["value"]
        assert 0.2 < half < 0.8
        value, status, words = rate(pairs[1::2])
        assert value == half
        assert status["gate"] != "open"
        assert status["not_asked"] == len(pairs[::2])
        assert any(f"{len(pairs[::2])} rows that people rejected or edited were never scored" in line for line in words)
        value, status, words = rate(pairs[::2])
        assert (value, status["not_asked"]) == (half, 0)
        assert not any("never scored" in line for line in words)


def test_only_rows_that_people_reject_or_edit_count_as_never_scored(tmp_path: Path) -> None:
    """A row that people accept, or whose rejection was withdrawn, is scored by the next curation. Until then it has no
    score, but the scorer will be asked, so it does not count as chosen."""
    opened = Project(tmp_path, tiny.spec())
    with Store.open(Store.url_for(opened)) as store:
        fingerprint = teachers.fingerprints_of(opened, discard_message)[0]
        rows = {f"fox {i}": [f"it must be fox number {i} in the grass"] for i in range(4)}
        tiny.pool(store, opened, rows, fingerprint=fingerprint)
        assert curate(opened, store).counts.accepted == 4
        scored, accepted, rejected, withdrawn = [pair.id for pair in store.find_pair("")]
        verdict = {"by": "score/now@1", "fingerprint": "f" * 32, "keep": True, "score": 1.0}
        store.write(Verdict(pair_id=scored, reason=Reason("scored"), **verdict))
        for day, (id_, decision) in enumerate(
            [(accepted, "accept"), (rejected, "reject"), (withdrawn, "reject"), (withdrawn, "withdrawn")], 1
        ):
            at = datetime(2026, 11, day, tzinfo=UTC)
            store.write(Review.model_validate({"pair_id": id_, "reviewer": "ann", "decision": decision, "at": at}))
        population = read_population(opened, store, [fingerprint], [("score/now@1", "f" * 32, True)])
    assert population.not_asked == {rejected}


def _pool(store: Store, opened: Project, answers: Sequence[str] = ("must be calm", "must be bright")) -> None:
    """Add rows under the fingerprint of the spec's own generation."""
    fingerprint = teachers.fingerprints_of(opened, discard_message)[0]
    tiny.pool(store, opened, {"a fox": list(answers)}, fingerprint=fingerprint)
