"""Argilla's queues and the project stay in sync: the page follows the spec, every answer is found, and no queue of
another project is used."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from curate.argilla import server
from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla, Queue
from curate.argilla.marks import MARK
from curate.argilla.pull import pull
from curate.argilla.push import ADJUDICATION, PushResult, draw_batch, project_id, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.review.decision import decide
from curate.review.population import read_population
from curate.review.status import review_status
from schemas.project import Project
from schemas.reviews import Review
from schemas.store import Store
from tests.curate.argilla.answering import answer
from tests.curate.argilla.conftest import wait_until
from tests.curate.review.review_project import SCOPE, fill, project


class Side:
    """A project with pushed rows, all in one queue."""

    def __init__(self, folder: Path, argilla: Argilla, name: str, *, nasty: bool = False, **spec: Any) -> None:
        folder.mkdir()
        self.argilla, self.project = argilla, project(folder, name)
        self.spec(**{"overlap": 0.0, "gold": None, **spec})
        self.store = Store.open(Store.url_for(self.project))
        self.pairs = fill(self.project, self.store, nasty=nasty)
        self.population = read_population(self.project, self.store, [SCOPE])
        draw_batch(self.project, self.store, self.population)

    def spec(self, *, style: str | None = None, **review: Any) -> None:
        """Change the spec, as the owner would in the file."""
        spec = self.project.spec
        task = spec.task.model_copy(update={"style": style} if style else {})
        changed = spec.model_copy(update={"task": task, "review": spec.review.model_copy(update=review)})
        self.project = Project(self.project.folder, changed)

    def push(self) -> PushResult:
        return push(self.project, self.store, self.population, self.argilla)

    def pull(self) -> Any:
        return pull(self.project, self.store, self.argilla)

    def queues(self) -> list[Queue]:
        return self.argilla.queues(project_id(self.store.sampled()), ())

    def rows(self, queue: Queue | None = None) -> list[dict[str, Any]]:
        return list(self.argilla.records(queue or self.queues()[0], responses=True))


@pytest.fixture
def argilla(argilla_server: ArgillaServer) -> Iterator[Argilla]:
    with Argilla(argilla_server.url, argilla_server.api_key, "pairsmith", patience_s=30) as connected:
        yield connected


@pytest.fixture
def name() -> str:
    return f"cats-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def cats(tmp_path: Path, argilla: Argilla, name: str) -> Iterator[Side]:
    side = Side(tmp_path / "cats", argilla, name)
    side.push()
    yield side
    side.store.close()


def test_push_updates_guidelines_and_annotator_count(cats: Side) -> None:
    """Style and number of annotators follow the spec, and a push without changes writes nothing."""
    cats.spec(style="Two sentences about a dog.", annotators_per_row=2)
    assert cats.push().sent == 0
    (queue,) = cats.queues()
    assert "Two sentences about a dog." in queue.guidelines
    assert queue.min_submitted == 2
    before = cats.argilla.call("GET", f"datasets/{queue.id}")["updated_at"]
    cats.push()
    assert cats.argilla.call("GET", f"datasets/{queue.id}")["updated_at"] == before


def test_rows_no_longer_needed_are_withdrawn_unless_begun(cats: Side) -> None:
    """When ten rows leave the pool, the unanswered ones are withdrawn from the queue; one with an answer and one with a
    draft stay."""
    rows = cats.rows()
    answer(cats.argilla.sdk, rows[0]["id"], "accept")
    answer(cats.argilla.sdk, rows[1]["id"], "accept", status="draft")
    left = {row["external_id"] for row in rows[:10]}
    remaining = {id_: row for id_, row in cats.population.rows.items() if id_ not in left}
    cats.population = replace(cats.population, rows=remaining, rejected={})
    pushed = cats.push()
    assert (pushed.sent, pushed.withdrawn) == (0, 8)
    assert {row["external_id"] for row in cats.rows()} == {row["external_id"] for row in (*rows[:2], *rows[10:])}
    assert cats.pull().new == 1


def test_row_decided_elsewhere_is_withdrawn(cats: Side) -> None:
    """A row that was decided in another way leaves the queue."""
    one = cats.rows()[0]["external_id"]
    cats.store.write(Review(pair_id=one, reviewer="ann", decision="accept"))
    assert cats.push().withdrawn == 1
    assert one not in {row["external_id"] for row in cats.rows()}


def test_answers_outlive_their_queue(cats: Side) -> None:
    """Somebody deletes a queue in Argilla after its answers were pulled, and its rows are sent again because the spec
    now requires two annotators. The new rows lack the first answers, which is not a withdrawal. What is answered in the
    new queue can be withdrawn."""
    one, two = cats.rows()[:2]
    for row in one, two:
        answer(cats.argilla.sdk, row["id"], "accept")
    assert cats.pull().new == 2
    cats.argilla.call("DELETE", f"datasets/{cats.queues()[0].id}")
    cats.spec(annotators_per_row=2)
    cats.push()
    pulled = cats.pull()
    assert (pulled.news, pulled.withdrawn) == (0, 0)
    again = next(row for row in cats.rows() if row["external_id"] == one["external_id"])
    response = answer(cats.argilla.sdk, again["id"], "reject")
    assert cats.pull().changed == 1
    cats.argilla.call("DELETE", f"responses/{response['id']}")
    assert cats.pull().withdrawn == 1
    reviews = cats.store.reviews()
    decisions = [[review.decision for review in reviews[row["external_id"]]] for row in (one, two)]
    assert decisions == [["accept", "reject", "withdrawn"], ["accept"]]


def test_rows_answered_by_a_removed_user_are_asked_again(cats: Side) -> None:
    """An annotator's account is deleted before the answers were pulled. Argilla has lost the answers but still counts
    the rows as answered, so no one would see them. The next push corrects that and others can answer them; what was
    pulled before is kept."""
    tag, argilla = uuid.uuid4().hex[:8], cats.argilla
    person = {"first_name": "a", "username": f"ann-{tag}", "password": "12345678", "role": "annotator"}
    ann = argilla.call("POST", "users", json=person)
    argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": ann["id"]})
    first, second, *_ = cats.rows()
    headers = {"X-Argilla-Api-Key": ann["api_key"]}
    for row, pulled in ((first, 1), (second, 0)):
        response = {"status": "submitted", "values": {"verdict": {"value": "accept"}}}
        argilla.call("POST", f"records/{row['id']}/responses", json=response, headers=headers)
        assert not pulled or cats.pull().new == pulled
    argilla.call("DELETE", f"users/{ann['id']}")

    def statuses() -> dict[str, str]:
        return {row["external_id"]: row["status"] for row in cats.rows()}

    assert statuses()[second["external_id"]] == "completed"
    assert cats.push().sent == 0
    assert statuses()[second["external_id"]] == "pending"
    answer(argilla.sdk, second["id"], "reject")
    pulled = cats.pull()
    assert (pulled.new, pulled.withdrawn) == (1, 0)
    assert {id_: own[-1].decision for id_, own in cats.store.reviews().items()} == {
        first["external_id"]: "accept",
        second["external_id"]: "reject",
    }


def test_changed_reasons_move_unanswered_rows_to_a_new_queue(cats: Side) -> None:
    """Labels of a published queue are fixed. Unanswered rows move to a queue with the new labels; answers in the old
    queue are still pulled, and no row is asked twice."""
    rows = cats.rows()
    answer(cats.argilla.sdk, rows[0]["id"], "reject", reasons=["invented"])
    cats.spec(reasons=("length", "rude"))
    pushed = cats.push()
    assert (pushed.sent, pushed.withdrawn, pushed.there) == (len(rows) - 1, len(rows) - 1, 1)
    old, new = cats.queues()
    assert (old.made_as, new.made_as) == (queue_name(cats.project),) * 2
    assert set(new.labels["reasons"]) == {"length", "rude"}
    assert [row["external_id"] for row in cats.rows(old)] == [rows[0]["external_id"]]
    answer(cats.argilla.sdk, cats.rows(new)[0]["id"], "reject", reasons=["rude"])
    assert cats.pull().new == 2
    assert (cats.push().sent, cats.push().withdrawn) == (0, 0)


def test_begun_rows_in_an_old_queue_still_get_the_answers_that_they_need(cats: Side) -> None:
    """A row is answered once, then the reasons change and two annotators per row are required. The row stays in the old
    queue, which offers it to a second annotator, and the push names that queue's page too until the row is answered."""
    row, *_ = cats.rows()
    answer(cats.argilla.sdk, row["id"], "accept")
    assert cats.pull().new == 1
    cats.spec(reasons=("length", "rude"), annotators_per_row=2)
    pushed = cats.push()
    old, new = cats.queues()
    assert (old.min_submitted, new.min_submitted) == (2, 2)
    assert set(pushed.queues) == {old.name, new.name}
    wait_until(lambda: cats.rows(old)[0]["status"] == "pending")
    cats.spec(annotators_per_row=1)
    assert cats.push().queues == (new.name,)
    wait_until(lambda: cats.rows(old)[0]["status"] == "completed")


