"""The reviewers' decision on a row: which answers count, how several make one decision, the pair that an edit makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from schemas.records import Edited, Pair, Reason
from schemas.reviews import Review

if TYPE_CHECKING:
    from schemas.store import Store

SHARED, ADJUDICATION = "-shared", "-adjudication"  # endings of the names of queues


@dataclass(frozen=True)
class Decision:
    """The outcome of the answers to one pair.

    `undecided`: reviewers disagree, or ask for an edit without giving one, so the row waits. `review` is the answer
    whose text an edit uses (otherwise the latest that agrees).
    """

    verdict: Literal["accept", "edit", "reject", "undecided"]
    review: Review
    why: Reason


def decide(reviews: Iterable[Review], pair: Pair) -> Decision | None:
    """The decision on `pair` from all its `reviews`; None without a current answer.

    1. The latest answer of an adjudicator is final. One of several annotators of the row is a party to the dispute and
       cannot adjudicate it: such an answer does not count, and `why` says so.
    2. Otherwise the verdict of more than half of the annotators decides, each by the latest answer. Of several edits,
       the latest text is used.
    3. Otherwise the row is undecided.
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


def complete_decisions(
    pairs: Mapping[str, Pair], reviews: Mapping[str, Sequence[Review]], annotators_per_row: int
) -> dict[str, Decision]:
    """The decision on each row that has enough answers, by pair id. One answer of three required is neither the
    reviewers' decision nor a disagreement to settle."""
    enough = (id_ for id_ in pairs if answers_given(reviews.get(id_, ())) >= annotators_per_row)
    return {id_: decision for id_ in enough if (decision := decide(reviews[id_], pairs[id_]))}


def labels_of(decisions: Mapping[str, Decision]) -> tuple[dict[str, bool], frozenset[str]]:
    """Whether reviewers accept each row as it is, by pair id, and the rows whose answers settle nothing. Those are
    worse than the others on average: reviewers rarely disagree about a good row."""
    unsettled = frozenset(id_ for id_, decision in decisions.items() if decision.verdict == "undecided")
    return {id_: one.verdict == "accept" for id_, one in decisions.items() if id_ not in unsettled}, unsettled


def answers_needed(queue: str, annotators_per_row: int) -> int:
    """The number of annotators who answer each row of a queue."""
    return 1 if queue.endswith(ADJUDICATION) else annotators_per_row + queue.endswith(SHARED)


def answers_given(reviews: Sequence[Review]) -> float:
    """The number of annotators with a current answer; infinite after an adjudication, because that is final."""
    answers, impartial, _ = _by_role(reviews)
    return float("inf") if impartial else len(answers)


def _by_role(reviews: Iterable[Review]) -> tuple[list[Review], list[Review], list[Review]]:
    """The current answers of annotators, of impartial adjudicators, and of adjudicators who are parties to the
    dispute."""
    by_people = [review for review in reviews if not review.simulated]
    answers = current_answers(by_people)
    annotators = {r.reviewer for r in by_people if r.role == "annotator" and r.decision != "withdrawn"}
    disputants = annotators if len(annotators) > 1 else set()
    final = [review for review in answers if review.role == "adjudicator"]
    return (
        [review for review in answers if review.role == "annotator"],
        [review for review in final if review.reviewer not in disputants],
        [review for review in final if review.reviewer in disputants],
    )


def _checked(review: Review, pair: Pair, why: Reason) -> Decision:
    if review.decision == "edit" and not _changes(review, pair):
        why = Reason("no_edit", f"{review.who} asked for an edit but gave no new text")
        return Decision("undecided", review, why)
    assert review.decision != "withdrawn"
    return Decision(review.decision, review, why)


def _changes(review: Review, pair: Pair) -> bool:
    return review.edited is not None and differs(review.edited, pair)


def differs(text: str, pair: Pair) -> bool:
    """Whether an edit changes the text, ignoring surrounding whitespace, which the page may add."""
    return text.strip() not in ("", pair.output.strip())


def replaced_pairs(pair: Pair, store: Store) -> list[Pair]:
    """The pairs that reviewers' edits replaced by `pair`, the one that was generated last."""
    replaced = []
    while pair.origin.by == "edited":
        (pair,) = store.pairs([pair.origin.parent_id])
        replaced.append(pair)
    return replaced


def after_edits(pair: Pair, store: Store) -> Pair:
    """The pair that reviewers' edits put in the place of `pair`; itself if there are none."""
    while (decision := decide(store.reviews([pair.id]).get(pair.id, ()), pair)) and decision.verdict == "edit":
        pair = edited_pair(pair, decision.review)
    return pair


def edited_pair(pair: Pair, review: Review) -> Pair:
    """The pair that an edit creates: the same input, the corrected text, and the origin of both."""
    assert review.edited is not None
    # Not model_copy, which would copy the parent's cached id.
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


def latest_answers(reviews: Iterable[Review]) -> list[Review]:
    """The latest answer of every reviewer in every role, including `withdrawn` ones.

    `reviews` are in order of arrival, as returned by the store, because clocks of different machines are not
    comparable.
    """
    return list({(review.role, review.reviewer): review for review in reviews}.values())


def current_answers(reviews: Iterable[Review]) -> list[Review]:
    """`latest_answers` of people without withdrawn ones, oldest first; simulated answers are left out."""
    latest = latest_answers(review for review in reviews if not review.simulated)
    return sorted((r for r in latest if r.decision != "withdrawn"), key=lambda r: (r.at, r.reviewer))


def display_names(reviews: Mapping[str, Iterable[Review]]) -> dict[str, str]:
    """Map each reviewer to the name in the latest review, with the id added if two reviewers have the same name."""
    latest: dict[str, Review] = {}
    for answers in reviews.values():
        for review in answers:
            if review.reviewer not in latest or review.at >= latest[review.reviewer].at:
                latest[review.reviewer] = review
    names = [review.who for review in latest.values()]
    return {
        reviewer: review.who if names.count(review.who) == 1 else f"{review.who} ({reviewer.rpartition('/')[2][:8]})"
        for reviewer, review in latest.items()
    }
