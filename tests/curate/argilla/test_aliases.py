"""A person is a user of the server, not a name: neither a new name nor another key makes two of one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from curate.argilla.client import Argilla
from curate.argilla.pull import PullResult, pull
from curate.argilla.responses import reviewer_key
from curate.review.agreement import agreement
from curate.review.answers import current_answers
from curate.review.decision import decide
from curate.review.gold import accuracies, read_gold
from schemas.project import Project
from schemas.records import Pair
from schemas.reviews import Review, Sampled
from schemas.store import Store
from tests.curate.argilla.conftest import argilla_client
from tests.curate.argilla.loopback_argilla import START, LoopbackArgilla
from tests.curate.review.review_project import fill, project

argilla_client()


class Desk(NamedTuple):
    """A project with sampled rows and a server whose users have answered."""

    project: Project
    store: Store
    server: LoopbackArgilla
    pairs: list[Pair]

    def pull(self, *, dry: bool = False) -> PullResult:
        with Argilla(self.server.url, "key", "pairsmith", patience_s=1) as argilla:
            return pull(self.project, self.store, argilla, dry=dry)

    def old(self, pair: Pair, reviewer: str, decision: str, minute: float) -> Review:
        """A review as an earlier version kept it."""
        values = {"pair_id": pair.id, "reviewer": reviewer, "decision": decision}
        review = Review.model_validate({**values, "at": START + timedelta(minutes=minute)})
        self.store.write(review)
        return review


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    project_ = project(tmp_path, "cats")
    with LoopbackArgilla() as server, Store.open(Store.url_for(project_)) as store:
        pairs = fill(project_, store)
        store.write(*(Sampled(pair_id=p.id, reason="certify", sampling_probability=0.5, dataset="cats") for p in pairs))
        yield Desk(project_, store, server, pairs)


def test_a_new_name_makes_no_new_answers_and_no_second_person(desk: Desk) -> None:
    """Ten answers, then the owner renames their author: the next pull brings nothing, and agreement knows no second
    person; what she changes later replaces what she said."""
    ann = desk.server.user("ann")
    for minute, pair in enumerate(desk.pairs[:10]):
        desk.server.answer("cats", pair.id, ann, "accept", minute)
    assert desk.pull().new == 10
    desk.server.users[ann] = "ann.smith"
    again = desk.pull()
    assert (again.news, again.unchanged) == (0, 10)
    assert agreement(desk.store.reviews()) == []
    first = desk.pairs[0]
    desk.server.answer("cats", first.id, ann, "reject", 60)
    assert desk.pull().changed == 1
    decision = decide(desk.store.reviews()[first.id], first)
    assert decision
    assert decision.verdict == "reject"
    (answer,) = current_answers(desk.store.reviews()[first.id])
    assert (answer.reviewer.rpartition("/")[2], answer.who) == (ann, "ann.smith")


def test_a_server_at_another_address_has_the_same_people(desk: Desk) -> None:
    """Another port or host name after a restart makes nobody a second person."""
    ann = desk.server.user("ann")
    key = reviewer_key("http://127.0.0.1:6900", ann, ())
    assert key == f"argilla:127.0.0.1:6900/{ann}"
    assert reviewer_key("https://argilla.example.org", ann, [f"argilla:x/{'0' * 36}", key]) == key
    assert reviewer_key("https://me:hush@argilla.example.org", ann, ()) == f"argilla:argilla.example.org/{ann}"


def test_answers_of_an_earlier_version_are_joined_to_their_author(desk: Desk) -> None:
    """Reviews that are kept under a name, or under the bare id that an admin's key saw, are those of the user whose
    answers they are: the pull brings none again, no review is rewritten, and the ids stay."""
    ann, owner = desk.server.user("ann"), next(iter(desk.server.users))
    one, two, three = desk.pairs[:3]
    kept = [desk.old(one, "ann", "accept", 1), desk.old(two, "ann", "reject", 2), desk.old(three, owner, "accept", 3)]
    desk.server.users[ann] = "ann.smith"
    desk.server.answer("cats", one.id, ann, "accept", 1)
    desk.server.answer("cats", two.id, ann, "accept", 9)
    desk.server.answer("cats", three.id, owner, "accept", 3)
    assert desk.pull(dry=True) == PullResult(changed=1, unchanged=2)
    assert desk.store.aliases() == {}
    assert desk.pull() == PullResult(changed=1, unchanged=2)
    assert desk.pull() == PullResult(unchanged=3)
    reviews = desk.store.reviews()
    assert [r.id for r in reviews[one.id]] == [kept[0].id]
    assert reviews[two.id][0].id == kept[1].id
    assert {r.reviewer.rpartition("/")[2] for r in reviews[two.id]} == {ann}
    assert [r.who for r in reviews[two.id]] == ["ann", "ann.smith"]
    assert {r.reviewer.rpartition("/")[2] for r in reviews[three.id]} == {owner}


def test_one_person_who_had_become_two_is_one_again(desk: Desk) -> None:
    """A store in which a rename had doubled every answer: both names are the one user's."""
    ann = desk.server.user("ann.smith")
    pair = desk.pairs[0]
    for name in ("ann", "ann.smith"):
        desk.old(pair, name, "accept", 1)
    desk.server.answer("cats", pair.id, ann, "accept", 1)
    assert desk.pull().news == 0
    assert len(current_answers(desk.store.reviews()[pair.id])) == 1
    assert agreement(desk.store.reviews()) == []