def test_answers_in_the_workspace_before_still_count(cats: Side) -> None:
    """The spec names another workspace before answers were pulled. They are pulled from the old one, and nothing there
    is changed; the rows are sent to the new one. Whoever watches notices answers in both."""
    row, *others = cats.rows()
    answer(cats.argilla.sdk, row["id"], "accept")
    before, cats.argilla = cats.argilla, cats.argilla.in_workspace(f"team-{uuid.uuid4().hex[:8]}")
    assert cats.pull().new == 1
    pushed = cats.push()
    assert (pushed.sent, pushed.withdrawn) == (len(others), 0)
    present = {dataset["id"] for dataset in cats.argilla.datasets()}
    old, new = sorted(cats.queues(), key=lambda queue: queue.id in present)
    assert (len(cats.rows(old)), len(cats.rows(new))) == (len(others) + 1, len(others))
    seen = cats.argilla.activity(old.project)
    answer(before.sdk, cats.rows(old)[1]["id"], "reject")
    assert cats.argilla.activity(old.project).keys() == seen.keys() == {old.id, new.id}
    wait_until(lambda: cats.argilla.activity(old.project)[old.id] != seen[old.id])
    assert cats.pull().new == 1


def test_renamed_queue_still_returns_its_answers(cats: Side) -> None:
    """After the queue is renamed in Argilla and the dataset in the spec, nothing is sent twice and nothing is lost."""
    (queue,) = cats.queues()
    answer(cats.argilla.sdk, cats.rows()[0]["id"], "accept")
    cats.argilla.call("PATCH", f"datasets/{queue.id}", json={"name": f"{queue.name}-by-hand"})
    cats.spec(dataset=f"{queue.name}-new")
    assert cats.push().sent == 0
    assert len(cats.queues()) == 1
    assert cats.pull().new == 1


