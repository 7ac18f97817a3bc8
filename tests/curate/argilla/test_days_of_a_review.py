"""A review of several days on one server: three annotators, a renamed user, a deleted answer, a second project of the
same name, a changed style, and a reboot. At the end every answer is compared with the store, annotator by annotator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.argilla import server
from curate.argilla.client import Argilla
from curate.argilla.launch import remove_leftovers
from curate.argilla.probe import identify_program
from curate.argilla.pull import pull
from curate.argilla.push import project_id
from curate.argilla.server import ArgillaServer
from curate.review.decision import current_answers
from curate.review.population import read_population
from curate.review.status import review_status
from pairsmith.stages.review import send
from schemas.ports import free_port
from schemas.progress import unseen
from schemas.project import Project
from schemas.records import Candidate, Verdict
from schemas.store import Store
from tests.curate.argilla.answering import answer, change
from tests.curate.argilla.conftest import START_S, argilla_client, empty_database, wait_until
from tests.curate.review.review_project import SCOPE, fill, pair_of, project

rg = argilla_client()
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(900)]
PEOPLE = ("ann", "bob", "cid")
WORKSPACE = "days"


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def running(request: pytest.FixtureRequest, venv: Path) -> Iterator[ArgillaServer]:
    """A server for this test only, which may kill it."""
    url = None
    if request.param == "PostgreSQL":
        url = empty_database(request.getfixturevalue("postgres"), f"argilla_{uuid.uuid4().hex[:8]}")
    home = Path(tempfile.mkdtemp(prefix="arg-"))
    try:
        yield server.up(home, port=free_port(), database_url=url, venv=venv, start_timeout_s=START_S)
    finally:
        server.down(home)
        shutil.rmtree(home, ignore_errors=True)


class ProjectReview:
    """One project on the server, with its annotators' answers."""

    def __init__(self, folder: Path, running: ArgillaServer, venv: Path, seed: int) -> None:
        folder.mkdir()
        self.running, self.venv = running, venv
        project_ = project(folder, "cats", workspace=WORKSPACE)
        review = project_.spec.review.model_copy(update={"seed": seed, "gold": None, "overlap": 0.4})
        self.project = Project(folder, project_.spec.model_copy(update={"review": review}))
        self.store = Store.open(Store.url_for(self.project))
        self.scope = SCOPE
        self.pairs = fill(self.project, self.store, inputs=16)
        self.argilla = Argilla(running.url, running.api_key, WORKSPACE, patience_s=120)
        self.verdicts: dict[tuple[str, str], str] = {}  # (pair id, annotator) -> the current verdict
        self.responses: dict[tuple[str, str], str] = {}

    def population(self) -> Any:
        return read_population(self.project, self.store, [self.scope])

    def push(self) -> None:
        send(self.project, self.store, self.population(), self.argilla, unseen)

    def pull(self) -> int:
        return pull(self.project, self.store, self.argilla).news

    def on_server(self) -> list[tuple[str, str, set[str]]]:
        """(pair id, record id, ids of the users who answered) of each record in the project's queues."""
        queues = self.argilla.queues(project_id(self.store.sampled()), ())
        return [
            (row["external_id"], row["id"], {response["user_id"] for response in row["responses"]})
            for queue in queues
            for row in self.argilla.records(queue, responses=True)
            if not queue.made_as.endswith("-adjudication")
        ]

    def answer_rows(self, person: str, client: Any, most: int, verdict: str = "accept") -> int:
        """Answer up to `most` unanswered rows as this annotator, in the order of the page; return how many."""
        given = 0
        for pair_id, record_id, who in self.on_server():
            if given < most and not who:
                response = answer(client, record_id, verdict)
                self.verdicts[pair_id, person] = verdict
                self.responses[pair_id, person] = response["id"]
                given += 1
        return given

    def change_style(self) -> None:
        """Simulate a changed prompt: half of the inputs get new outputs, the other half keep theirs under the new
        fingerprint."""
        seeds = {seed.id: seed for seed in self.store.active_seeds()}
        records: list[Any] = []
        self.scope = "scope-2"
        for number, pair in enumerate(self.pairs):
            other = pair_of(seeds[pair.seed_id], number % 4, f"{pair.output} And it purrs.") if number % 8 < 4 else pair
            place = {"seed_id": pair.seed_id, "generator": "forward", "sample": number % 4}
            records += [other, Candidate(fingerprint=self.scope, pair_id=other.id, **place)]
            if other is not pair:
                verdicts = self.store.verdicts([pair.id])[pair.id]
                records += [Verdict(**{**verdict.model_dump(), "pair_id": other.id}) for verdict in verdicts]
        task = self.project.spec.task.model_copy(update={"style": "It purrs."})
        self.project = Project(self.project.folder, self.project.spec.model_copy(update={"task": task}))
        self.store.write(*records)


