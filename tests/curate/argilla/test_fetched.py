"""What a pull reports when the rows that people answered are not the present ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from curate.argilla import webhook
from curate.argilla.client import Argilla
from pairsmith.receipts.outcome import PullOutcome
from pairsmith.stages import review
from pairsmith.stages.table import NO_AUDIENCE
from pairsmith.teachers import teachers
from schemas.errors import NoWork
from schemas.project import Project
from schemas.records import Seed
from schemas.reviews import Sampled
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.conftest import argilla_client
from tests.curate.argilla.loopback_argilla import LoopbackArgilla
from tests.curate.review.review_project import SCOPE, fill, pair_of, project

argilla_client()


class Answered(NamedTuple):
    """A project whose rows somebody has answered on a server."""

    project: Project
    store: Store
    server: LoopbackArgilla

    def pull(self) -> PullOutcome:
        with Argilla(self.server.url, "key", "pairsmith", patience_s=1) as argilla:
            return review.pull_answers(self.project, self.store, argilla, NO_AUDIENCE)


@pytest.fixture
def answered(tmp_path: Path) -> Iterator[Answered]:
    """The answered rows were made under settings that nobody uses any more."""
    project_ = project(tmp_path, "cats")
    with LoopbackArgilla() as server, Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        seed = Seed(kind="input", text="a cat", source="seeds.jsonl:1")
        earlier = [pair_of(seed, number, f"An earlier cat sleeps on stove {number}.") for number in range(3)]
        store.write(*earlier)
        store.write(
            *(Sampled(pair_id=pair.id, reason="certify", sampling_probability=0.5, dataset="cats") for pair in earlier)
        )
        ann = server.user("ann")
        for minute, pair in enumerate(earlier):
            server.answer("cats", pair.id, ann, "accept", minute)
        yield Answered(project_, store, server)


def test_answers_are_fetched_before_the_present_rows_are_judged(answered: Answered) -> None:
    """After a change of the spec no row is judged until the next `curate`. A pull stored the answers, but ended as if
    there had been nothing to do, so nobody knew that they were there."""
    pulled = answered.pull()
    assert (pulled.new, pulled.review) == (3, None)
    assert "`pairsmith curate` applies the answers" in pulled.waits
    assert review.summary(pulled) == [("", pulled.waits)]
    assert answered.store.receipts("review-pull")[-1].ok
    assert answered.pull().unchanged == 3


def test_answers_are_fetched_when_no_present_row_was_drawn(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `curate` there are judged rows, but the answered ones are not among them: a pull called that a failure,
    although it had stored the answers."""
    monkeypatch.setattr(teachers, "fingerprints_of", lambda *_: [SCOPE])
    pulled = answered.pull()
    assert (pulled.new, pulled.counts.rows_in) == (3, 0)
    assert "3 rows that people answered are not among the present ones" in review.summary(pulled)[0][1]


def test_watching_a_server_that_is_away_ends_without_a_second_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook of a server that is away cannot be removed: trying for three more minutes held back its error. It is
    tried for a moment, as one lost connection left it behind."""
    calls: dict[str, float] = {}

    def call(self: Argilla, method: str, path: str, **_: object) -> dict[str, object]:
        calls[method] = self.patience_s
        return {"items": [], "id": "hook"}

    monkeypatch.setattr(Argilla, "call", call)
    monkeypatch.setattr(webhook, "_pings", lambda *_: False)
    with (
        LoopbackArgilla() as server,
        Argilla(server.url, "key", "pairsmith", patience_s=99) as argilla,
        webhook.listen_for_answers(argilla, "cats"),
    ):
        pass
    assert calls["POST"] == 99
    assert calls["DELETE"] <= 5


def test_nothing_is_pushed_where_curation_accepted_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row fails a gate. A push started a server, sent nothing, and called that a step without rows."""
    monkeypatch.setattr(teachers, "fingerprints_of", lambda *_: [SCOPE])
    project(tmp_path)
    spec = (tmp_path / "pairsmith.toml").read_text(encoding="utf-8").replace("min_words = 4", "min_words = 30")
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    strict = load(tmp_path)
    with Store.open(Store.url_for(strict)) as store:
        fill(strict, store)
        with pytest.raises(NoWork, match=r"accepted no row.*`pairsmith rows` shows.*`pairsmith review push --more`"):
            review.push_rows(strict, store, NO_AUDIENCE, more=False)
