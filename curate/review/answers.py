"""Which answers of a reviewer count, and the display names of reviewers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.reviews import Review


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
