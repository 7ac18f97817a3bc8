"""A reviewer is identified by the server's user id: renaming the user or using another API key does not create a second
reviewer."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event

from curate.argilla.client import Argilla
from curate.argilla.erasing import erase_answers, erase_rows
from curate.argilla.pull import _with_pairs, pull
from curate.argilla.responses import Response, reviewer_key
from curate.review.agreement import agreement
from curate.review.decision import current_answers, decide
from curate.review.gold import accuracies, read_gold
from pairsmith.stages import review
from schemas.project import Project
from schemas.records import Pair
from schemas.reviews import PullResult, Review, Sampled
from schemas.store import Store
from tests.curate.argilla.conftest import argilla_client
from tests.curate.argilla.loopback_argilla import START, LoopbackArgilla
from tests.curate.review.review_project import fill, project

argilla_client()


class Desk(NamedTuple):
    """A project with sampled rows, and a server whose users have answered."""

    project: Project
    store: Store
    server: LoopbackArgilla
    pairs: list[Pair]

    def pull(self, *, dry: bool = False) -> PullResult:
        with Argilla(self.server.url, "key", "pairsmith", patience_s=1) as argilla:
            return pull(self.project, self.store, argilla, dry=dry)

    def write_old_review(self, pair: Pair, reviewer: str, decision: str, minute: float) -> Review:
        """Store a review as an earlier version did."""
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


def test_renamed_user_is_the_same_reviewer(desk: Desk) -> None:
    """After ten answers the owner renames their author. The next pull finds nothing new, agreement sees no second
    reviewer, and a later change replaces the old answer."""
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


def test_reviewer_key_survives_a_new_server_address(desk: Desk) -> None:
    """Another port or host name after a restart does not change the reviewer's key; a key contains no credentials."""
    ann = desk.server.user("ann")
    key = reviewer_key("http://127.0.0.1:6900", ann, ())
    assert key == f"argilla:127.0.0.1:6900/{ann}"
    assert reviewer_key("https://argilla.example.org", ann, [f"argilla:x/{'0' * 36}", key]) == key
    assert reviewer_key("https://me:hush@argilla.example.org", ann, ()) == f"argilla:argilla.example.org/{ann}"


def test_answers_of_an_earlier_version_are_attributed_to_their_user(desk: Desk) -> None:
    """Earlier versions stored reviews under a user name, or under the bare user id when pulled with an admin's key.
    They are attributed to the user who gave the answers: no answer is pulled again, no review is rewritten, and the ids
    stay."""
    ann, owner = desk.server.user("ann"), next(iter(desk.server.users))
    one, two, three = desk.pairs[:3]
    kept = [
        desk.write_old_review(one, "ann", "accept", 1),
        desk.write_old_review(two, "ann", "reject", 2),
        desk.write_old_review(three, owner, "accept", 3),
    ]
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


def test_reviewer_stored_under_two_names_is_merged(desk: Desk) -> None:
    """In a store where a rename had duplicated every answer, both names are attributed to the one user."""
    ann = desk.server.user("ann.smith")
    pair = desk.pairs[0]
    for name in ("ann", "ann.smith"):
        desk.write_old_review(pair, name, "accept", 1)
    desk.server.answer("cats", pair.id, ann, "accept", 1)
    assert desk.pull().news == 0
    assert len(current_answers(desk.store.reviews()[pair.id])) == 1
    assert agreement(desk.store.reviews()) == []


def test_ambiguous_name_is_not_attributed(desk: Desk) -> None:
    """If the answers under a name are those of two users, none is chosen; nor is a user who came later and has the name
    of an earlier one."""
    first, second = desk.server.user("x"), desk.server.user("y")
    for minute, user in enumerate((first, second)):
        desk.write_old_review(desk.pairs[minute], "team", "accept", minute)
        desk.server.answer("cats", desk.pairs[minute].id, user, "accept", minute)
    desk.write_old_review(desk.pairs[2], "zoe", "accept", -90)
    desk.server.answer("cats", desk.pairs[2].id, desk.server.user("zoe"), "reject", 5)
    desk.pull()
    assert desk.store.aliases() == {}


def test_answer_under_an_old_name_can_be_withdrawn(desk: Desk) -> None:
    """If an answer that was stored under a name is deleted on the server, it is withdrawn."""
    ann, pair = desk.server.user("ann"), desk.pairs[0]
    desk.write_old_review(pair, "ann", "reject", 1)
    desk.server.answer("cats", pair.id, ann, "accept", 2)
    desk.server.datasets["cats"].rows[pair.id].clear()
    assert desk.pull().withdrawn == 1
    assert decide(desk.store.reviews()[pair.id], pair) is None


