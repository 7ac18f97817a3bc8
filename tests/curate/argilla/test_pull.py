"""Pulling answers from a real Argilla: all of them, once each, with their history."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from curate.argilla.adjudication import Disagreement, disagreements, push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.pull import pull, review_of
from curate.argilla.push import ADJUDICATION, SHARED, draw_batch, push, queue_name
from curate.argilla.responses import Response, with_durations
from curate.argilla.server import ArgillaServer
from curate.review.agreement import agreement
from curate.review.decision import decide
from curate.review.gold import accuracies, read_gold
from curate.review.population import Population, read_population
from curate.review.status import review_status
from pairsmith.stages.review import waits
from schemas.errors import ReviewError
from schemas.project import Project
from schemas.records import Edited, Json, Pair
from schemas.reviews import ON_PAGES, PAUSE_S, Alias, Review
from schemas.store import Store
from tests.curate.argilla.answering import answer, change, queue_named
from tests.curate.review.review_project import SCOPE, fill, pair_of, project

ROOT = Path(__file__).parents[3]
START = datetime(2026, 1, 1, tzinfo=UTC)


class Setup:
    """A pushed project, its store, and clients of the owner and of annotators."""

    def __init__(self, project: Project, store: Store, argilla: Argilla, annotators: dict[str, Any]) -> None:
        self.project, self.store, self.argilla, self.annotators = project, store, argilla, annotators
        self.population: Population = read_population(project, store, [SCOPE])
        draw_batch(project, store, self.population)
        push(project, store, self.population, argilla)

    def records(self, suffix: str = "") -> list[Json]:
        queue = queue_named(self.argilla, queue_name(self.project) + suffix)
        assert queue is not None
        return list(self.argilla.records(queue, responses=True))

    def pull(self) -> Any:
        return pull(self.project, self.store, self.argilla)

    def disagreements(self) -> list[Disagreement]:
        pairs, per_row = self.population.pairs(self.population.rows), self.project.spec.review.annotators_per_row
        return disagreements(pairs, self.store.reviews(), per_row)


@pytest.fixture
def cats(tmp_path: Path, argilla_server: ArgillaServer, connect: Callable[[str], Any], client: Any) -> Iterator[Setup]:
    """Twelve inputs, pushed to queues of this test only, with three annotators."""
    tag = uuid.uuid4().hex[:8]
    project_ = project(tmp_path, f"cats-{tag}", workspace=f"w-{tag}")
    with (
        Argilla(argilla_server.url, argilla_server.api_key, f"w-{tag}", patience_s=30) as argilla,
        Store.open(Store.url_for(project_)) as store,
    ):
        workspace = argilla.workspace_id(make=True)
        annotators = {}
        for name in ("ann", "bob", "cid"):
            user = argilla.call(
                "POST",
                "users",
                json={"first_name": name, "username": f"{name}-{tag}", "password": "12345678", "role": "annotator"},
            )
            argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": user["id"]})
            annotators[name] = connect(user["api_key"])
        fill(project_, store)
        yield Setup(project_, store, argilla, annotators)


def test_each_answer_is_pulled_once(cats: Setup) -> None:
    """Three annotators give all kinds of answers. Each becomes one review with its reasons and the row's sampling
    probability; a second pull adds nothing; an edit becomes a separate pair that names its parent and its review."""
    records = cats.records()
    assert len(records) >= 9
    for at, (name, record) in enumerate(zip(["ann", "bob", "cid"] * 3, records, strict=False)):
        verdict = ("accept", "reject", "edit")[at % 3]
        more: Json = {"edited": f"A mended cat {at}."} if verdict == "edit" else {}
        answer(cats.annotators[name], record["id"], verdict, reasons=["off_style"], **more)
    answer(cats.annotators["ann"], records[9]["id"], None, status="discarded")
    first = cats.pull()
    assert (first.new, first.edits, first.discarded, first.foreign) == (9, 3, 1, 0)
    second = cats.pull()
    assert (second.news, second.unchanged) == (0, 9)
    reviews, sampled = cats.store.reviews(), cats.store.sampled()
    (discarded,) = reviews.pop(records[9]["external_id"])
    assert discarded.decision == "withdrawn"
    assert sum(len(own) for own in reviews.values()) == 9
    for id_, (review,) in reviews.items():
        assert review.reasons == ("off_style",)
        assert review.sampling_probability == sampled[id_][-1].sampling_probability
        assert not review.simulated
    edits = [pair for pair in cats.store.pairs() if isinstance(pair.origin, Edited)]
    assert {pair.output for pair in edits} == {"A mended cat 2.", "A mended cat 5.", "A mended cat 8."}
    for pair in edits:
        assert isinstance(pair.origin, Edited)
        (review,) = reviews[pair.origin.parent_id]
        assert review.id == pair.origin.review_id


def test_discarded_rows_do_not_hold_back_the_next_ones(cats: Setup) -> None:
    """A reviewer discards every row of a batch without an answer. Argilla never shows these rows to that reviewer
    again, so the next rows are drawn; the status counts them, and an answer that is given after all counts."""
    ann, records = cats.annotators["ann"], cats.records()
    for record in sorted(records, key=lambda record: record["external_id"] in cats.population.rows):  # gold first
        given = answer(ann, record["id"], None, status="discarded")
    assert cats.pull().discarded == len(records)
    assert cats.pull().news == 0
    status = review_status(cats.project, cats.store, cats.population)
    rows = sum(record["external_id"] in cats.population.rows for record in records)  # the others are gold
    assert status.discarded == rows
    assert f"{rows} of them discarded" in waits(status)
    assert draw_batch(cats.project, cats.store, cats.population)
    change(ann, given["id"], "accept")
    assert cats.pull().new == 1
    assert review_status(cats.project, cats.store, cats.population).discarded == rows - 1


def test_changed_and_deleted_answers_stay_in_the_history(cats: Setup) -> None:
    """Accepted, then rejected, then deleted, then accepted again: four reviews in that order, of which the last
    counts."""
    ann = cats.annotators["ann"]
    record = cats.records()[0]
    id_ = record["external_id"]
    given = answer(ann, record["id"], "accept")
    assert cats.pull().new == 1
    change(ann, str(given["id"]), "reject")
    assert cats.pull().changed == 1
    ann.http_client.delete(f"/api/v1/responses/{given['id']}").raise_for_status()
    assert cats.pull().withdrawn == 1
    assert cats.pull().news == 0
    pair = cats.population.pairs([id_])[id_]
    assert decide(cats.store.reviews()[id_], pair) is None
    answer(ann, record["id"], "accept")
    assert cats.pull().new == 1
    reviews = cats.store.reviews()[id_]
    assert [review.decision for review in reviews] == ["accept", "reject", "withdrawn", "accept"]
    decision = decide(reviews, pair)
    assert decision is not None
    assert decision.verdict == "accept"


def test_answers_given_in_the_service_are_neither_withdrawn_nor_replaced(cats: Setup) -> None:
    """A person whose account in the service is linked to Argilla's answers a row only there, and changes an answer
    there that was given in Argilla. Argilla has neither; a pull leaves both as they are, also if the older answer is
    deleted in Argilla. An answer that is later given in Argilla counts."""
    ann, store = cats.annotators["ann"], cats.store
    both, only_here = cats.records()[:2]
    given = answer(ann, both["id"], "accept")
    assert cats.pull().new == 1
    ((first,),) = store.reviews().values()
    store.write(Alias(name=f"{ON_PAGES}a1", reviewer=first.reviewer))
    for record in (both, only_here):
        store.write(Review(pair_id=record["external_id"], reviewer=f"{ON_PAGES}a1", decision="reject"))

    def decisions(record: Json) -> list[str]:
        return [review.decision for review in store.reviews()[record["external_id"]]]

    assert cats.pull().news == 0
    ann.http_client.delete(f"/api/v1/responses/{given['id']}").raise_for_status()
    assert cats.pull().news == 0
    assert (decisions(both), decisions(only_here)) == (["accept", "reject"], ["reject"])
    answer(ann, only_here["id"], "accept")
    assert cats.pull().new == 1
    assert decisions(only_here) == ["reject", "accept"]
    assert cats.pull().news == 0


def test_deleted_record_keeps_its_answers(cats: Setup) -> None:
    """Deleting a record in Argilla does not withdraw its answers."""
    record = cats.records()[0]
    answer(cats.annotators["ann"], record["id"], "accept")
    cats.pull()
    queue = queue_named(cats.argilla, queue_name(cats.project))
    assert queue is not None
    cats.argilla.call("DELETE", f"datasets/{queue.id}/records", params={"ids": record["id"]})
    assert cats.pull().news == 0
    assert [r.decision for r in cats.store.reviews()[record["external_id"]]] == ["accept"]


def test_disagreements_are_settled_in_the_adjudication_queue(cats: Setup) -> None:
    """If two annotators disagree on a shared row, it goes to adjudication with both answers shown. The adjudicator's
    answer is final, and agreement is measured without it."""
    shared = [r for r in cats.records(SHARED) if r["external_id"] in cats.population.rows]
    assert len(shared) >= 3
    for at, record in enumerate(shared):
        answer(cats.annotators["ann"], record["id"], "accept")
        answer(cats.annotators["bob"], record["id"], "accept" if at else "reject")
    cats.pull()
    (waiting,) = cats.disagreements()
    assert waiting.pair.id == shared[0]["external_id"]
    sent = push_adjudication(cats.project, cats.store, cats.population, cats.argilla)
    assert sent.sent == 1
    assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == 0
    (record,) = cats.records(ADJUDICATION)
    assert "ann-" in record["fields"]["answers"]
    assert "reject" in record["fields"]["answers"]
    answer(cats.annotators["cid"], record["id"], "reject")
    cats.pull()
    assert cats.disagreements() == []
    decision = decide(cats.store.reviews()[waiting.pair.id], waiting.pair)
    assert decision is not None
    assert decision.verdict == "reject"
    assert str(decision.why).startswith("adjudicated: by cid-")
    kappa = next(a for a in agreement(cats.store.reviews()) if a.measure == "Cohen's kappa" and a.question == "verdict")
    assert [name.split("-")[0] for name in kappa.annotators] == ["ann", "bob"]
    assert kappa.rows == len(shared)


def test_gold_measures_annotators_and_never_becomes_data(cats: Setup) -> None:
    """Gold rows are in the queue like others; answers to them give an accuracy, and an edit of one creates no pair."""
    items = read_gold(cats.project)
    gold = {item.pair.id for item in items}
    records = [r for suffix in ("", SHARED) for r in cats.records(suffix) if r["external_id"] in gold]
    assert len(records) == 2
    for record in records:
        answer(cats.annotators["ann"], record["id"], "edit", edited="Something else entirely.")
    assert cats.pull().edits == 0
    (ann,) = accuracies(items, cats.store.reviews())
    assert (ann.right, ann.answered) == (0, 2)
    assert ann.high < 0.9
    assert not gold & set(cats.population.rows)


PULL = """
import sys
from pathlib import Path
from curate.argilla import pull as pulling
from curate.argilla.client import Argilla
from schemas.spec_file import load
from schemas.store import Store
project = load(Path(sys.argv[1]))
with Store.open(Store.url_for(project)) as store:
    with Argilla(sys.argv[2], sys.argv[3], project.spec.review.workspace) as argilla:
        pulling.AT_ONCE = 2
        print(pulling.pull(project, store, argilla).new)
