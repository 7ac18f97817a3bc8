"""Routes that our server adds to Argilla's API: they send rows and return answers exactly as Argilla's own routes do,
only faster. And searches find what is shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from curate.argilla.client import Argilla, utc
from curate.argilla.pull import pull
from curate.argilla.push import draw_batch, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.review.population import read_population
from schemas.records import Json
from schemas.store import Store
from tests.curate.argilla.answering import answer, queue_named
from tests.curate.argilla.conftest import argilla_client, wait_until
from tests.curate.argilla.webhook_listener import listener
from tests.curate.review.review_project import SCOPE, fill, project

rg = argilla_client()
# A server may have to be started first, which takes minutes on a busy machine.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(400)]


@pytest.fixture
def argilla(on_each_database: ArgillaServer) -> Iterator[Argilla]:
    """The owner's client, in a workspace for this test only."""
    workspace = f"w-{uuid.uuid4().hex[:8]}"
    with Argilla(on_each_database.url, on_each_database.api_key, workspace, patience_s=30) as connected:
        yield connected


def records_from_argilla(argilla: Argilla, queue_id: str) -> dict[str, Json]:
    """The records of a queue by Argilla's own route, without ids and times that differ between queues."""
    path = f"datasets/{queue_id}/records"
    names = {q["id"]: q["name"] for q in argilla.call("GET", f"datasets/{queue_id}/questions")["items"]}
    rows = {}
    for row in argilla.call("GET", path, params={"limit": 1000, "include": ["responses", "suggestions"]})["items"]:
        suggested = {names[one["question_id"]]: (one["value"], one["agent"], one["type"], one["score"])
                     for one in row["suggestions"]}  # fmt: skip
        rows[row["external_id"]] = {name: row[name] for name in ("fields", "metadata", "status")} | {
            "suggestions": suggested,
            "answers": [(one["status"], one["values"]) for one in row["responses"]],
            "responses": [(one["id"], one["user_id"], utc(one["updated_at"])) for one in row["responses"]],
        }
    return rows


def test_own_routes_are_equivalent_to_argillas(argilla: Argilla, tmp_path: Path) -> None:
    """Fields, metadata, suggestions and statuses are the same by both routes. A second push adds nothing. The same
    answers are returned, and a second pull finds nothing new."""
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, nasty=True)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        other = argilla.in_workspace(f"{argilla.workspace}-b")
        other.__dict__["_is_pairsmith_server"] = False
        assert argilla._is_pairsmith_server
        there = []
        for side in argilla, other:
            assert push(project_, store, population, side, alone=True).sent == len(store.sampled())
            assert push(project_, store, population, side, alone=True).sent == 0
            queue = queue_named(side, queue_name(project_))
            assert queue is not None
            for number, row in enumerate(sorted(side.records(queue), key=lambda row: row["external_id"])):
                if number % 2:  # the same rows on both sides, as a pull reads the queues of all workspaces
                    answer(side.sdk, row["id"], "edit", edited=f"Mended {row['external_id']}. \U0001f408")
            there.append(records_from_argilla(side, queue.id))
            read = {row["external_id"]: row for row in side.records(queue, responses=True)}
            assert {id_: [r["values"] for r in row["responses"]] for id_, row in read.items()} == {
                id_: [values for _, values in row["answers"]] for id_, row in there[-1].items()
            }
            for id_, row in there[-1].items():
                assert read[id_]["status"] == row["status"]
                assert (read[id_]["fields"], read[id_]["metadata"]) == (row["fields"], row["metadata"])
                responses = [(one["id"], one["user_id"], utc(one["updated_at"])) for one in read[id_]["responses"]]
                assert responses == row["responses"]
        assert {id_: {**row, "answers": 0, "status": 0, "responses": 0} for id_, row in there[0].items()} == {
            id_: {**row, "answers": 0, "status": 0, "responses": 0} for id_, row in there[1].items()
        }
        answered = {id_ for id_, row in there[0].items() if row["answers"]}
        gold = {id_ for id_, draws in store.sampled().items() if any(draw.reason == "gold" for draw in draws)}
        first = pull(project_, store, argilla)
        assert (first.new, first.edits) == (len(answered), len(answered - gold))
        assert len(answered) == len(store.sampled()) // 2
        assert pull(project_, store, argilla).news == 0


