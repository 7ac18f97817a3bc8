"""`pairsmith erase` and the rows and answers on a real server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import draw_batch, project_id, push, queue_names
from curate.argilla.server import ArgillaServer
from curate.review.population import read_population
from pairsmith.erasing import erased
from schemas.project import Project
from schemas.reviews import first_drawn
from schemas.store import Store
from schemas.wording import counted
from tests.curate.argilla.answering import answer
from tests.curate.review.review_project import SCOPE, fill, project

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Desk:
    """A pushed project and its annotators' clients, by name."""

    def __init__(self, folder: Path, argilla: Argilla, connect: Callable[[str], Any], tag: str) -> None:
        self.argilla, self.project = argilla, project(folder, f"cats-{tag}", workspace=argilla.workspace)
        review = self.project.spec.review.model_copy(update={"overlap": 0.0, "annotators_per_row": 2, "gold": None})
        self.project = Project(folder, self.project.spec.model_copy(update={"review": review}))
        self.store = Store.open(Store.url_for(self.project))
        fill(self.project, self.store)
        self.population = read_population(self.project, self.store, [SCOPE])
        draw_batch(self.project, self.store, self.population)
        push(self.project, self.store, self.population, argilla)
        self.people = {}
        for name in (f"ann-{tag}", f"bob-{tag}"):
            person = {"first_name": name, "username": name, "password": "12345678", "role": "annotator"}
            user = argilla.call("POST", "users", json=person)
            argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": user["id"]})
            self.people[name] = connect(user["api_key"])

    def rows(self) -> list[dict[str, Any]]:
        queues = self.argilla.queues(project_id(self.store.sampled()), queue_names(self.project, self.store.sampled()))
        return [row for queue in queues for row in self.argilla.records(queue, responses=True)]


@pytest.fixture
def desk(
    tmp_path: Path, argilla_server: ArgillaServer, connect: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(argilla_server.home))
    tag = uuid.uuid4().hex[:8]
    with Argilla(argilla_server.url, argilla_server.api_key, f"w-{tag}", patience_s=30) as argilla:
        desk = Desk(tmp_path, argilla, connect, tag)
        with desk.store:
            yield desk


def test_erased_reviewer_does_not_return(desk: Desk) -> None:
    """Answers, a draft, an edit, and their copies shown to adjudicators are deleted from the server, so the next pull
    returns nothing of the erased reviewer; the other reviewer's answers stay."""
    (ann, hers), (bob, his) = desk.people.items()
    one, two, three = desk.rows()[:3]
    secret = "My neighbour's cat is called Olga Petrovna."
    answer(hers, one["id"], "edit", edited=secret)
    answer(hers, two["id"], "accept")
    answer(hers, three["id"], "reject", status="draft")
    answer(his, one["id"], "reject")
    answer(his, two["id"], "accept")
    assert pull(desk.project, desk.store, desk.argilla).new == 4
    assert push_adjudication(desk.project, desk.store, desk.population, desk.argilla).sent == 1
    assert all(text in json.dumps(desk.rows()) for text in (ann, bob, "Olga Petrovna"))

    outcome = erased(desk.project, desk.store, person=ann)
    assert (outcome["reviews"], outcome["left_in_store"]) == (2, 0)
    assert outcome["argilla"].startswith("3 reviews deleted there")
    there = json.dumps(desk.rows())
    assert "Olga Petrovna" not in there
    assert ann not in there
    assert bob in there
    again = pull(desk.project, desk.store, desk.argilla)
    assert (again.news, again.unchanged) == (0, 2)
    assert {review.name for own in desk.store.reviews().values() for review in own} == {bob}


def test_rows_of_an_erased_source_are_deleted_from_the_server(desk: Desk) -> None:
    """When one seed is erased, its candidates are deleted from the server; the other rows stay."""
    before = {row["external_id"] for row in desk.rows()}
    pair = next(iter(desk.population.pairs(before).values()))
    seed = next(seed for seed in desk.store.active_seeds() if seed.id == pair.seed_id)
    own = {one.id for one in desk.population.pairs(before).values() if one.seed_id == seed.id}
    outcome = erased(desk.project, desk.store, source=seed.source)
    assert outcome["argilla"] == f"{counted(len(own), 'row', 'rows')} deleted there"
    assert {row["external_id"] for row in desk.rows()} == before - own


def test_project_id_survives_erasing_its_first_draw(desk: Desk) -> None:
    """The first drawn row identifies a project. If its source is erased, the queues are still the project's, no row is
    sent again, and answers to the other rows are still pulled."""
    first = first_drawn(record for records in desk.store.sampled().values() for record in records)
    assert first is not None
    own, before = project_id(desk.store.sampled()), {row["external_id"] for row in desk.rows()}
    (pair,) = desk.population.pairs([first.pair_id]).values()
    (seed,) = [seed for seed in desk.store.active_seeds() if seed.id == pair.seed_id]
    erased(desk.project, desk.store, source=seed.source)
    assert project_id(desk.store.sampled()) == own
    left = desk.rows()
    assert left
    assert {row["external_id"] for row in left} < before
    for client in desk.people.values():
        answer(client, left[0]["id"], "accept")
    assert pull(desk.project, desk.store, desk.argilla).new == 2
    population = read_population(desk.project, desk.store, [SCOPE])
    assert push(desk.project, desk.store, population, desk.argilla).sent == 0
