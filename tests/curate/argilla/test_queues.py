"""Two sides that agree: what the page shows follows the spec, every answer is found, and no queue is anybody else's."""

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
        """Change the spec, as its owner would in the file."""
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


def test_a_changed_spec_is_on_the_page_after_the_next_push(cats: Side) -> None:
    """Style and number of annotators are those of the spec, and a push that finds nothing changed changes nothing."""
    cats.spec(style="Two sentences about a dog.", annotators_per_row=2)
    assert cats.push().sent == 0
    (queue,) = cats.queues()
    assert "Two sentences about a dog." in queue.guidelines
    assert queue.min_submitted == 2
    before = cats.argilla.call("GET", f"datasets/{queue.id}")["updated_at"]
    cats.push()
    assert cats.argilla.call("GET", f"datasets/{queue.id}")["updated_at"] == before


def test_rows_that_nobody_needs_are_taken_back_unless_somebody_began(cats: Side) -> None:
    """After half of the pool is gone its unanswered rows wait for nobody; an answer and a draft stay where they are."""
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


def test_a_row_that_somebody_decided_elsewhere_is_not_asked_again(cats: Side) -> None:
    """A row whose decision came another way leaves the queue unless somebody has begun with it."""
    one = cats.rows()[0]["external_id"]
    cats.store.write(Review(pair_id=one, reviewer="ann", decision="accept"))
    assert cats.push().withdrawn == 1
    assert one not in {row["external_id"] for row in cats.rows()}


def test_answers_outlive_their_queue(cats: Side) -> None:
    """Somebody deletes a queue in Argilla after its answers were brought, and rows of it are asked again because the
    spec now wants two people: the new rows do not hold the first answers, which nobody took back. What is answered
    there can be taken back."""
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


def test_rows_of_somebody_who_was_removed_are_asked_again(cats: Side) -> None:
    """An annotator's account is deleted before the answers were pulled: Argilla has lost them and goes on counting the
    rows as answered, so nobody would see them. The next push puts that right, and they are answered by others; what
    was pulled before stands."""
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


def test_with_other_reasons_the_rows_go_on_in_another_queue(cats: Side) -> None:
    """Labels of a published queue are fixed. What is unanswered moves to a queue with the new ones; the answers in the
    old one still come back, and no row is asked twice."""
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


def test_whatever_a_queue_is_called_its_answers_come_back(cats: Side) -> None:
    """Renamed in Argilla, and the task renamed in the spec: nothing is sent twice, nothing is lost."""
    (queue,) = cats.queues()
    answer(cats.argilla.sdk, cats.rows()[0]["id"], "accept")
    cats.argilla.call("PATCH", f"datasets/{queue.id}", json={"name": f"{queue.name}-by-hand"})
    cats.spec(dataset=f"{queue.name}-new")
    assert cats.push().sent == 0
    assert len(cats.queues()) == 1
    assert cats.pull().new == 1


def test_two_projects_of_one_name_never_meet(cats: Side, tmp_path: Path, name: str) -> None:
    """Made from one template, in one workspace: each has a queue of its own, and reads its own answers alone."""
    other = Side(tmp_path / "other", cats.argilla, name, seed=2)
    other.push()
    assert {queue.name for queue in (*cats.queues(), *other.queues())} == {name, f"{name}-2"}
    answer(cats.argilla.sdk, cats.rows()[0]["id"], "accept")
    assert other.pull().unchanged + other.pull().new + other.pull().foreign == 0
    assert cats.pull().new == 1
    other.store.close()


def test_a_queue_of_an_earlier_version_is_ours_if_it_holds_our_rows(cats: Side, tmp_path: Path, name: str) -> None:
    """Queues had no mark. One with our rows in it is taken over, one with another project's rows is not."""
    (queue,) = cats.queues()
    cats.argilla.call("PATCH", f"datasets/{queue.id}", json={"metadata": {}})
    stranger = Side(tmp_path / "stranger", cats.argilla, name, nasty=True)
    assert stranger.push().withdrawn == 0
    assert [queue.name for queue in stranger.queues()] == [f"{name}-2"]
    stranger.store.close()
    assert cats.push().sent == 0
    assert [queue.name for queue in cats.queues()] == [name]