"""


def test_killed_pull_is_resumed(cats: Setup, argilla_server: ArgillaServer) -> None:
    """After SIGKILL while answers are written, the next pull adds the missing ones and none twice."""
    for record in cats.records()[:8]:
        answer(cats.annotators["ann"], record["id"], "edit", edited=f"Mended {record['external_id']}.")
    cats.store.close()
    command = [sys.executable, "-c", PULL, str(cats.project.folder), argilla_server.url, argilla_server.api_key]
    environment = {**os.environ, "PAIRSMITH_FAILPOINT": "mid_pull:3"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -9, killed.stderr
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 5 <= int(done.stdout.split()[-1]) <= 8
    with Store.open(Store.url_for(cats.project)) as store:
        reviews = store.reviews()
        assert [len(own) for own in reviews.values()] == [1] * 8
        assert sum(pair.origin.by == "edited" for pair in store.pairs()) == 8


def test_pull_before_any_push_is_an_error(tmp_path: Path, argilla_server: ArgillaServer, client: Any) -> None:
    """A missing queue is reported and not taken for a queue without answers."""
    project_ = project(tmp_path, "never-pushed")
    with (
        Argilla(argilla_server.url, argilla_server.api_key, "pairsmith") as argilla,
        Store.open(Store.url_for(project_)) as store,
        pytest.raises(ReviewError, match="review push"),
    ):
        pull(project_, store, argilla)


def response(second: float, reviewer: str = "ann", **values: Any) -> Response:
    at = START + timedelta(seconds=second)
    return Response("p", reviewer, reviewer, "annotator", "submitted", {"verdict": "accept", **values}, ("q", "r"), at)


def test_durations_are_measured_between_answers_of_one_annotator() -> None:
    """The first answer and the first after a break have no duration; other annotators' answers in between do not
    matter."""
    reviews = with_durations(
        [response(20), response(0), response(5, "bob"), response(20 + PAUSE_S + 1), response(27 + PAUSE_S)]
    )
    assert [(r.reviewer, r.seconds) for r in reviews] == [
        ("ann", None), ("bob", None), ("ann", 20), ("ann", None), ("ann", 6)
    ]  # fmt: skip


@pytest.fixture
def cat() -> Pair:
    from schemas.records import Seed

    return pair_of(Seed(kind="input", text="cat", source="x:1"), 0, "A tabby cat.")


def test_accept_with_changed_text_is_an_edit(cat: Pair) -> None:
    """The page shows the text ready for editing. Accepting with a changed text is an edit; an untouched or empty text
    is not, nor is a change in a rejected row."""
    assert review_of(response(0, edited="A cat."), cat, None).decision == "edit"
    assert review_of(response(0, edited=cat.output), cat, None).decision == "accept"
    assert review_of(response(0, edited="  "), cat, None).decision == "accept"
    rejected = review_of(response(0, verdict="reject", edited="A cat."), cat, 0.5)
    assert (rejected.decision, rejected.edited, rejected.sampling_probability) == ("reject", None, 0.5)


def test_a_ranking_names_pairs(cat: Pair) -> None:
    """Letters on the page are mapped to pair ids; options that the row did not have are left out."""
    ranks = [
        {"value": "A", "rank": 1},
        {"value": "this", "rank": 2},
        {"value": "B", "rank": 2},
        {"value": "F", "rank": 3},
    ]
    assert review_of(response(0, ranking=ranks), cat, None).ranking == (("q", 1), (cat.id, 2), ("r", 2))


def test_simulated_annotators_are_marked_by_their_name(cat: Pair) -> None:
    """Reviews of a user named `simulated-...` are marked as simulated, others are not."""
    assert review_of(response(0, "simulated-7"), cat, None).simulated
    assert not review_of(response(0, "ann"), cat, None).simulated
