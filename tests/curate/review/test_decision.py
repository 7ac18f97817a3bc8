"""Of many answers one decision, defined in one place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.argilla.adjudication import disagreements
from curate.review.answers import current_answers
from curate.review.decision import decide, edited_pair
from schemas.records import Edited, Imported, Pair
from schemas.reviews import Review

PAIR = Pair(seed_id="s", input="cat", output="A tabby cat.", system="", origin=Imported(source="x:1"))
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(reviewer: str, decision: str, minute: int = 0, **more: object) -> Review:
    values = {"pair_id": PAIR.id, "reviewer": reviewer, "decision": decision, "at": START + timedelta(minutes=minute)}
    return Review.model_validate({**values, **more})


@pytest.mark.parametrize(
    ("reviews", "verdict"),
    [
        ([said("ann", "accept")], "accept"),
        ([said("ann", "accept", 0), said("ann", "reject", 1)], "reject"),
        ([said("ann", "accept", 0), said("ann", "withdrawn", 60), said("ann", "reject", 1)], "reject"),
        ([said("ann", "accept"), said("bob", "reject")], "undecided"),
        ([said("ann", "accept"), said("bob", "reject"), said("cid", "reject")], "reject"),
        ([said("ann", "accept"), said("bob", "reject"), said("cid", "edit", edited="A cat.")], "undecided"),
        ([said("ann", "accept"), said("bob", "reject"), said("dee", "accept", 9, role="adjudicator")], "accept"),
        ([said("dee", "accept", 0, role="adjudicator"), said("ann", "reject", 5)], "accept"),
        ([said("ann", "accept"), said("bob", "reject"), said("bob", "accept", 9, role="adjudicator")], "undecided"),
        (
            [
                said("ann", "accept"),
                said("bob", "reject"),
                said("bob", "withdrawn", 8),
                said("bob", "reject", 9, role="adjudicator"),
            ],
            "accept",
        ),
        (
            [
                said("ann", "accept"),
                said("bob", "reject"),
                said("bob", "reject", 8, role="adjudicator"),
                said("cid", "accept", 7, role="adjudicator"),
            ],
            "accept",
        ),
        ([said("ann", "edit"), said("ann", "accept", 9, role="adjudicator")], "accept"),
        ([said("ann", "edit")], "undecided"),
        ([said("ann", "edit", edited=PAIR.output)], "undecided"),
        ([said("ann", "accept", 0), said("ann", "withdrawn", 1)], None),
        ([said("ann", "accept", 0), said("ann", "withdrawn", 1), said("ann", "reject", 2)], "reject"),
        ([said("ann", "accept"), said("bob", "reject", 1), said("bob", "withdrawn", 2)], "accept"),
        ([said("sim", "accept", simulated=True)], None),
        ([], None),
    ],
)
def test_what_counts(reviews: list[Review], verdict: str | None) -> None:
    """Latest answer a person, in the order in which answers came, whatever two clocks say; an adjudicator who is no
    party to the dispute before the majority; a tie, or an edit without a text, waits; what was withdrawn or simulated
    does not count."""
    decision = decide(reviews, PAIR)
    assert (decision and decision.verdict) == verdict


@given(
    st.permutations([said("ann", "edit", 1, edited="A."), said("bob", "edit", 2, edited="B."), said("cid", "accept")])
)
def test_the_order_in_which_answers_are_read_does_not_matter(reviews: list[Review]) -> None:
    """Of two edits the later text is taken, whatever the order in the store."""
    decision = decide(reviews, PAIR)
    assert decision is not None
    assert (decision.verdict, decision.review.edited) == ("edit", "B.")


def test_an_edit_is_a_pair_of_its_own_that_tells_where_it_came_from() -> None:
    """Same input, new text, another id, and the parent and the review in its origin."""
    review = said("ann", "edit", edited="A tabby cat sleeps.")
    edited = edited_pair(PAIR, review)
    assert edited.origin == Edited(parent_id=PAIR.id, review_id=review.id)
    assert (edited.input, edited.output) == (PAIR.input, "A tabby cat sleeps.")
    assert edited.id != PAIR.id


def test_an_adjudication_by_a_party_is_told_and_does_not_count() -> None:
    """Whoever opens the adjudication queue is no judge of a dispute of their own: the row waits on, and it says why."""
    reviews = [said("ann", "accept"), said("bob", "reject"), said("bob", "reject", 9, role="adjudicator")]
    decision = decide(reviews, PAIR)
    assert decision
    assert str(decision.why) == (
        "disagreement: ann accept, bob reject; the adjudication by bob does not count: a party to it cannot settle it"
    )
    assert disagreements({PAIR.id: reviews}, [PAIR])


def test_disagreements_are_listed_side_by_side() -> None:
    """Each waiting row comes with every answer that stands, and in words why it waits."""
    reviews = {PAIR.id: [said("bob", "reject", 1), said("ann", "accept", 0)]}
    (one,) = disagreements(reviews, [PAIR])
    assert [review.reviewer for review in one.answers] == ["ann", "bob"]
    assert str(one.why) == "disagreement: ann accept, bob reject"
    assert disagreements({PAIR.id: [said("ann", "accept")]}, [PAIR]) == []


def test_simulated_and_real_answers_never_mix() -> None:
    """Answers of simulated annotators are never counted with those of people."""
    reviews = [said("ann", "accept"), said("sim", "reject", simulated=True)]
    assert [r.reviewer for r in current_answers(reviews)] == ["ann"]
    assert current_answers(reviews[1:]) == []