def test_a_name_that_may_be_of_two_people_stays_a_name(desk: Desk) -> None:
    """Where the answers under a name are those of two users, nobody is guessed; so is a user who came later and was
    given the name of another."""
    first, second = desk.server.user("x"), desk.server.user("y")
    for minute, user in enumerate((first, second)):
        desk.old(desk.pairs[minute], "team", "accept", minute)
        desk.server.answer("cats", desk.pairs[minute].id, user, "accept", minute)
    desk.old(desk.pairs[2], "zoe", "accept", -90)
    desk.server.answer("cats", desk.pairs[2].id, desk.server.user("zoe"), "reject", 5)
    desk.pull()
    assert desk.store.aliases() == {}


def test_an_answer_under_an_old_name_can_be_taken_back(desk: Desk) -> None:
    """Deleted on the server, an answer that was kept under a name is withdrawn by the user of that name."""
    ann, pair = desk.server.user("ann"), desk.pairs[0]
    desk.old(pair, "ann", "reject", 1)
    desk.server.answer("cats", pair.id, ann, "accept", 2)
    desk.server.datasets["cats"].rows[pair.id].clear()
    assert desk.pull().withdrawn == 1
    assert decide(desk.store.reviews()[pair.id], pair) is None


def test_a_server_whose_clock_is_behind_does_not_silence_anybody(desk: Desk) -> None:
    """Accepted, deleted, rejected, on a server whose clock is months behind ours: the rejection counts, and the next
    pull knows it."""
    ann, pair = desk.server.user("ann"), desk.pairs[0]
    desk.server.answer("cats", pair.id, ann, "accept", 1)
    assert desk.pull().new == 1
    desk.server.datasets["cats"].rows[pair.id].clear()
    assert desk.pull().withdrawn == 1
    desk.server.answer("cats", pair.id, ann, "reject", 2)
    assert desk.pull().new == 1
    assert desk.pull() == PullResult(unchanged=1)
    decision = decide(desk.store.reviews()[pair.id], pair)
    assert decision
    assert decision.verdict == "reject"


def test_a_server_that_was_restored_says_again_what_counts(desk: Desk) -> None:
    """Accepted, then rejected, then the server is restored from a copy of before: people have said what it says now, so
    the row is accepted again, and the next pull knows it. So it is where an answer had been taken back."""
    ann, pair, other = desk.server.user("ann"), *desk.pairs[:2]
    desk.server.answer("cats", pair.id, ann, "accept", 1)
    desk.server.answer("cats", other.id, ann, "accept", 2)
    assert desk.pull().new == 2
    desk.server.answer("cats", pair.id, ann, "reject", 3)
    desk.server.datasets["cats"].rows[other.id].clear()
    assert desk.pull() == PullResult(changed=1, withdrawn=1)
    desk.server.answer("cats", pair.id, ann, "accept", 1)
    desk.server.answer("cats", other.id, ann, "accept", 2)
    assert desk.pull() == PullResult(changed=1, new=1)
    assert desk.pull() == PullResult(unchanged=2)
    for one in pair, other:
        decision = decide(desk.store.reviews()[one.id], one)
        assert decision
        assert decision.verdict == "accept"


def test_people_are_shown_by_their_names(desk: Desk) -> None:
    """Screens and reasons say names, not keys; two people of one name are told apart."""
    one, two = desk.server.user("ann"), desk.server.user("bob")
    gold = read_gold(desk.project)[0].pair
    desk.store.write(gold)
    for minute, pair in enumerate([*desk.pairs[:4], gold]):
        desk.server.answer("cats", pair.id, one, "accept", minute)
        desk.server.answer("cats", pair.id, two, "reject" if minute else "accept", minute)
    desk.pull()
    reviews = desk.store.reviews()
    decision = decide(reviews[desk.pairs[1].id], desk.pairs[1])
    assert decision
    assert str(decision.why) == "disagreement: ann accept, bob reject"
    assert agreement(reviews)[0].annotators == ("ann", "bob")
    assert [one.reviewer for one in accuracies(read_gold(desk.project), reviews)] == ["ann", "bob"]
    desk.server.users[two] = "ann"
    desk.server.answer("cats", desk.pairs[2].id, two, "accept", 60)
    desk.pull()
    names = agreement(desk.store.reviews())[0].annotators
    assert len(set(names)) == 2
    assert all(name.startswith("ann (") for name in names)


def test_a_name_is_no_part_of_a_review() -> None:
    """The id of a review is that of the version before, whatever the person is called."""
    values = {"pair_id": "p", "reviewer": "ann", "decision": "accept", "at": START}
    assert Review.model_validate(values).id == Review.model_validate({**values, "name": "Ann"}).id