def test_two_projects_with_the_same_name_have_separate_queues(cats: Side, tmp_path: Path, name: str) -> None:
    """Two projects of the same name in one workspace: each has its own queue and reads only its own answers."""
    other = Side(tmp_path / "other", cats.argilla, name, seed=2)
    other.push()
    assert {queue.name for queue in (*cats.queues(), *other.queues())} == {name, f"{name}-2"}
    answer(cats.argilla.sdk, cats.rows()[0]["id"], "accept")
    assert other.pull().unchanged + other.pull().new + other.pull().foreign == 0
    assert cats.pull().new == 1
    other.store.close()


def test_unmarked_queue_of_an_earlier_version_is_adopted_if_it_holds_our_rows(
    cats: Side, tmp_path: Path, name: str
) -> None:
    """Earlier versions did not mark their queues. An unmarked queue with our rows is adopted; one with another
    project's rows is not."""
    (queue,) = cats.queues()
    unmarked = {"metadata": None, "guidelines": f"# cats\n\n{MARK}\n"}  # Argilla ignores changes within metadata
    cats.argilla.call("PATCH", f"datasets/{queue.id}", json=unmarked)
    assert cats.queues() == []
    stranger = Side(tmp_path / "stranger", cats.argilla, name, nasty=True)
    assert stranger.push().withdrawn == 0
    assert [queue.name for queue in stranger.queues()] == [f"{name}-2"]
    stranger.store.close()
    assert cats.push().sent == 0
    assert [queue.name for queue in cats.queues()] == [name]