def test_answers_count_even_if_the_servers_clock_is_behind(desk: Desk) -> None:
    """Accepted, deleted, then rejected, on a server whose clock is months behind ours: the rejection counts, and the
    next pull finds nothing new."""
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


def test_answers_of_a_restored_server_count(desk: Desk) -> None:
    """An answer is changed from accept to reject, then the server is restored from an earlier backup. What the server
    has now counts, so the row is accepted again, and the next pull finds nothing new. The same holds for an answer that
    had been withdrawn."""
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


def test_reviewers_are_shown_by_name(desk: Desk) -> None:
    """Messages and reasons show names, not keys; two users with the same name are distinguished."""
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


def test_review_id_does_not_depend_on_the_name() -> None:
    """The id of a review is the same as in earlier versions, with or without the user's name."""
    values = {"pair_id": "p", "reviewer": "ann", "decision": "accept", "at": START}
    assert Review.model_validate(values).id == Review.model_validate({**values, "name": "Ann"}).id


def test_a_pull_holds_a_page_of_rows(desk: Desk) -> None:
    """The texts of all answered rows were in memory until the end: some 600 MB for 100,000. Only answers are kept."""
    ann, rows = desk.server.user("ann"), []
    for number in range(1_500):
        row = desk.pairs[0].model_copy(update={"output": f"a cat on a red sofa, number {number}"})
        rows.append(Pair.model_validate({**row.model_dump(exclude={"id"})}))
    desk.store.write(*rows)
    desk.store.write(*(Sampled(pair_id=p.id, reason="certify", sampling_probability=0.5, dataset="cats") for p in rows))
    for minute, pair in enumerate(rows):
        desk.server.answer("cats", pair.id, ann, "accept", minute)
    ids = [pair.id for pair in rows]
    desk.pairs.clear()
    del rows, pair
    held: list[int] = []

    def count_pairs(stage: str, numbers: Mapping[str, Any]) -> None:
        held.append(sum(isinstance(one, Pair) for one in gc.get_objects()))

    with Argilla(desk.server.url, "key", "pairsmith", patience_s=1) as argilla:
        result = pull(desk.project, desk.store, argilla, count_pairs)
    assert (result.new, result.foreign) == (len(ids), 0)
    assert len(held) == 6
    assert max(held) - min(held) <= 500


def test_a_row_erased_while_answers_are_counted_is_left_out(desk: Desk) -> None:
    """Counting locks nothing, so `erase` may remove a row between its page and the end, which was a KeyError."""
    ids = [desk.pairs[0].id, "erased"]
    responses = [Response(id_, "ann", "ann", "annotator", "submitted", {}, (), START) for id_ in ids]
    assert list(_with_pairs(responses, set(ids), desk.store)) == [(responses[0], desk.pairs[0])]


def test_withdrawn_answers_share_commits(desk: Desk) -> None:
    """All answers of a reviewer are gone from the server. Their withdrawals are stored together: each in a commit of
    its own would wait for the disk as often as there are answers."""
    ann = desk.server.user("ann")
    for minute, pair in enumerate(desk.pairs):
        desk.server.answer("cats", pair.id, ann, "accept", minute)
    assert desk.pull().new == len(desk.pairs) > 10
    for by_user in desk.server.datasets["cats"].rows.values():
        by_user.clear()
    commits = list[object]()
    count = commits.append
    event.listen(Engine, "commit", count)
    try:
        assert desk.pull().withdrawn == len(desk.pairs)
    finally:
        event.remove(Engine, "commit", count)
    assert len(commits) <= 2


def test_erasing_on_the_server_reports_and_keeps_no_texts(desk: Desk) -> None:
    """Thousands of rows are searched and many answers deleted with a request each: both are reported. The rows are
    deleted a hundred per request."""
    ann, seen = desk.server.user("ann"), list[str]()

    def keep(stage: str, numbers: Mapping[str, Any]) -> None:
        seen.append(f"{stage} {numbers['done']}")

    for number in range(1_100):
        desk.server.answer("cats", f"{number:032x}", ann, "accept", number)
    with Argilla(desk.server.url, "key", "pairsmith", patience_s=1) as argilla:
        queues = argilla.queues(None, {"cats"})
        desk.server.requests.clear()
        assert erase_rows(argilla, queues, {f"{number:032x}" for number in range(1_050)}, keep) == 1_050
        assert [method for method, _ in desk.server.requests].count("DELETE") == 11
        assert {"rows searched 1000", "rows deleted 1000"} <= set(seen)
        seen.clear()
        rows = desk.server.datasets["cats"].rows
        for by_user in list(rows.values())[60:]:
            by_user.clear()
        for number, by_user in enumerate(list(rows.values())[:60]):
            by_user[ann]["id"] = f"answer-{number}"
        assert erase_answers(argilla, queues, {"ann"}, keep) == 60
        assert {"rows searched 1000", "answers deleted 20", "answers deleted 60"} <= set(seen)


