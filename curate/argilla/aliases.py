"""Reviewer identity: a reviewer is identified by server and user id, independently of the user name.

A review's `reviewer` is `argilla:<server>/<user id>`. A user name can change, and can later belong to somebody else, so
it is stored only as additional information. Reviews of earlier versions identified reviewers by their name at that
time. They are never rewritten; an `Alias` links such a name to a reviewer once the answers on the server prove the
link.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from curate.argilla.client import ArgillaUser
from curate.argilla.responses import PREFIX, Response
from schemas.reviews import Alias, Review, Role


def new_aliases(
    known: Mapping[str, Iterable[Review]],
    responses: Iterable[Response],
    seen: Collection[tuple[str, Role]],
    users: Mapping[str, ArgillaUser],
) -> list[Alias]:
    """Return an alias for each name in `known` reviews that can be attributed to exactly one user.

    The evidence is an answer on the server with the same row, role and time as a stored one, by one user alone. Without
    such an answer, the name belongs to the user who has it now, provided that rows answered under it are on this server
    (`seen`) and that the user existed before the first of these answers. `users` is keyed by `reviewer`.
    """
    by_answer: dict[tuple[str, Role, datetime], set[str]] = {}
    for response in responses:
        by_answer.setdefault((response.pair_id, response.role, response.at), set()).add(response.reviewer)
    old: dict[str, list[Review]] = {}
    for reviews in known.values():
        for review in reviews:
            if not review.reviewer.startswith(PREFIX):
                old.setdefault(review.reviewer, []).append(review)
    aliases = []
    for name, reviews in sorted(old.items()):
        people = {person for r in reviews for person in by_answer.get((r.pair_id, r.role, r.at), ())}
        if not people and any((review.pair_id, review.role) in seen for review in reviews):
            first = min(review.at for review in reviews)
            people = {
                reviewer
                for reviewer, user in users.items()
                if user.since <= first and name in (user.name, reviewer.rpartition("/")[2])
            }
        if len(people) == 1:
            aliases.append(Alias(name=name, reviewer=people.pop()))
    return aliases