def test_answer_to_a_text_changed_in_argilla_does_not_count(cats: Side) -> None:
    """Such a label would be stored with a row whose text is not the one that was answered."""
    one, two = cats.rows()[:2]
    fields = {**one["fields"], "enhanced": one["fields"]["enhanced"].replace("Tabby", "Blue")}
    assert fields != one["fields"]
    (queue,) = cats.queues()
    cats.argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": [{"id": one["id"], "fields": fields}]})
    for row in (one, two):
        answer(cats.argilla.sdk, row["id"], "accept")
    pulled = cats.pull()
    assert (pulled.new, pulled.altered) == (1, 1)
    assert list(cats.store.reviews()) == [two["external_id"]]


def test_only_named_adjudicators_count(cats: Side) -> None:
    """With `adjudicators` in the spec, answers of other users in the adjudication queue do not count."""
    one = cats.rows()[0]["external_id"]
    for who, verdict in (("ann", "accept"), ("bob", "reject")):
        cats.store.write(Review(pair_id=one, reviewer=who, decision=verdict))  # type: ignore[arg-type]
    assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == 1
    queue = next(queue for queue in cats.queues() if queue.made_as.endswith(ADJUDICATION))
    answer(cats.argilla.sdk, cats.rows(queue)[0]["id"], "accept")
    cats.spec(adjudicators=("somebody-else",))
    assert (cats.pull().new, cats.pull().not_named) == (0, 1)
    cats.spec(adjudicators=("pairsmith",))
    assert cats.pull().new == 1


def test_answer_pulled_before_a_row_was_changed_still_counts(cats: Side) -> None:
    """An answer that was already pulled keeps counting when the row's input or output is changed in Argilla afterwards.
    An answer to the changed row does not count until the row has its original text again."""
    one, two = cats.rows()[:2]
    (queue,) = cats.queues()
    answer(cats.argilla.sdk, one["id"], "accept")
    assert cats.pull().new == 1
    changed = [
        {"id": row["id"], "fields": {**row["fields"], side: f"<div>{uuid.uuid4()}</div>"}}
        for row, side in ((one, "enhanced"), (two, "simple"))
    ]
    cats.argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": changed})
    answer(cats.argilla.sdk, two["id"], "accept")
    pulled = cats.pull()
    assert (pulled.news, pulled.unchanged, pulled.altered) == (0, 1, 1)
    assert [review.decision for review in cats.store.reviews()[one["external_id"]]] == ["accept"]
    as_sent = [{"id": row["id"], "fields": row["fields"]} for row in (one, two)]
    cats.argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": as_sent})
    pulled = cats.pull()
    assert (pulled.new, pulled.unchanged, pulled.altered) == (1, 1, 0)
    assert cats.pull().news == 0


def test_renamed_adjudicator_keeps_counting_and_returns_when_listed_again(
    cats: Side, connect: Callable[[str], Any]
) -> None:
    """An adjudicator whom the owner renames in Argilla keeps all settled rows and can settle the next one. Removed from
    the spec, the answers no longer count; listed again, they do."""
    tag = uuid.uuid4().hex[:6]
    person = {"first_name": "Cid", "username": f"cid-{tag}", "password": "12345678", "role": "annotator"}
    cid = cats.argilla.call("POST", "users", json=person)
    workspace = cats.argilla.workspace_id(make=False)
    cats.argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": cid["id"]})
    settled = connect(cid["api_key"])
    one, two = (row["external_id"] for row in cats.rows()[:2])
    for id_ in one, two:
        for who, verdict in (("ann", "accept"), ("bob", "reject")):
            cats.store.write(Review(pair_id=id_, reviewer=who, decision=verdict))  # type: ignore[arg-type]
    push_adjudication(cats.project, cats.store, cats.population, cats.argilla)
    queue = next(queue for queue in cats.queues() if queue.made_as.endswith(ADJUDICATION))
    rows = {row["external_id"]: row["id"] for row in cats.rows(queue)}
    cats.spec(adjudicators=(f"cid-{tag}",))
    answer(settled, rows[one], "accept")
    assert cats.pull().new == 1
    cats.argilla.call("PATCH", f"users/{cid['id']}", json={"username": f"cid.smith-{tag}"})
    answer(settled, rows[two], "reject")
    pulled = cats.pull()
    assert (pulled.new, pulled.withdrawn, pulled.not_named) == (1, 0, 0)
    cats.spec(adjudicators=("somebody-else",))
    assert cats.pull().withdrawn == 2
    assert cats.pull().news == 0
    cats.spec(adjudicators=(f"cid.smith-{tag}",))
    assert cats.pull().new == 2
    assert cats.pull().news == 0
    pairs = {pair.id: pair for pair in cats.pairs}
    decided = {id_: decide(cats.store.reviews()[id_], pairs[id_]) for id_ in (one, two)}
    assert [decision and decision.verdict for decision in decided.values()] == ["accept", "reject"]


