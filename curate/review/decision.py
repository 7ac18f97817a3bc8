"""What people decided about a row, in one place: of many answers one decision, and of an edit a new pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from curate.review.answers import current_answers
from schemas.records import Edited, Pair, Reason
from schemas.reviews import Review


@dataclass(frozen=True)
class Decision:
    """What counts of the answers to one pair. `undecided`: people disagree, or ask for an edit without giving one, so
    the row waits. `review` is the answer that an edit's text is taken from (else the latest that agrees)."""

    verdict: Literal["accept", "edit", "reject", "undecided"]
    review: Review
    why: Reason


def decide(reviews: Iterable[Review], pair: Pair) -> Decision | None:
    """The decision about `pair`; None if there is no current answer. `reviews` are all that there are of it.

    1. The latest answer of an adjudicator is final. Who is a party to the dispute, as one of several annotators of the
       row, is no adjudicator of it; such an answer does not count, and `why` says so.
    2. Else what more than half of the annotators say, each by the latest answer; of several edits the latest text.
    3. Else the row is undecided.
    """
    answers, impartial, partial = _by_role(reviews)
    if impartial:
        return _checked(impartial[-1], pair, Reason("adjudicated", f"by {impartial[-1].who}"))
    if not answers:
        return None
    votes = Counter(review.decision for review in answers)
    verdict, most = votes.most_common(1)[0]
    if 2 * most <= len(answers):
        by_name = sorted(answers, key=lambda review: (review.who, review.at))  # server ids are random: never an order
        votes_by_name = ", ".join(f"{review.who} {review.decision}" for review in by_name)
        by = ", ".join(review.who for review in partial)
        no_party = f"; the adjudication by {by} does not count: a party to it cannot settle it" if by else ""
        return Decision("undecided", answers[-1], Reason("disagreement", f"{votes_by_name}{no_party}"))
    agreeing = [review for review in answers if review.decision == verdict]
    if verdict == "edit":
        agreeing = [review for review in agreeing if _changes(review, pair)] or agreeing
    return _checked(agreeing[-1], pair, Reason("majority", f"{most} of {len(answers)}"))


def labels_of(
    pairs: Mapping[str, Pair], reviews: Mapping[str, Sequence[Review]], annotators_per_row: int
) -> dict[str, bool]:
    """pair id -> whether people accept the row as it is. Absent: nobody answered, too few did, or they disagree."""
    decisions = {id_: decide(reviews.get(id_, ()), pair) for id_, pair in pairs.items()}
    return {
        id_: decision.verdict == "accept"
        for id_, decision in decisions.items()
        if decision and decision.verdict != "undecided" and answers_given(reviews[id_]) >= annotators_per_row
    }


def answers_given(reviews: Sequence[Review]) -> float:
    """How many annotators have a current answer; without end once somebody adjudicated, because that is final."""
    answers, impartial, _ = _by_role(reviews)
    return float("inf") if impartial else len(answers)


def _by_role(reviews: Iterable[Review]) -> tuple[list[Review], list[Review], list[Review]]:
    """The current answers of annotators, of adjudicators, and in the adjudicators' queue of parties to the dispute."""
    own = [review for review in reviews if not review.simulated]
    answers = current_answers(own)
    annotators = {review.reviewer for review in own if review.role == "annotator"}
    parties = annotators if len(annotators) > 1 else set()
    final = [review for review in answers if review.role == "adjudicator"]
    return (
        [review for review in answers if review.role == "annotator"],
        [review for review in final if review.reviewer not in parties],
        [review for review in final if review.reviewer in parties],
    )


def _checked(review: Review, pair: Pair, why: Reason) -> Decision:
    if review.decision == "edit" and not _changes(review, pair):
        why = Reason("incomplete", f"{review.who} asked for an edit and gave no other text")
        return Decision("undecided", review, why)
    assert review.decision != "withdrawn"
    return Decision(review.decision, review, why)


def _changes(review: Review, pair: Pair) -> bool:
    return review.edited is not None and differs(review.edited, pair)


def differs(text: str, pair: Pair) -> bool:
    """Whether an edit is another text; spaces around it are none, because the page leaves them behind."""
    return text.strip() not in ("", pair.output.strip())


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
        turns=pair.turns,
        reference=pair.reference,
        columns=pair.columns,
    )
