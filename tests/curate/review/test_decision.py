"""Several answers become one decision, by rules defined in one place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.argilla.adjudication import disagreements
from curate.review.decision import current_answers, decide, edited_pair
from schemas.records import Edited, Imported, Pair
from schemas.reviews import Review

PAIR = Pair(seed_id="s", input="cat", output="A tabby cat.", system="", origin=Imported(source="x:1"))
START = datetime(2026, 1, 1, tzinfo=UTC)


def vote(reviewer: str, decision: str, minute: int = 0, **more: object) -> Review:
    values = {"pair_id": PAIR.id, "reviewer": reviewer, "decision": decision, "at": START + timedelta(minutes=minute)}
    return Review.model_validate({**values, **more})


@pytest.mark.parametrize(
    ("reviews", "verdict"),
    [
        ([vote("ann", "accept")], "accept"),
        ([vote("ann", "accept", 0), vote("ann", "reject", 1)], "reject"),
        ([vote("ann", "accept", 0), vote("ann", "withdrawn", 60), vote("ann", "reject", 1)], "reject"),
        ([vote("ann", "accept"), vote("bob", "reject")], "undecided"),
        ([vote("ann", "accept"), vote("bob", "reject"), vote("cid", "reject")], "reject"),
        ([vote("ann", "accept"), vote("bob", "reject"), vote("cid", "edit", edited="A cat.")], "undecided"),
        ([vote("ann", "accept"), vote("bob", "reject"), vote("dee", "accept", 9, role="adjudicator")], "accept"),
        ([vote("dee", "accept", 0, role="adjudicator"), vote("ann", "reject", 5)], "accept"),
        ([vote("ann", "accept"), vote("bob", "reject"), vote("bob", "accept", 9, role="adjudicator")], "undecided"),
        (
            [
                vote("ann", "accept"),
                vote("bob", "reject"),
                vote("bob", "withdrawn", 8),
                vote("bob", "reject", 9, role="adjudicator"),
            ],
            "accept",
        ),
        (
            [
                vote("ann", "accept"),
                vote("bob", "reject"),
                vote("bob", "reject", 8, role="adjudicator"),
                vote("cid", "accept", 7, role="adjudicator"),
            ],
            "accept",
        ),
        ([vote("ann", "edit"), vote("ann", "accept", 9, role="adjudicator")], "accept"),
        ([vote("ann", "edit")], "undecided"),
        ([vote("ann", "edit", edited=PAIR.output)], "undecided"),
        ([vote("ann", "accept", 0), vote("ann", "withdrawn", 1)], None),
        ([vote("ann", "accept", 0), vote("ann", "withdrawn", 1), vote("ann", "reject", 2)], "reject"),
        ([vote("ann", "accept"), vote("bob", "reject", 1), vote("bob", "withdrawn", 2)], "accept"),
        ([vote("sim", "accept", simulated=True)], None),
        ([], None),
    ],
)
def test_which_answers_count(reviews: list[Review], verdict: str | None) -> None:
    """The latest answer of each reviewer counts, in the order in which answers arrived, whatever two clocks say. An
    adjudicator who is not a party to the dispute overrides the majority. A tie, or an edit without a text, waits.
    Withdrawn and simulated answers do not count."""
    decision = decide(reviews, PAIR)
    assert (decision and decision.verdict) == verdict


@given(
    st.permutations([vote("ann", "edit", 1, edited="A."), vote("bob", "edit", 2, edited="B."), vote("cid", "accept")])
)
def test_the_order_in_which_answers_are_read_does_not_matter(reviews: list[Review]) -> None:
    """Of two edits the later text is used, whatever the order in the store."""
    decision = decide(reviews, PAIR)
    assert decision is not None
    assert (decision.verdict, decision.review.edited) == ("edit", "B.")


def test_edit_is_a_new_pair_with_its_origin() -> None:
    """The input is the same and the text and id are new; the origin has the parent and the review."""
    review = vote("ann", "edit", edited="A tabby cat sleeps.")
    edited = edited_pair(PAIR, review)
    assert edited.origin == Edited(parent_id=PAIR.id, review_id=review.id)
    assert (edited.input, edited.output) == (PAIR.input, "A tabby cat sleeps.")
    assert edited.id != PAIR.id


def test_adjudication_by_a_party_is_reported_and_does_not_count() -> None:
    """A reviewer cannot settle a dispute they are part of: the row still waits, and the reason says why."""
    reviews = [vote("ann", "accept"), vote("bob", "reject"), vote("bob", "reject", 9, role="adjudicator")]
    decision = decide(reviews, PAIR)
    assert decision
    assert str(decision.why) == (
        "disagreement: ann accept, bob reject; the adjudication by bob does not count: a party to it cannot settle it"
    )
    assert disagreements({PAIR.id: PAIR}, {PAIR.id: reviews}, 2)


def test_who_only_discarded_a_row_may_settle_it() -> None:
    """Somebody who discarded a row has not answered it, and so is no party to the dispute."""
    discarded = vote("cid", "withdrawn")
    reviews = [vote("ann", "accept"), vote("bob", "reject"), discarded, vote("cid", "reject", 9, role="adjudicator")]
    decision = decide(reviews, PAIR)
    assert decision
    assert (decision.verdict, str(decision.why)) == ("reject", "adjudicated: by cid")


def test_disagreements_are_listed_side_by_side() -> None:
    """Each row to settle is listed with every current answer and the reason for waiting; one that still expects an
    answer, which may settle it, is not."""
    reviews = {PAIR.id: [vote("bob", "reject", 1), vote("ann", "accept", 0)]}
    pairs = {PAIR.id: PAIR}
    (one,) = disagreements(pairs, reviews, 2)
    assert [review.reviewer for review in one.answers] == ["ann", "bob"]
    assert str(one.why) == "disagreement: ann accept, bob reject"
    assert disagreements(pairs, reviews, 3) == []
    assert disagreements(pairs, {PAIR.id: [vote("ann", "accept")]}, 1) == []


def test_simulated_and_real_answers_never_mix() -> None:
    """Answers of simulated annotators are never counted with those of people."""
    reviews = [vote("ann", "accept"), vote("sim", "reject", simulated=True)]
    assert [r.reviewer for r in current_answers(reviews)] == ["ann"]
    assert current_answers(reviews[1:]) == []
