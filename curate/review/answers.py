"""Which of a person's answers counts, and what each person is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.reviews import Review


def latest_answers(reviews: Iterable[Review]) -> list[Review]:
    """The latest answer of every reviewer in every role, `withdrawn` ones among them.

    `reviews` are in the order in which they came, as the store returns them: clocks of two machines are not compared.
    """
    return list({(review.role, review.reviewer): review for review in reviews}.values())


def current_answers(reviews: Iterable[Review]) -> list[Review]:
    """`latest_answers` of people without what was withdrawn, oldest first; simulated answers are left out."""
    latest = latest_answers(review for review in reviews if not review.simulated)
    return sorted((r for r in latest if r.decision != "withdrawn"), key=lambda r: (r.at, r.reviewer))


def display_names(reviews: Mapping[str, Iterable[Review]]) -> dict[str, str]:
    """reviewer -> what the person is called in the latest review, with the id where two people have one name."""
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