def reboot(days: ProjectReview) -> None:
    """Kill every process of the server at once and start it again without options."""
    home = days.running.home
    os.kill(json.loads((home / "server.json").read_text())["supervisor"], signal.SIGKILL)
    wait_until(lambda: server.status(home).state not in ("running", "unhealthy", "starting"))
    remove_leftovers(home)
    wait_until(lambda: identify_program("127.0.0.1", int(days.running.url.rpartition(":")[2])) is None)
    again = server.up(home, venv=days.venv, start_timeout_s=START_S)
    assert again.url == days.running.url


def test_no_answer_is_lost_duplicated_or_wasted(running: ArgillaServer, venv: Path, tmp_path: Path) -> None:
    """At the end the store has exactly the current verdict for each row and annotator. No annotator is counted as two,
    each row is in one queue only, nothing of the other project was mixed in, and no unanswered row remains that is no
    longer needed."""
    cats, other = (
        ProjectReview(tmp_path / name, running, venv, seed) for seed, name in enumerate(("cats", "other"), 1)
    )
    cats.push()
    clients, ids = {}, {}
    for name in PEOPLE:
        person = {"first_name": name, "username": name, "password": "12345678", "role": "annotator"}
        user = cats.argilla.call("POST", "users", json=person)
        workspace = cats.argilla.workspace_id(make=False)
        cats.argilla.call("POST", f"workspaces/{workspace}/users", json={"user_id": user["id"]})
        clients[name] = rg.Argilla(api_url=running.url, api_key=user["api_key"])
        ids[name] = user["id"]
    try:
        assert cats.answer_rows("ann", clients["ann"], 3) == 3  # while ann is the only annotator
        cats.push()  # now rows for two annotators have a queue of their own
        other.push()
        assert cats.answer_rows("bob", clients["bob"], 3, "reject") == 3
        assert other.answer_rows("cid", clients["cid"], 4) == 4
        assert cats.pull() == 6

        cats.argilla.call("PATCH", f"users/{ids['ann']}", json={"username": "ann.smith", "first_name": "Ann"})
        assert cats.pull() == 0
        one = next(key for key in cats.responses if key[1] == "bob")
        clients["bob"].http_client.delete(f"/api/v1/responses/{cats.responses.pop(one)}").raise_for_status()
        del cats.verdicts[one]
        assert cats.answer_rows("cid", clients["cid"], 2) == 2

        cats.change_style()
        cats.push()
        reboot(cats)
        assert cats.pull() == 3  # two new ones and a withdrawal, made before the reboot
        mine = next(key for key in cats.responses if key[1] == "ann")
        change(clients["ann"], cats.responses[mine], "reject")
        cats.verdicts[mine] = "reject"
        assert cats.pull() == 1
        cats.answer_rows("cid", clients["cid"], 100)
        cats.answer_rows("bob", clients["bob"], 1)
        cats.push()
        cats.pull()
        assert cats.pull() == 0

        for days in cats, other:
            days.pull()
            reviews = days.store.reviews()
            held = {
                (pair_id, review.reviewer.rpartition("/")[2]): review.decision
                for pair_id, own in reviews.items()
                for review in current_answers(own)
            }
            assert held == {(pair_id, ids[name]): verdict for (pair_id, name), verdict in days.verdicts.items()}
            assert sum(len(current_answers(own)) for own in reviews.values()) == len(days.verdicts)
        rows = cats.on_server()
        assert max(Counter(pair_id for pair_id, _, _ in rows).values()) == 1
        assert not {pair_id for pair_id, *_ in rows} - set(cats.store.sampled())
        unanswered = {pair_id for pair_id, _, who in rows if not who}
        assert unanswered <= set(cats.population().rows)
        status = review_status(cats.project, cats.store, cats.population())
        in_pool = {pair_id for pair_id, _ in cats.verdicts} & set(cats.population().rows)
        assert status.decided + status.undecided + status.incomplete == len(in_pool) > 6
    finally:
        for client in clients.values():
            client.http_client.close()
        for days in cats, other:
            days.argilla.close()
            days.store.close()