def test_an_answer_to_a_text_that_was_changed_in_argilla_does_not_count(cats: Side) -> None:
    """The label would be of another row than the one that it is kept with."""
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


def test_who_may_settle_can_be_named(cats: Side) -> None:
    """With `adjudicators` in the spec, what others answer in the queue of adjudication does not count."""
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


def test_what_was_brought_before_a_row_was_changed_still_counts(cats: Side) -> None:
    """An answer that is known stays one when somebody changes the row's input or output in Argilla afterwards; who
    answers the changed row answers another one, until it says again what it said."""
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


def test_who_settles_goes_on_under_another_name_and_comes_back_when_named_again(
    cats: Side, connect: Callable[[str], Any]
) -> None:
    """An adjudicator whom the owner renames loses no row that was settled, and settles the next; left out of the spec,
    the answers no longer count; named again, they do."""
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


def test_who_settles_waits_for_everybody_who_was_asked(cats: Side) -> None:
    """Of three people asked, two disagree: the third may settle it, so nobody adjudicates yet and the row waits for
    another annotator. A third opinion does not settle it; then somebody adjudicates."""
    cats.spec(annotators_per_row=3)
    one = cats.rows()[0]["external_id"]
    for who, verdict, sent in (("ann", "accept", 0), ("bob", "reject", 0), ("cid", "edit", 1)):
        cats.store.write(Review(pair_id=one, reviewer=who, decision=verdict, edited="A cat at last."))  # type: ignore[arg-type]
        assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == sent
        status = review_status(cats.project, cats.store, cats.population)
        assert (status.incomplete, status.undecided) == (1 - sent, sent)


def test_spaces_are_no_edit_and_an_edit_without_a_text_is_nobody_elses_to_finish(cats: Side) -> None:
    """One space after the text with Accept accepts it; *Edit* without another text waits for the same person, not in a
    queue of adjudication."""
    one, two = cats.rows()[:2]
    pairs = {pair.id: pair for pair in cats.pairs}
    answer(cats.argilla.sdk, one["id"], "accept", edited=pairs[one["external_id"]].output + " ")
    answer(cats.argilla.sdk, two["id"], "edit", edited=pairs[two["external_id"]].output)
    assert cats.pull().edits == 0
    assert cats.store.reviews()[one["external_id"]][0].decision == "accept"
    assert push_adjudication(cats.project, cats.store, cats.population, cats.argilla).sent == 0


def test_a_dry_pull_leaves_a_draft_that_somebody_made(cats: Side) -> None:
    """Whatever a half-made dataset of the name of one of our queues holds, looking for answers does not touch it."""
    body = {"name": f"{queue_name(cats.project)}{ADJUDICATION}", "guidelines": "By hand.", "workspace_id": None}
    body["workspace_id"] = str(cats.argilla.workspace_id(make=False))
    dataset = cats.argilla.call("POST", "datasets", json=body)
    for dry in True, False:
        pull(cats.project, cats.store, cats.argilla, dry=dry)
        assert cats.argilla.call("GET", f"datasets/{dataset['id']}")["guidelines"] == "By hand."


def test_a_dataset_with_our_questions_and_other_labels_is_left_alone(tmp_path: Path, argilla: Argilla) -> None:
    """Its name is our queue's and its verdicts are not ours: the rows go to a queue beside it, and what is answered in
    it, even of a row of ours, is counted as not ours and becomes no review."""
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


def test_who_is_alone_has_one_queue_and_its_address(tmp_path: Path, argilla: Argilla) -> None:
    """With an overlap in the spec: one person answers every row in one queue, which opens at the address that push
    tells, and finishes it; for whoever comes later the rows that two answer have a queue of their own."""
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


def test_a_deleted_queue_leaves_nothing_in_the_index(cats: Side, argilla_server: ArgillaServer) -> None:
    """Neither the list of changes nor the word index keeps its rows, so they do not grow for ever; rows that were
    withdrawn leave the word index at the next search."""
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
        """How many of the queue's rows each table still knows."""
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