def test_own_routes_check_permissions_and_validate_rows(
    argilla: Argilla, on_each_database: ArgillaServer, tmp_path: Path
) -> None:
    """An annotator, the admin of another workspace and an invalid key are refused as by Argilla's routes. A request
    with a row that does not fit the dataset is refused as a whole with a message, and an existing row stays
    unchanged."""
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        push(project_, store, population, argilla, alone=True)
    queue = queue_named(argilla, "cats")
    assert queue is not None
    path = f"{on_each_database.url}/api/v1/pairsmith/datasets/{queue.id}/records"
    keys = {"nobody": "wrong"}
    for role in "annotator", "admin":
        person = {
            "first_name": role,
            "username": f"{role}-{uuid.uuid4().hex[:6]}",
            "password": "12345678",
            "role": role,
        }
        user = argilla.call("POST", "users", json=person)
        keys[role] = user["api_key"]
        if role == "annotator":
            workspace = argilla.workspace_id(make=False)
            argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": user["id"]})
    before = records_from_argilla(argilla, queue.id)
    good = {"external_id": "new", "fields": {"simple": "a", "enhanced": "b"}}
    with httpx.Client(timeout=60) as http:
        for who, key in keys.items():
            headers = {"X-Argilla-Api-Key": key}
            codes = {http.get(path, headers=headers).status_code,
                     http.put(path, headers=headers, json={"items": [good]}).status_code}  # fmt: skip
            assert codes == {401 if who == "nobody" else 403}, who
        mine = {"X-Argilla-Api-Key": on_each_database.api_key}
        suggestion = {"question_id": str(uuid.uuid4()), "value": "x"}
        for wrong in (
            {**good, "fields": {"simple": "a"}},
            {**good, "fields": {**good["fields"], "other": "c"}},
            {**good, "metadata": {"unknown": 1}},
            {**good, "suggestions": [suggestion]},
            {"fields": good["fields"]},
            "no object",
        ):
            refused = http.put(path, headers=mine, json={"items": [good, wrong]})
            assert (refused.status_code, len(refused.json()["detail"].split()) > 4) == (422, True), wrong
        id_ = next(iter(before))
        there = {"external_id": id_, "fields": {"simple": "other", "enhanced": "other"}}
        assert http.put(path, headers=mine, json={"items": [there, good, good]}).json() == {"added": 1}
    after = records_from_argilla(argilla, queue.id)
    assert {name: row for name, row in after.items() if name != "new"} == before


def test_webhooks_are_called_for_rows_sent_by_our_route(argilla: Argilla, tmp_path: Path) -> None:
    """A webhook for new records is called for each of them."""
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store, listener() as (url, events):
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        hook = rg.Webhook(url=url, events=["record.created"], _client=argilla.sdk).create()
        try:
            sent = push(project_, store, population, argilla, alone=True).sent
            wait_until(lambda: len(events) >= sent)
            assert {event.json["data"]["external_id"] for event in events} == set(store.sampled())
        finally:
            hook.delete()


def test_search_finds_displayed_text_and_not_markup(argilla: Argilla) -> None:
    """In Markdown fields a phrase is found across inline markup, an escaped character is found as itself, and tags are
    not words; a plain field is searched as written. The same holds after a change."""
    argilla.workspace_id(make=True)
    dataset = rg.Dataset(
        name="read",
        workspace=argilla.workspace,
        settings=rg.Settings(
            fields=[
                rg.TextField(name="shown", use_markdown=True, client=argilla.sdk),
                rg.TextField(name="plain", client=argilla.sdk),
            ],
            questions=[rg.LabelQuestion(name="verdict", labels=["yes", "no"], client=argilla.sdk)],
        ),
        client=argilla.sdk,
    ).create()
    shown = "<div>rope <b>ladders</b> a large<br>AT&amp;T 5 &lt; six <ins>un</ins>marked</div><p>second</p><p>third</p>"
    dataset.records.log([{"id": "one", "shown": shown, "plain": "an <em>italic</em> word"}])

    def count_hits(words: str) -> int:
        return len(list(dataset.records(rg.Query(query=words))))

    for words in '"ladders a large"', '"large at t"', "unmarked", '"5 six"', "-div", '"second third"', "em", "italic":
        assert count_hits(words) == 1, words
    for words in "div", "br", "lt", "amp", "ins", '"b ladders"', "secondthird":
        assert count_hits(words) == 0, words
    dataset.records.log([{"id": "one", "shown": "<div>new <b>text</b></div>", "plain": "x"}])
    assert [count_hits(words) for words in ('"new text"', "div", "ladders")] == [1, 0, 0]


def test_search_ignores_the_house_style(argilla: Argilla, tmp_path: Path) -> None:
    """The house style is shown on every row: its words find nothing, while words of inputs and outputs find only their
    rows. In other datasets a field of the same name is searched as usual."""
    project_ = project(tmp_path, "cats")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        push(project_, store, population, argilla, alone=True)
    queue = queue_named(argilla, queue_name(project_))
    assert queue is not None
    theirs = rg.Dataset(
        name="theirs",
        workspace=argilla.workspace,
        settings=rg.Settings(
            fields=[rg.TextField(name="rules", client=argilla.sdk)],
            questions=[rg.LabelQuestion(name="verdict", labels=["yes", "no"], client=argilla.sdk)],
        ),
        client=argilla.sdk,
    ).create()
    theirs.records.log([{"id": "one", "rules": "one sentence"}])

    def count_hits(dataset_id: str, words: str, field: str | None = None) -> int:
        asked = {"query": {"text": {"q": words, "field": field}}}
        answered = argilla.call("POST", f"datasets/{dataset_id}/records/search", json=asked)
        return len(answered["items"])

    rows = list(argilla.records(queue, responses=True))
    assert all("One sentence about a cat" in row["fields"]["rules"] for row in rows)
    for words in "sentence", "style", '"four words"':
        assert count_hits(queue.id, words) == 0, words
    assert count_hits(queue.id, "sentence", "rules") == 0
    of_one = sum("cat 7<" in row["fields"]["simple"] for row in rows)
    assert 0 < count_hits(queue.id, '"cat 7"') == of_one < len(rows)
    assert count_hits(str(theirs.id), "sentence") == 1