def test_adjudication_waits_for_all_annotators_of_a_row(cats: Side) -> None:
    """If two of three requested annotators disagree, the third may settle it: the row waits for that annotator, and is
    not adjudicated yet. A third opinion does not settle it, so it goes to adjudication."""
    cats.spec(annotators_per_row=3)
    one = cats.rows()[0]["external_id"]
    for who, verdict, sent in (("ann", "accept", 0), ("bob", "reject", 0), ("cid", "edit", 1)):
        cats.store.write(Review(pair_id=one, reviewer=who, decision=verdict, edited="A cat at last."))  # type: ignore[arg-type]
        assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == sent
        status = review_status(cats.project, cats.store, cats.population)
        assert (status.incomplete, status.undecided) == (1 - sent, sent)


def test_added_space_is_not_an_edit_and_unfinished_edit_is_not_adjudicated(cats: Side) -> None:
    """Accept with one space added to the text is an acceptance. *Edit* without another text waits for the same
    annotator and is not sent to adjudication."""
    one, two = cats.rows()[:2]
    pairs = {pair.id: pair for pair in cats.pairs}
    answer(cats.argilla.sdk, one["id"], "accept", edited=pairs[one["external_id"]].output + " ")
    answer(cats.argilla.sdk, two["id"], "edit", edited=pairs[two["external_id"]].output)
    assert cats.pull().edits == 0
    assert cats.store.reviews()[one["external_id"]][0].decision == "accept"
    assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == 0


def test_pull_leaves_a_draft_dataset_with_our_name_alone(cats: Side) -> None:
    """Pulling, dry or not, does not touch an unpublished dataset that has the name of one of our queues."""
    body = {"name": f"{queue_name(cats.project)}{ADJUDICATION}", "guidelines": "By hand.", "workspace_id": None}
    body["workspace_id"] = str(cats.argilla.workspace_id(make=False))
    dataset = cats.argilla.call("POST", "datasets", json=body)
    for dry in True, False:
        pull(cats.project, cats.store, cats.argilla, dry=dry)
        assert cats.argilla.call("GET", f"datasets/{dataset['id']}")["guidelines"] == "By hand."


def test_dataset_with_our_name_and_other_labels_is_left_alone(tmp_path: Path, argilla: Argilla) -> None:
    """A dataset has our queue's name but other verdict labels. Our rows go to a second queue; answers in the dataset,
    even to one of our rows, are counted as foreign and create no review."""
    import argilla as rg

    side, client = Side(tmp_path / "cats", argilla, f"cats-{uuid.uuid4().hex[:8]}"), argilla.sdk
    argilla.workspace_id(make=True)
    theirs = rg.Dataset(
        name=queue_name(side.project),
        workspace=argilla.workspace,
        settings=rg.Settings(
            fields=[rg.TextField(name="enhanced", client=client)],
            questions=[
                rg.LabelQuestion(name="verdict", labels=["good", "bad"], client=client),
                rg.TextQuestion(name="edited", required=False, client=client),
                rg.MultiLabelQuestion(name="reasons", labels=["a", "b"], required=False, client=client),
            ],
        ),
        client=client,
    ).create()
    id_ = next(iter(side.store.sampled()))
    theirs.records.log([{"id": id_, "enhanced": "text"}, {"id": "theirs", "enhanced": "text"}])
    before = {row["external_id"]: row["id"] for row in argilla.call("GET", f"datasets/{theirs.id}/records")["items"]}
    for record_id in before.values():
        answer(client, record_id, "good")
    with side.store:
        pushed = side.push()
        assert pushed.queues == (f"{theirs.name}-2",)
        assert pushed.sent + pushed.there == len(side.store.sampled())
        pulled = side.pull()
        assert (pulled.new, pulled.news) == (0, 0)
        assert pulled.foreign >= 1
        assert side.store.reviews() == {}
    rows = argilla.call("GET", f"datasets/{theirs.id}/records")["items"]
    assert {row["external_id"]: row["id"] for row in rows} == before


