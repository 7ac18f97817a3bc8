"""What people decided about a row, in one place: of many answers one decision, and of an edit a new pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from schemas.records import Edited, Pair, Review


@dataclass(frozen=True)
class Decision:
    """What counts of the answers to one pair. `undecided`: people disagree, or ask for an edit without giving one, so
    the row waits. `review` is the answer that an edit's text is taken from (else the latest that agrees)."""

    verdict: Literal["accept", "edit", "reject", "undecided"]
    review: Review
    why: str


def standing(reviews: Iterable[Review], *, simulated: bool = False) -> list[Review]:
    """The latest answer of every reviewer in every role, without what was withdrawn, oldest first.

    Simulated answers are left out, or are the only ones told (`simulated=True`): the two never mix.
    """
    latest: dict[tuple[str, str], Review] = {}
    for review in reviews:
        if review.simulated is simulated:
            key = review.role, review.reviewer
            if key not in latest or review.at >= latest[key].at:
                latest[key] = review
    return sorted((r for r in latest.values() if r.decision != "withdrawn"), key=lambda r: (r.at, r.reviewer))


def decide(reviews: Iterable[Review], pair: Pair, *, simulated: bool = False) -> Decision | None:
    """The decision about `pair`; None if nobody's answer stands.

    1. The latest answer of an adjudicator is final.
    2. Else what more than half of the annotators say, each by the latest answer; of several edits the latest text.
    3. Else the row is undecided.
    """
    answers = standing(reviews, simulated=simulated)
    if not answers:
        return None
    final = [review for review in answers if review.role == "adjudicator"]
    if final:
        return _checked(final[-1], pair, f"adjudicated by {final[-1].reviewer}")
    votes = Counter(review.decision for review in answers)
    verdict, most = votes.most_common(1)[0]
    if 2 * most <= len(answers):
        said = ", ".join(f"{review.reviewer} {review.decision}" for review in answers)
        return Decision("undecided", answers[-1], f"disagreement: {said}")
    agreeing = [review for review in answers if review.decision == verdict]
    if verdict == "edit":
        agreeing = [review for review in agreeing if _changes(review, pair)] or agreeing
    return _checked(agreeing[-1], pair, f"{most} of {len(answers)}")


def _checked(review: Review, pair: Pair, why: str) -> Decision:
    if review.decision == "edit" and not _changes(review, pair):
        return Decision("undecided", review, f"incomplete: {review.reviewer} asked for an edit and gave no other text")
    assert review.decision != "withdrawn"
    return Decision(review.decision, review, why)


def _changes(review: Review, pair: Pair) -> bool:
    return bool(review.edited and review.edited.strip()) and review.edited != pair.output


def edited_pair(pair: Pair, review: Review) -> Pair:
    """The pair that an edit makes: the same input, the corrected text, and where both came from."""
    assert review.edited is not None
    # Not model_copy: it would carry the parent's cached id over.
    return Pair(
        seed_id=pair.seed_id,
        input=pair.input,
        output=review.edited,
        system=pair.system,
        origin=Edited(parent_id=pair.id, review_id=review.id),
        meta=pair.meta,
    )