def test_an_account_that_was_deleted_and_invited_again_is_one_annotator(desk: Desk) -> None:
    """The owner deletes ann's account and invites ann again. Her answers count as one annotator's, those of the deleted
    account are not withdrawn, and a new answer replaces the old one, also after a second time."""
    first, second = desk.pairs[:2]
    desk.server.answer("cats", first.id, desk.server.user("ann"), "accept", 1)
    desk.server.answer("cats", second.id, desk.server.user("bob"), "accept", 1)
    assert desk.pull().new == 2
    for minute in (10, 20):
        desk.server.delete_user("ann")
        again = desk.server.user("ann", since=minute)
        assert desk.pull(dry=True).news == 0
        assert desk.pull().news == 0
        desk.server.answer("cats", first.id, again, "reject", minute + 1)
        assert (desk.pull().changed, desk.pull().unchanged) == (1, 2)
        (current,) = current_answers(desk.store.reviews()[first.id])
        assert (current.decision, current.who) == ("reject", "ann")
    assert [review.decision for review in desk.store.reviews()[first.id]] == ["accept", "reject", "reject"]
    assert agreement(desk.store.reviews()) == []
    desk.server.datasets["cats"].rows[first.id].clear()
    assert desk.pull().withdrawn == 1


def test_an_invitation_says_whose_earlier_answers_count(desk: Desk) -> None:
    """Somebody else of the same name must get another one, or the answers of both count as one person's."""
    desk.server.answer("cats", desk.pairs[0].id, desk.server.user("ann"), "accept", 1)
    desk.pull()
    desk.server.delete_user("ann")
    desk.server.user("ann", since=10)
    desk.server.user("bob", since=10)
    with Argilla(desk.server.url, "key", "pairsmith", patience_s=1) as argilla:
        ((name, note),) = review.returned(desk.project, argilla, ["ann", "bob"])
    assert name == "ann"
    assert note.startswith("had an account that was deleted; its answers to 1 row count as this one's.")


def test_answers_already_stored_under_both_accounts_are_one_annotators(desk: Desk) -> None:
    """A store of an earlier version, where they counted as two annotators who agree."""
    first, *_ = desk.pairs
    for minute in (1, 10):
        desk.server.delete_user("ann")
        id_ = desk.server.user("ann", since=minute)
        key = f"argilla:127.0.0.1/{id_}"
        given = {"pair_id": first.id, "reviewer": key, "name": "ann", "decision": "accept"}
        desk.store.write(Review.model_validate({**given, "at": START + timedelta(minutes=minute)}))
    desk.server.answer("cats", first.id, id_, "accept", minute)
    assert len(current_answers(desk.store.reviews()[first.id])) == 2
    assert desk.pull() == PullResult(unchanged=1)
    assert len(current_answers(desk.store.reviews()[first.id])) == 1


def test_a_name_that_somebody_else_has_now_is_another_annotator(desk: Desk) -> None:
    """The first ann still has an account, under another name; a user of another server is somebody else, too, and so is
    the owner of another server, who has the same name everywhere."""
    first, second, third = desk.pairs[:3]
    ann = desk.server.user("ann")
    desk.server.answer("cats", first.id, ann, "accept", 1)
    keys = {"bob": "argilla:elsewhere.example/2", "pairsmith": "argilla:127.0.0.1/3"}
    for pair, (name, key) in zip((second, third), keys.items(), strict=True):
        given = {"pair_id": pair.id, "reviewer": key, "name": name, "decision": "accept"}
        desk.store.write(Review.model_validate({**given, "at": START + timedelta(minutes=-90)}))
    assert desk.pull().new == 1
    desk.server.users[ann] = "ann.smith"
    desk.server.answer("cats", first.id, desk.server.user("ann", since=10), "reject", 11)
    desk.server.answer("cats", second.id, desk.server.user("bob", since=10), "reject", 12)
    desk.server.answer("cats", third.id, next(iter(desk.server.users)), "reject", 13)
    assert desk.pull().new == 3
    assert desk.store.aliases() == {}
    assert [len(current_answers(desk.store.reviews()[pair.id])) for pair in (first, second, third)] == [2, 2, 2]