def test_single_annotator_has_one_queue_and_its_address(tmp_path: Path, argilla: Argilla) -> None:
    """With an overlap in the spec, a single user answers every row in one queue, at the address that push returns, and
    can finish it. Once a second user joins, the rows for two annotators get a queue of their own."""
    tag = uuid.uuid4().hex[:8]
    argilla.workspace = f"alone-{tag}"
    side = Side(tmp_path / "cats", argilla, f"cats-{tag}", overlap=0.5)
    with side.store:
        asked = {record.dataset for own in side.store.sampled().values() for record in own}
        assert len(asked) == 2

        def send() -> PushResult:
            return push(side.project, side.store, side.population, argilla, alone=argilla.alone)

        pushed = send()
        (queue,) = side.queues()
        assert (pushed.queues, pushed.pages) == ((queue.name,), (argilla.page_of(queue),))
        rows = side.rows()
        assert len(rows) == len(side.store.sampled())
        for row in rows[:-6]:
            answer(argilla.sdk, row["id"], "accept")
        done = argilla.call("GET", f"datasets/{queue.id}/progress")
        assert (done["completed"], done["pending"]) == (len(rows) - 6, 6)
        person = {"first_name": "b", "username": f"bob-{tag}", "password": "12345678", "role": "annotator"}
        user = argilla.call("POST", "users", json=person)
        argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": user["id"]})
        assert not argilla.alone
        side.pull()
        send()
        assert {one.made_as for one in side.queues()} == asked
        on_server = [row["external_id"] for one in side.queues() for row in side.rows(one)]
        assert len(on_server) == len(set(on_server))


def test_deleted_queue_leaves_nothing_in_the_index(cats: Side, argilla_server: ArgillaServer) -> None:
    """Neither the list of changes nor the word index keeps its rows, so they do not grow without bound; withdrawn rows
    leave the word index at the next search."""
    (queue,) = cats.queues()
    ids = [uuid.UUID(str(row["id"])) for row in cats.rows()]
    data = argilla_server.home / "data"
    tables = {"docs": "argilla.words.db", "pairsmith_changes": "argilla.db", "pairsmith_values": "argilla.db"}
    on_postgresql = server.status(argilla_server.home).database == "PostgreSQL"
    if on_postgresql:
        child = json.loads((argilla_server.home / "supervisor.json").read_text())["children"][-1]
        url = sa.make_url(child["environment"]["ARGILLA_DATABASE_URL"]).set(drivername="postgresql+psycopg")
        tables = dict.fromkeys(("pairsmith_words", "pairsmith_values"), "")

    def kept() -> list[int]:
        """The number of the queue's rows in each table."""
        counts = []
        for table, file in tables.items():
            engine = sa.create_engine(url if on_postgresql else f"sqlite:///{data / file}?timeout=30")
            names = [str(id_) if on_postgresql else id_.hex for id_ in ids]
            record_id = sa.cast(sa.column("record_id"), sa.Text)
            query = sa.select(sa.func.count(record_id.distinct())).select_from(sa.table(table))
            with engine.connect() as connection:
                counts.append(int(connection.execute(query.where(record_id.in_(names))).scalar_one()))
            engine.dispose()
        return counts

    def search() -> None:
        cats.argilla.call("POST", f"datasets/{queue.id}/records/search", json={"query": {"text": {"q": "tabby"}}})

    search()
    assert kept() == [len(ids)] * len(tables)
    cats.argilla.call("DELETE", f"datasets/{queue.id}/records", params={"ids": str(ids[0])})
    search()
    assert kept()[0] == len(ids) - 1
    cats.argilla.call("DELETE", f"datasets/{queue.id}")
    assert kept() == [0] * len(tables)
